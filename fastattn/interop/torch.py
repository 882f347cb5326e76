"""To PyTorch and back: whole models, and layers of nn.LSTM, nn.Embedding and nn.Linear.

PyTorch's gates stand in the order i, f, g, o, fastattn's in the order f, g, i, o; PyTorch's matrices stand the other way round;
and nn.LSTM has two biases, which are added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, overload

import numpy as np

from fastattn.data import require
from fastattn.layers import LSTM, Affine, BiLSTM, Embedding, StackedLSTM
from fastattn.layers.checks import Array
from fastattn.models import AttentionSeq2seq, Ensemble, ModelConfig
from fastattn.models.parts import tensor_shapes
from fastattn.training import Translator

try:
    import torch
except ModuleNotFoundError:
    require("torch", "torch", "fastattn.interop.torch")  # which says how to install it
    raise
from torch import nn

from .modules import Seq2seq

__all__ = ["Seq2seq", "from_torch", "to_torch"]

OURS, THEIRS = "fgio", "ifgo"
OF_LSTM = {"Wx": "weight_ih_l0", "Wh": "weight_hh_l0", "b": "bias_ih_l0"}
OF_ATTENTION = {"W": "keys.weight", "W_query": "queries.weight", "v": "energy.weight"}
OTHERWISE = {"W": "weight", "b": "bias"}
FIRST, SECOND = "bias_ih", "bias_hh"

Seed = int | np.random.Generator | None


def to_torch(model: AttentionSeq2seq) -> Seq2seq:
    """The model as an nn.Module with weights of its own, in training or in use as the model is.

    It gives the same scores and, without dropout, the same losses and gradients, and may be trained with any optimizer of
    PyTorch. TypeError for what is no `AttentionSeq2seq`, ValueError for one whose layers others have replaced.
    """
    if isinstance(model, Ensemble | Translator):
        which = "one of its models" if isinstance(model, Ensemble) else "its model"
        raise TypeError(f"model is {type(model).__name__}; expected an AttentionSeq2seq: give {which}")
    if not isinstance(model, AttentionSeq2seq):
        raise TypeError(f"model is {type(model).__name__}; expected an AttentionSeq2seq")
    shapes, given = tensor_shapes(model.config), [param.shape for param in model.params]
    if given != [*shapes.values()]:
        raise ValueError(f"the model's params have shapes {given}; expected {[*shapes.values()]}, those of its config")
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and overwritten
        module = Seq2seq(model.config)
    state = _state(model.config, model.named_params())
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return module.train(model.training)


@overload
def from_torch(given: nn.LSTM, *, seed: Seed = None) -> LSTM | BiLSTM | StackedLSTM: ...
@overload
def from_torch(given: nn.Embedding) -> Embedding: ...
@overload
def from_torch(given: nn.Linear) -> Affine: ...
@overload
def from_torch(given: Seq2seq, config: ModelConfig | None = None, *, seed: Seed = None) -> AttentionSeq2seq: ...
@overload
def from_torch(given: Mapping[str, Any], config: ModelConfig, *, seed: Seed = None) -> AttentionSeq2seq: ...
def from_torch(given: Any, config: ModelConfig | None = None, *, seed: Seed = None) -> Any:
    """A module of PyTorch, or the state dict of a `Seq2seq`, as fastattn has it, with weights of its own.

    - nn.LSTM, of any layers and directions: an `LSTM`, a `BiLSTM` or a `StackedLSTM`, which read (N, T, D), whatever
      batch_first is.
    - nn.Embedding: an `Embedding`; padding_idx is not kept, for padding has no gradient where there are lengths.
    - nn.Linear: an `Affine`.
    - `Seq2seq`, or its state dict and the config: an `AttentionSeq2seq`; from a module in training or in use as it is.

    seed: of dropout (None: from the system). TypeError for anything else, or for a dtype that is neither float32 nor float64;
    ValueError, naming it, for an option that fastattn does not have, or a tensor that does not fit the config.
    """
    if isinstance(given, Mapping):
        if not isinstance(config, ModelConfig):
            raise TypeError(f"config is {type(config).__name__}; expected a ModelConfig, for a state dict does not tell it")
        return _model(given, config, seed)
    if isinstance(given, Seq2seq):
        if config is not None and config != given.config:
            raise ValueError("config is not the config of the module; expected None")
        model = _model(given.state_dict(), given.config, seed)
        return model.train() if given.training else model.eval()
    if config is not None:
        raise TypeError(f"config goes with a state dict; {type(given).__name__} has none of fastattn's")
    if isinstance(given, nn.LSTM):
        return _lstm(given, seed)
    if isinstance(given, nn.Embedding):
        for option, off in (("max_norm", None), ("scale_grad_by_freq", False)):
            if (value := getattr(given, option)) != off:
                raise ValueError(
                    f"the nn.Embedding has {option}={value!r}; expected {off}, for an Embedding has no such option"
                )
        return Embedding(_array("weight", given.weight))
    if isinstance(given, nn.Linear):
        W, b = given.weight, given.bias
        return Affine(_array("weight", W).T, None if b is None else _array("bias", b))
    raise TypeError(
        f"given is {type(given).__name__}; expected an nn.LSTM, nn.Embedding, nn.Linear, a Seq2seq, or a state dict of one"
    )


def _array(name: str, tensor: Any, dtype: str | None = None) -> Array:
    """A tensor's numbers, copied."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is {type(tensor).__name__}; expected a tensor")
    expected = (dtype,) if dtype else ("float32", "float64")
    if str(tensor.dtype).removeprefix("torch.") not in expected:
        raise TypeError(f"{name} has dtype {tensor.dtype}; expected {' or '.join(expected)}")
    return tensor.detach().cpu().numpy().copy()


