"""To ONNX: a translator as graphs of standard operators, which any runtime of ONNX runs without fastattn.

- ``encoder``: the source to what the decoder reads, and to the state that it begins with.
- ``decoder_step``: a token of each sample to the scores of the next, for searches of one's own.
- ``greedy``: the source to whole answers; the steps are a Loop, which ends when all samples have ended.

Batch and lengths are dynamic, padding is masked by ``lengths``, and numbers are float32, whatever the model's are. Each graph
has in its metadata, under "fastattn", a JSON object with the vocabularies and what else is needed to make ids of text and text
of ids; it stands in ``about.json`` beside the graphs, too. docs/interop.md has the inputs and outputs.

ONNX's gates stand in the order i, o, f, c, fastattn's in the order f, g, i, o, where g is ONNX's c; ONNX's LSTM reads time
before batch, and has two biases, of which the second is zero here.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.data import END, PADDING, START, UNKNOWN, atomic_write, require
from fastattn.layers.checks import Array
from fastattn.models import ModelConfig
from fastattn.training import Translator
from fastattn.training.translator import NEVER_ANSWERED

try:
    import onnx
except ModuleNotFoundError:
    require("onnx", "onnx", "exporting to ONNX")  # which says how to install it
    raise
from onnx import TensorProto, helper, numpy_helper

__all__ = ["GRAPHS", "export", "graphs"]

GRAPHS = ("encoder", "decoder_step", "greedy")
METADATA = "fastattn"  # the key of all that is told
ABOUT = "about.json"  # the same beside the graphs, for runtimes that do not show metadata
FORMAT_VERSION = 1  # of what stands there, and of the names of inputs and outputs

# Of 2022; every operator here is in it, and runtimes that are older have gone.
OPSET, IR_VERSION = 17, 8

MAX_BYTES = 2**31 - 1  # of a message of Protocol Buffers

OURS, THEIRS = "fgio", "iofg"

Values = dict[str, str]  # what a value is -> its name in the graph


def export(translator: Translator, path: str | os.PathLike[str]) -> list[Path]:
    """Writes ``encoder.onnx``, ``decoder_step.onnx``, ``greedy.onnx`` and ``about.json`` to a folder, new or not.

    Returns their paths. TypeError for what is no `Translator` of one model; ValueError for a model that is too large for a file
    of ONNX, 2 GiB; OSError where a file cannot be written.
    """
    made = {f"{name}.onnx": _bytes(name, graph) for name, graph in graphs(translator).items()}
    made[ABOUT] = _told(translator).encode()
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in made.items():
        paths.append(folder / name)
        atomic_write(paths[-1], content)
    return paths


def _bytes(name: str, graph: Any) -> bytes:
    if (size := graph.ByteSize()) > MAX_BYTES:
        raise ValueError(f"the graph {name!r} takes {size:,} bytes; a file of ONNX holds at most {MAX_BYTES:,}")
    return graph.SerializeToString()


def graphs(translator: Translator) -> dict[str, onnx.ModelProto]:
    """The three graphs by their names, `GRAPHS`. TypeError for what is no `Translator` of one model."""
    if not isinstance(translator, Translator):
        raise TypeError(f"translator is {type(translator).__name__}; expected a Translator, which has vocabularies")
    config = translator.model.config
    weights = {name: array.astype(np.float32) for name, array in translator.model.named_params().items()}
    parts, told = Parts(config, weights), _told(translator)
    made = encoder_graph(parts), step_graph(parts), greedy_graph(parts, translator.max_target_tokens)
    for model in made:
        helper.set_model_props(model, {METADATA: told})
    return dict(zip(GRAPHS, made, strict=True))


def _told(translator: Translator) -> str:
    return json.dumps(about(translator), ensure_ascii=False)


def about(translator: Translator) -> dict[str, Any]:
    """What stands in the metadata."""
    return {
        "format_version": FORMAT_VERSION,
        "source_vocabulary": translator.source_vocabulary.to_json(),
        "target_vocabulary": translator.target_vocabulary.to_json(),
        "special": {"padding": PADDING, "start": START, "end": END, "unknown": UNKNOWN},
        "never_answered": list(NEVER_ANSWERED),
        "reverse_source": translator.reverse_source,
        "max_target_tokens": translator.max_target_tokens,
        "reading": translator.reading.to_json(),
        "model": translator.model.config.to_json(),
    }


class Graph:
    """Nodes, as they are added, and the constants that they read."""

    def __init__(self, outer: Graph | None = None) -> None:
        """outer: the graph around the body of a loop, which has the constants."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {} if outer is None else outer.constants
        self._numbers: Any = itertools.count() if outer is None else outer._numbers

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node -> the name of what it gives."""
        return self.several(1, operator, *inputs, **attributes)[0]

    def several(self, count: int, operator: str, *inputs: str, **attributes: Any) -> list[str]:
        """Adds a node that gives so many values -> their names."""
        number = next(self._numbers)
        names = [f"{operator}_{number}" + (f"_{i}" if count > 1 else "") for i in range(count)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def constant(self, value: Any, dtype: str = "int64", name: str | None = None) -> str:
        """The name of a constant. One that is named stands in the file once."""
        name = name or f"constant_{next(self._numbers)}"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value, dtype).reshape(np.shape(value)), name)
        return name

    def named(self, value: str, name: str) -> None:
        """Gives a value a name, as an output needs."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def unsqueezed(self, value: str, axis: int) -> str:
        return self("Unsqueeze", value, self.constant([axis], name=f"axis_{axis}"))

    def squeezed(self, value: str, axis: int) -> str:
        return self("Squeeze", value, self.constant([axis], name=f"axis_{axis}"))

    def size(self, value: str, axis: int) -> str:
        """An axis of a value, (1,)."""
        return self("Shape", value, start=axis, end=axis + 1)

    def zeros(self, *shape: str | int) -> str:
        """Of these sizes, each a number or a value (1,)."""
        sizes = [size if isinstance(size, str) else self.constant([size]) for size in shape]
        return self.filled(self("Concat", *sizes, axis=0), np.float32(0))

    def filled(self, shape: str, value: Any) -> str:
        return self("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([value])))


class Parts:
    """The parts of a model as nodes; each method adds its own to a graph, and gives the names of what comes of them."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.weights = weights

    def weight(self, g: Graph, name: str) -> str:
        """One of the model's tensors."""
        return g.constant(self.weights[name], "float32", name)

    def affine(self, g: Graph, x: str, name: str) -> str:
        """x (N, K) -> (N, V), x W, and + b if the part has one."""
        bias = [self.weight(g, f"{name}.b")] if f"{name}.b" in self.weights else []
        return g("Gemm", x, self.weight(g, f"{name}.W"), *bias)

    def affine_of_steps(self, g: Graph, x: str, name: str) -> str:
        """The same for x (N, T, K)."""
        product = g("MatMul", x, self.weight(g, f"{name}.W"))
        return g("Add", product, self.weight(g, f"{name}.b")) if f"{name}.b" in self.weights else product

    def lstm(self, g: Graph, xs: str, name: str, *more: str) -> list[str]:
        """xs (T, N, D) -> hs (T, G, N, H), and the last h and c (G, N, H). more: lengths int32, the first h and c."""
        directions = [each for each in ("forward", "backward") if f"{name}.{each}.Wh" in self.weights]
        of_kind = {
            kind: np.stack([_reordered(self.weights[f"{name}.{each}.{kind}"]).T for each in directions])
            for kind in ("Wx", "Wh", "b")
        }
        of_kind["b"] = np.concatenate((of_kind["b"], np.zeros_like(of_kind["b"])), axis=1)
        given = [g.constant(array, "float32", f"{name}.{kind}") for kind, array in of_kind.items()]
        H = of_kind["Wh"].shape[2]
        direction = "bidirectional" if len(directions) == 2 else "forward"
        return g.several(3, "LSTM", xs, *given, *more, hidden_size=H, direction=direction)

    def real(self, g: Graph, like: str, lengths: str) -> str:
        """Whether a source step is real, (N, T1); T1 is that of ``like`` (N, T1, ...)."""
        zero, one = g.constant(0, name="zero"), g.constant(1, name="one")
        steps = g("Range", zero, g.squeezed(g.size(like, 1), 0), one)
        return g("Less", g.unsqueezed(steps, 0), g.unsqueezed(lengths, 1))

    def encoder(self, g: Graph, x: str, lengths: str) -> tuple[Values, Values]:
        """x (N, T1), lengths (N,) -> what the steps read of the source, and what the first of them begins with."""
        config = self.config
        # At padding any integer may stand.
        ids = g("Where", self.real(g, x, lengths), x, g.constant(0, name="zero"))
        xs = g("Gather", self.weight(g, "encoder.embedding.W"), ids)
        hs, lengths = g("Transpose", xs, perm=[1, 0, 2]), g("Cast", lengths, to=TensorProto.INT32)
        states = []
        for layer in range(config.encoder_layers):
            below = hs
            ys, *last = self.lstm(g, below, f"encoder.lstm.{layer}", lengths)
            ys = g("Transpose", ys, perm=[0, 2, 1, 3])  # (T1, N, G, H)
            hs = g("Reshape", ys, g.constant([0, 0, -1], name="joined"))
            if config.residual and layer:
                hs = g("Add", hs, below)
            states.append([self._side_by_side(g, each) for each in last])
        source = {}
        if config.attention is not None:
            hs = g("Transpose", hs, perm=[1, 0, 2])  # (N, T1, E0)
            source["hs_enc"] = self.affine_of_steps(g, hs, "encoder.projection") if config.project_encoder else hs
        if config.attention in ("general", "additive"):
            source["keys"] = g("MatMul", source["hs_enc"], self.weight(g, "decoder.attention.W"))
        return source, self.first(g, g.size(x, 0), states)

    def _side_by_side(self, g: Graph, state: str) -> str:
        """(G, N, H) -> (N, GH)."""
        return g("Reshape", g("Transpose", state, perm=[1, 0, 2]), g.constant([0, -1], name="flat"))

    def first(self, g: Graph, N: str, states: Sequence[Sequence[str]]) -> Values:
        """The last h and c (N, E0) of the encoder's layers -> what the first step begins with: h and c (L, N, H), h~ (N, K)."""
        config, L, H = self.config, self.config.decoder_layers, self.config.hidden
        given = [states[min(layer, config.encoder_layers - 1)] for layer in range(L)]
        value = {}
        for i, name in enumerate("hc"):
            if config.bridge == "zeros" or (config.bridge == "last" and name == "c"):
                value[name] = g.zeros(L, N, H)
                continue
            of_layers = [state[i] for state in given]
            if config.bridge == "affine":
                of_layers = [g("Tanh", self.affine(g, s, f"decoder.bridge.{n}.{name}")) for n, s in enumerate(of_layers)]
            value[name] = g("Concat", *(g.unsqueezed(s, 0) for s in of_layers), axis=0)
        if config.input_feeding:
            value["fed"] = g.zeros(N, config.decoder_width)
        return value

    def step(self, g: Graph, tokens: str, real: str, source: Values, before: Values) -> tuple[str, str | None, Values]:
        """tokens (N,) -> scores (N, V), weights (N, T1) or None, and what the next step begins with.

        real (N, T1): which source steps are no padding; it is not read without attention.
        """
        config = self.config
        embedding = "encoder.embedding.W" if config.share_embeddings else "decoder.embedding.W"
        x = g("Gather", self.weight(g, embedding), tokens)  # (N, D)
        if config.input_feeding:
            x = g("Concat", x, before["fed"], axis=1)
        out, after = self._through(g, x, before)
        weights: str | None = None
        if config.attention is not None:
            out, weights = self.attention(g, out, real, source)
        if config.attentional_size is not None:
            out = g("Tanh", self.affine(g, out, "decoder.attentional"))
        if config.input_feeding:
            after["fed"] = out
        if config.projects_to_embedding:
            out = self.affine(g, out, "decoder.projection")
        if not config.tie_embeddings:
            return self.affine(g, out, "decoder.affine"), weights, after
        scores = g("Gemm", out, self.weight(g, embedding), self.weight(g, "decoder.affine.b"), transB=1)
        return scores, weights, after

    def _through(self, g: Graph, x: str, before: Values) -> tuple[str, Values]:
        """x (N, D) -> the state of the top layer, with what it read if that is residual, (N, H), and all states after it."""
        L = self.config.decoder_layers
        h, c = (g.several(L, "Split", before[name], axis=0) if L > 1 else [before[name]] for name in "hc")
        x, after = g.unsqueezed(x, 0), []  # (1, N, D): one step
        for layer in range(L):
            _, *state = self.lstm(g, x, f"decoder.lstm.{layer}", "", h[layer], c[layer])
            x = g("Add", state[0], x) if self.config.residual and layer else state[0]
            after.append(state)
        joined = {name: g("Concat", *each, axis=0) for name, each in zip("hc", zip(*after))}
        return g.squeezed(x, 0), joined

    def attention(self, g: Graph, h: str, real: str, source: Values) -> tuple[str, str]:
        """h (N, H) -> [context; h] (N, E + H), weights (N, T1)."""
        config, keys = self.config, source.get("keys", source["hs_enc"])
        if config.attention == "additive":
            queries = g("MatMul", h, self.weight(g, "decoder.attention.W_query"))
            sums = g("Tanh", g("Add", keys, g.unsqueezed(queries, 1)))  # (N, T1, A)
            v = g.constant(self.weights["decoder.attention.v"][:, None], "float32", "decoder.attention.v")
            scores = g.squeezed(g("MatMul", sums, v), 2)
        else:
            scores = g.squeezed(g("MatMul", keys, g.unsqueezed(h, 2)), 2)
            if config.attention == "scaled_dot":
                scores = g("Mul", scores, g.constant(config.hidden**-0.5, "float32", "scale"))
        scores = g("Where", real, scores, g.constant(-np.inf, "float32", "minus_infinity"))
        weights = g("Softmax", scores, axis=1)
        context = g.squeezed(g("MatMul", g.unsqueezed(weights, 1), source["hs_enc"]), 1)
        return g("Concat", context, h, axis=1), weights

    # What stands at the door of a graph.

    def shapes(self, *names: str) -> list[onnx.ValueInfoProto]:
        """Values by their names in the interface: the type and the axes of each."""
        config = self.config
        _, V, _, H = config.sizes
        A = config.attention_size if config.attention == "additive" else H
        known: dict[str, tuple[int, list[str | int]]] = {
            "x": (TensorProto.INT64, ["N", "T1"]),
            "lengths": (TensorProto.INT64, ["N"]),
            "tokens": (TensorProto.INT64, ["N"]),
            "hs_enc": (TensorProto.FLOAT, ["N", "T1", config.encoder_width]),
            "keys": (TensorProto.FLOAT, ["N", "T1", A or H]),
            "h": (TensorProto.FLOAT, [config.decoder_layers, "N", H]),
            "c": (TensorProto.FLOAT, [config.decoder_layers, "N", H]),
            "fed": (TensorProto.FLOAT, ["N", config.decoder_width]),
            "scores": (TensorProto.FLOAT, ["N", V]),
            "ids": (TensorProto.INT64, ["N", "S"]),
            "log_probabilities": (TensorProto.FLOAT, ["N", "S"]),
        }
        return [helper.make_tensor_value_info(name, *known[name.removeprefix("next_")]) for name in names]

    @property
    def source_names(self) -> list[str]:
        """What the steps read of the source."""
        attention = self.config.attention
        return [] if attention is None else ["hs_enc", "keys"] if attention in ("general", "additive") else ["hs_enc"]

    @property
    def state_names(self) -> list[str]:
        """What a step hands to the next."""
        return ["h", "c", "fed"] if self.config.input_feeding else ["h", "c"]


def _reordered(array: Array) -> Array:
    """Gates along the last axis, in ONNX's order."""
    of_gate = dict(zip(OURS, np.split(array, 4, axis=-1), strict=True))
    return np.concatenate([of_gate[gate] for gate in THEIRS], axis=-1)


def _model(name: str, g: Graph, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(g.nodes, name, inputs, outputs, [*g.constants.values()])
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fastattn")


def encoder_graph(parts: Parts) -> onnx.ModelProto:
    """x, lengths -> what `step_graph` reads at every step, and what it begins with."""
    g = Graph()
    source, first = parts.encoder(g, "x", "lengths")
    for name, value in (source | first).items():
        g.named(value, name)
    return _model("encoder", g, parts.shapes("x", "lengths"), parts.shapes(*source, *first))


def step_graph(parts: Parts) -> onnx.ModelProto:
    """tokens, what the encoder gave, what the step before gave -> scores, weights (attention), what the next step reads."""
    g = Graph()
    attends = parts.config.attention is not None
    real = parts.real(g, "hs_enc", "lengths") if attends else ""
    source, before = ({name: name for name in names} for names in (parts.source_names, parts.state_names))
    scores, weights, after = parts.step(g, "tokens", real, source, before)
    g.named(scores, "scores")
    for name, value in after.items():
        g.named(value, f"next_{name}")
    inputs = parts.shapes("tokens", *(["lengths"] if attends else []), *source, *before)
    outputs = parts.shapes("scores", *(f"next_{name}" for name in before))
    if weights is not None:
        g.named(weights, "attention")
        outputs.append(helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["N", "T1"]))
    return _model("decoder_step", g, inputs, outputs)


def greedy_graph(parts: Parts, steps: int) -> onnx.ModelProto:
    """x, lengths -> ids and log_probabilities (N, S), and attention (N, S, T1): the best token at each step.

    S is where the last sample ends, at the most ``steps``. After its end a sample has END, with zeros beside it.
    """
    g = Graph()
    source, first = parts.encoder(g, "x", "lengths")
    real = parts.real(g, "x", "lengths") if source else ""
    batch = g("Shape", "lengths")
    begins = [*first.values(), g.filled(batch, np.int64(START)), g.filled(batch, np.bool_(False))]
    attends = parts.config.attention is not None
    body = _loop_body(g, parts, source, real)
    trips, goes_on = g.constant(steps), g.constant(True, "bool")
    count = len(begins) + 2 + attends
    given = g.several(count, "Loop", trips, goes_on, *begins, body=body)
    ids, log_probabilities, *weights = given[len(begins) :]
    g.named(g("Transpose", ids, perm=[1, 0]), "ids")
    g.named(g("Transpose", log_probabilities, perm=[1, 0]), "log_probabilities")
    outputs = parts.shapes("ids", "log_probabilities")
    for each in weights:
        g.named(g("Transpose", each, perm=[1, 0, 2]), "attention")
        outputs.append(helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["N", "S", "T1"]))
    return _model("greedy", g, parts.shapes("x", "lengths"), outputs)


