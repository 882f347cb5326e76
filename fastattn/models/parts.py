"""What a model consists of: the layers that have weights, each with the names and the shapes of its tensors.

This is the one place where the shapes of a model are written down. A model is built from this list, in its order, in which
the tensors stand in ``params`` too and their first values are drawn; a model folder is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from .config import ModelConfig

# How a tensor's first values are drawn; `initial` tells how.
Draw = Literal["embedding", "scaled", "recurrent", "gates", "zeros"]
Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """One array of weights: its name in its layer, its shape, and how it is drawn."""

    name: str
    shape: Shape
    draw: Draw


class Part(NamedTuple):
    """A layer with weights, in the order in which the layer takes them."""

    name: str
    tensors: tuple[Tensor, ...]


def _embedding(name: str, V: int, D: int) -> Part:
    return Part(name, (Tensor("W", (V, D), "embedding"),))


def _lstm(name: str, D: int, H: int) -> Part:
    weights = Tensor("Wx", (D, 4 * H), "scaled"), Tensor("Wh", (H, 4 * H), "recurrent")
    return Part(name, (*weights, Tensor("b", (4 * H,), "gates")))


def _linear(name: str, K: int, V: int) -> Part:
    return Part(name, (Tensor("W", (K, V), "scaled"),))


def _affine(name: str, K: int, V: int) -> Part:
    return Part(name, (*_linear(name, K, V).tensors, Tensor("b", (V,), "zeros")))


def encoder_parts(config: ModelConfig) -> Iterator[Part]:
    """The encoder's, from the source's embedding to the states that it gives."""
    V, _, D, H = config.sizes
    E0 = config.encoder_states
    yield _embedding("encoder.embedding", V, D)
    for layer in range(config.encoder_layers):
        for direction in ("forward", "backward")[: config.directions]:
            yield _lstm(f"encoder.lstm.{layer}.{direction}", E0 if layer else D, E0 // config.directions)
    if config.project_encoder:
        yield _affine("encoder.projection", E0, H)


def decoder_parts(config: ModelConfig) -> Iterator[Part]:
    """The decoder's, from its first state to the scores."""
    _, V, D, H = config.sizes
    K = config.decoder_width
    if config.bridge == "affine":
        for layer in range(config.decoder_layers):
            for state in "hc":
                yield _affine(f"decoder.bridge.{layer}.{state}", config.encoder_states, H)
    if not config.share_embeddings:
        yield _embedding("decoder.embedding", V, D)
    for layer in range(config.decoder_layers):
        fed = K if config.input_feeding and layer == 0 else 0
        yield _lstm(f"decoder.lstm.{layer}.forward", H if layer else D + fed, H)
    yield from _attention_parts(config)
    if config.attentional_size is not None:
        yield _linear("decoder.attentional", config.joined_width, K)
    if not config.tie_embeddings:
        yield _affine("decoder.affine", K, V)
        return
    if config.projects_to_embedding:
        yield _linear("decoder.projection", K, D)
    yield Part("decoder.affine", (Tensor("b", (V,), "zeros"),))


def _attention_parts(config: ModelConfig) -> Iterator[Part]:
    E, H, A = config.encoder_width, config.hidden, config.attention_size
    if config.attention == "general":
        yield _linear("decoder.attention", E, H)
    elif config.attention == "additive":
        assert A is not None
        weights = Tensor("W", (E, A), "scaled"), Tensor("W_query", (H, A), "scaled"), Tensor("v", (A,), "scaled")
        yield Part("decoder.attention", weights)


def model_parts(config: ModelConfig) -> Iterator[Part]:
    """All of a model's."""
    yield from encoder_parts(config)
    yield from decoder_parts(config)


def named_tensors(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    """The tensors' whole names and their shapes, in the order of ``params``."""
    return ((f"{part.name}.{tensor.name}", tensor.shape) for part in model_parts(config) for tensor in part.tensors)


def tensor_shapes(config: ModelConfig) -> dict[str, Shape]:
    """The same as a dict."""
    return dict(named_tensors(config))