def _reordered(array: Array, given: str, wanted: str) -> Array:
    """Gates along the last axis, in another order."""
    of_gate = dict(zip(given, np.split(array, 4, axis=-1), strict=True))
    return np.concatenate([of_gate[gate] for gate in wanted], axis=-1)


def _is_lstm(name: str) -> bool:
    return ".lstm." in name


def _is_embedding(name: str) -> bool:
    return name.endswith(".embedding.W")


def _theirs(name: str, array: Array) -> Array:
    """A tensor of fastattn's as PyTorch has it."""
    if _is_lstm(name):
        array = _reordered(array, OURS, THEIRS)
    if name.endswith(".v"):
        array = array[None]  # energy is a matrix of one row
    elif not _is_embedding(name):
        array = array.T  # of a bias, itself
    return np.ascontiguousarray(array)


def _ours(name: str, array: Array) -> Array:
    """The other way round."""
    if name.endswith(".v"):
        return array[0]
    if not _is_embedding(name):
        array = array.T
    return _reordered(array, THEIRS, OURS) if _is_lstm(name) else array


def _places(name: str, config: ModelConfig) -> list[str]:
    """Where a tensor of fastattn's stands in the state dict: more than once, if it is tied or shared."""
    *path, tensor = name.split(".")
    if _is_lstm(name):
        *path, direction = path
        return [".".join([*path, OF_LSTM[tensor] + ("_reverse" if direction == "backward" else "")])]
    names = OF_ATTENTION if path[-1] == "attention" else OTHERWISE
    places = [".".join([*path, names[tensor]])]
    if name == "encoder.embedding.W" and config.share_embeddings:
        places.append("decoder.embedding.weight")
    if places[-1] == "decoder.embedding.weight" and config.tie_embeddings:
        places.append("decoder.affine.weight")
    return places


def _state(config: ModelConfig, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors of a model, by fastattn's names -> the state dict of its `Seq2seq`."""
    state = {}
    for name, array in arrays.items():
        theirs = _theirs(name, array)
        for place in _places(name, config):
            state[place] = theirs
            if FIRST in place:
                state[place.replace(FIRST, SECOND)] = np.zeros_like(theirs)
    return state


def _model(state: Mapping[str, Any], config: ModelConfig, seed: Seed) -> AttentionSeq2seq:
    arrays = dict(_arrays(state, config))
    model = AttentionSeq2seq.from_config(config, seed=seed)
    for name, param in model.named_params().items():
        param[...] = arrays[name]
    return model


def _arrays(state: Mapping[str, Any], config: ModelConfig) -> Iterator[tuple[str, Array]]:
    """The tensors of a state dict by fastattn's names; an error for what does not fit the config."""
    shapes = tensor_shapes(config)
    # Of zeros that take no memory.
    expected = _state(config, {name: np.broadcast_to(np.zeros((), config.dtype), shape) for name, shape in shapes.items()})
    for place in state:
        if place not in expected:
            raise ValueError(f"{place!r} is no tensor of a model of this config")
    given = {}
    for place, array in expected.items():
        if place not in state:
            raise ValueError(f"the state dict has no {place!r}, which a model of this config has")
        given[place] = _array(place, state[place], str(config.dtype))
        if given[place].shape != array.shape:
            raise ValueError(f"{place!r} has shape {given[place].shape}; expected {array.shape} by the config")
    for name in shapes:
        first, *others = _places(name, config)
        for other in others:
            if not np.array_equal(given[first], given[other]):
                raise ValueError(f"{first!r} and {other!r} differ; expected one tensor, for the config ties them")
        array = given[first]
        yield name, _ours(name, array + given[first.replace(FIRST, SECOND)] if FIRST in first else array)


def _lstm(module: nn.LSTM, seed: Seed) -> LSTM | BiLSTM | StackedLSTM:
    if module.proj_size:
        raise ValueError(f"the nn.LSTM has proj_size={module.proj_size}; expected 0, for an LSTM does not project its states")
    layers: list[LSTM | BiLSTM] = []
    endings = ("", "_reverse") if module.bidirectional else ("",)
    for layer in range(module.num_layers):
        lstms = [_direction(module, f"_l{layer}{ending}") for ending in endings]
        layers.append(lstms[0] if len(lstms) == 1 else BiLSTM(*lstms))
    if len(layers) == 1:
        return layers[0]
    stack = StackedLSTM(layers, dropout=module.dropout, seed=seed)
    for dropout in stack.dropouts:
        dropout.training = module.training
    return stack


def _direction(module: nn.LSTM, ending: str) -> LSTM:
    Wx, Wh = (_array(name, getattr(module, name)).T for name in (f"weight_ih{ending}", f"weight_hh{ending}"))
    b = np.zeros(Wh.shape[1], Wh.dtype)
    if module.bias:
        b = _array(FIRST, getattr(module, FIRST + ending)) + _array(SECOND, getattr(module, SECOND + ending))
    Wx, Wh, b = (_reordered(array, THEIRS, OURS) for array in (Wx, Wh, b))
    return LSTM(Wx, Wh, b)