def _loop_body(outer: Graph, parts: Parts, source: Values, real: str) -> onnx.GraphProto:
    """A step: what the step before gave, the tokens, and which samples had ended -> the same after it, and what is said."""
    g = Graph(outer)
    before = {name: f"before_{name}" for name in parts.state_names}
    scores, weights, after = parts.step(g, "before_tokens", real, source, before)
    allowed = np.zeros(parts.config.sizes[1], np.float32)
    allowed[[*NEVER_ANSWERED]] = -np.inf
    best = g("ArgMax", g("Add", scores, g.constant(allowed, "float32", "allowed")), axis=1, keepdims=0)
    end = g.constant(END, name="end")
    tokens = g("Where", "before_ended", end, best)
    log_p = g("GatherElements", g("LogSoftmax", scores, axis=1), g.unsqueezed(best, 1), axis=1)
    nothing = g.constant(0.0, "float32", "nothing")
    said = [tokens, g("Where", "before_ended", nothing, g.squeezed(log_p, 1))]
    if weights is not None:
        said.append(g("Where", g.unsqueezed("before_ended", 1), nothing, weights))
    ended = g("Equal", tokens, end)
    all_ended = g("ReduceMin", g("Cast", ended, to=TensorProto.INT32), keepdims=0)
    goes_on = g("Not", g("Cast", all_ended, to=TensorProto.BOOL))

    scalar = [("step", TensorProto.INT64), ("condition", TensorProto.BOOL)]
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in scalar]
    for name, info in zip(before.values(), parts.shapes(*before), strict=True):
        info.name = name
        inputs.append(info)
    for name, kind in (("before_tokens", TensorProto.INT64), ("before_ended", TensorProto.BOOL)):
        inputs.append(helper.make_tensor_value_info(name, kind, ["N"]))

    outputs = []
    values = [(goes_on, []), *((after[name], None) for name in before), (tokens, ["N"]), (ended, ["N"])]
    kinds = [TensorProto.BOOL, *[TensorProto.FLOAT] * len(before), TensorProto.INT64, TensorProto.BOOL]
    values += [(value, None) for value in said]
    kinds += [TensorProto.INT64, TensorProto.FLOAT, TensorProto.FLOAT][: len(said)]
    for number, ((value, shape), kind) in enumerate(zip(values, kinds, strict=True)):
        # A value may stand among them twice, and needs two names.
        g.named(value, f"after_{number}")
        outputs.append(helper.make_tensor_value_info(f"after_{number}", kind, shape))
    return helper.make_graph(g.nodes, "step", inputs, outputs)
