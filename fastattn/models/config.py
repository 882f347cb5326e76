"""What a model is: every choice that makes one of the family, checked in one place.

The options and their formulas stand in docs/models.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from fastattn.layers import checks
from fastattn.layers.attention import KINDS

BRIDGES = ("last", "last_state", "affine", "zeros")
# The choices that change neither the layers of a model nor their order.
FREE = ("dtype", "dropout", "recurrent_dropout", "word_dropout", "label_smoothing", "forget_bias", "orthogonal")

# Of a width, a vocabulary or a number of layers: NumPy has no words for an array beyond any address.
MAX_SIZE = 2**24
# Far deeper than anybody has trained LSTMs; of more, the layers alone take minutes to build.
MAX_LAYERS = 100


class DropoutRatios(NamedTuple):
    """What is dropped at each place: from embedded tokens, between layers, from the encoder's states, before the scores."""

    embedding: float = 0.0
    layers: float = 0.0
    encoder: float = 0.0
    output: float = 0.0


@dataclass(frozen=True)
class ModelConfig:
    """The choices of which `AttentionSeq2seq` is made, under the names of its arguments; V, D and H have longer ones here.

    Every choice is explicit once it is made: target_vocabulary None becomes source_vocabulary, encoder_hidden None and, for
    additive attention, attention_size None become hidden, and dropout, a ratio or ratios by place, a `DropoutRatios`.

    TypeError for a choice of a wrong type; ValueError for one that cannot be, alone or beside the others.
    """

    source_vocabulary: int
    embedding: int
    hidden: int
    target_vocabulary: int | None = None
    dtype: DTypeLike = "float32"
    dropout: float | Mapping[str, float] | DropoutRatios = 0.0
    encoder_layers: int = 1
    decoder_layers: int = 1
    bidirectional: bool = False
    encoder_hidden: int | None = None
    project_encoder: bool = False
    residual: bool = False
    attention: str | None = "dot"
    attention_size: int | None = None
    attentional_size: int | None = None
    input_feeding: bool = False
    bridge: str = "last"
    recurrent_dropout: float = 0.0
    word_dropout: float = 0.0
    tie_embeddings: bool = False
    share_embeddings: bool = False
    label_smoothing: float = 0.0
    forget_bias: float = 1.0
    orthogonal: bool = False

    def __post_init__(self) -> None:
        self._check_each()
        self._check_together()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the class is frozen for everybody else

    def _check_each(self) -> None:
        for name in ("source_vocabulary", "embedding", "hidden"):
            self._set(name, checks.size(name, getattr(self, name), highest=MAX_SIZE))
        for name in ("encoder_layers", "decoder_layers"):
            self._set(name, checks.size(name, getattr(self, name), highest=MAX_LAYERS))
        for name in ("target_vocabulary", "encoder_hidden", "attention_size", "attentional_size"):
            if getattr(self, name) is not None:
                self._set(name, checks.size(name, getattr(self, name), highest=MAX_SIZE))
        for name in ("bidirectional", "project_encoder", "residual", "input_feeding", "tie_embeddings", "share_embeddings"):
            self._set(name, _switch(name, getattr(self, name)))
        self._set("orthogonal", _switch("orthogonal", self.orthogonal))
        self._set("dtype", _dtype(self.dtype))
        self._set("dropout", _dropout_ratios(self.dropout))
        for name in ("recurrent_dropout", "word_dropout", "label_smoothing"):
            self._set(name, checks.ratio(name, getattr(self, name)))
        self._set("forget_bias", _number("forget_bias", self.forget_bias, self.dtype))
        if self.attention is not None:
            _check_kind("attention", self.attention, (*KINDS, None))
        _check_kind("bridge", self.bridge, BRIDGES)

    def _check_together(self) -> None:
        if self.target_vocabulary is None:
            self._set("target_vocabulary", self.source_vocabulary)
        if self.encoder_hidden is None:
            self._set("encoder_hidden", self.hidden)
        if self.attention == "additive" and self.attention_size is None:
            self._set("attention_size", self.hidden)
        for refused, why in self._refusals():
            if refused:
                raise ValueError(why)

    def _refusals(self) -> tuple[tuple[bool, str], ...]:
        """What cannot be combined, and why."""
        no_attention, E0, H = self.attention is None, self.encoder_states, self.hidden
        ways = f"encoder_hidden={H // self.directions}, " if H % self.directions == 0 else ""
        return (
            (
                self.attention in ("dot", "scaled_dot") and self.encoder_width != H,
                f'attention="{self.attention}" multiplies states of equal widths, but the encoder\'s are {E0} wide '
                f'and the decoder\'s {H}; expected attention="general" or "additive", {ways}or project_encoder=True',
            ),
            (
                self.bridge in ("last", "last_state") and E0 != H,
                f"bridge=\"{self.bridge}\" hands the encoder's last state on as it is, but it is {E0} wide and the decoder's "
                f'{H}; expected bridge="affine" or "zeros"{", or " + ways.removesuffix(", ") if ways else ""}',
            ),
            (
                self.attention_size is not None and self.attention != "additive",
                f'attention_size is {self.attention_size}, but only attention="additive" has a width of its own, '
                f"and attention is {self.attention!r}",
            ),
            (
                self.input_feeding and (no_attention or self.attentional_size is None),
                "input_feeding=True feeds the attentional state of the step before; expected an attention, and an "
                f"attentional_size; they are {self.attention!r} and {self.attentional_size}",
            ),
            (
                no_attention and self.bridge == "zeros",
                'attention=None with bridge="zeros" lets the decoder know nothing of the source; expected another of them',
            ),
            (
                no_attention and self.project_encoder,
                "project_encoder=True projects the states that attention reads, and attention is None",
            ),
            (
                no_attention and self.ratios.encoder > 0,
                'dropout["encoder"] drops from the states that attention reads, and attention is None',
            ),
            (
                self.share_embeddings and self.target_vocabulary != self.source_vocabulary,
                f"share_embeddings=True needs one vocabulary, but the source's size is {self.source_vocabulary} and the "
                f"target's {self.target_vocabulary}",
            ),
        )

    # What follows from the choices. Sizes as docs/architecture.md and docs/models.md name them.

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """V of the source, V of the target, D, H."""
        assert self.target_vocabulary is not None
        return self.source_vocabulary, self.target_vocabulary, self.embedding, self.hidden

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def encoder_states(self) -> int:
        """E0, the width of the encoder's own states, all directions side by side."""
        assert self.encoder_hidden is not None
        return self.directions * self.encoder_hidden

    @property
    def encoder_width(self) -> int:
        """E, the width of what the encoder gives."""
        return self.hidden if self.project_encoder else self.encoder_states

    @property
    def decoder_width(self) -> int:
        """The width of what the decoder has before it makes scores of it."""
        return self.attentional_size or self.joined_width

    @property
    def projects_to_embedding(self) -> bool:
        """Whether tied embeddings need a projection before them."""
        return self.tie_embeddings and self.decoder_width != self.embedding

    @property
    def joined_width(self) -> int:
        """The width of a context with a state beside it; of the state alone where there is no attention."""
        return self.hidden + (0 if self.attention is None else self.encoder_width)

    @property
    def ratios(self) -> DropoutRatios:
        """``dropout``, by place."""
        assert isinstance(self.dropout, DropoutRatios)
        return self.dropout

    @property
    def can_drop(self) -> bool:
        """Whether anything is ever dropped."""
        return any((*self.ratios, self.recurrent_dropout, self.word_dropout))

    @cached_property
    def is_plain(self) -> bool:
        """Whether the model is the smallest of the family, whatever its sizes, its first weights and what is dropped."""
        plain = type(self)(self.source_vocabulary, self.embedding, self.hidden, self.target_vocabulary)
        free = {name: getattr(self, name) for name in FREE}
        return self == replace(plain, **free)

    def in_words(self) -> str:
        """The sizes, and the choices that are not at their defaults, as in "9 to 8 tokens, embedding 5, hidden 7, residual"."""
        V_source, V_target, D, H = self.sizes
        words = [f"{V_source} to {V_target} tokens", f"embedding {D}", f"hidden {H}"]
        plain = type(self)(V_source, D, H, V_target)
        for name in (field.name for field in fields(self)[4:]):
            value = getattr(self, name)
            if value == getattr(plain, name) or (name == "attention_size" and value == H):
                continue
            if isinstance(value, DropoutRatios):
                value = ", ".join(f"{place} {ratio:g}" for place, ratio in value._asdict().items() if ratio)
                value = f"({value})"
            words.append(name.replace("_", " ") + ("" if value is True else f" {str(value).lower()}"))
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        """Every choice, in JSON's types."""
        return {**asdict(self), "dropout": self.ratios._asdict()}

    @classmethod
    def from_json(cls, content: object) -> Self:
        """The config that `to_json` wrote. ValueError or TypeError, naming what is wrong, for anything else."""
        if not isinstance(content, dict):
            raise TypeError(f"the config of a model is a JSON {type(content).__name__}; expected an object")
        names = [field.name for field in fields(cls)]
        for name in content:
            if name not in names:
                raise ValueError(f"{name!r} is no option of a model; expected one of {', '.join(names)}")
        for name in names:
            if name not in content:
                raise ValueError(f"the config of a model has no {name!r}")
        return cls(**content)


def _switch(name: str, given: object) -> bool:
    if not isinstance(given, bool | np.bool_):
        raise TypeError(f"{name} is {given!r}; expected True or False")
    return bool(given)


def _number(name: str, given: object, dtype: DTypeLike) -> float:
    """``given`` as a number that is finite in ``dtype``, too."""
    if isinstance(given, bool) or not isinstance(given, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {given!r}; expected a number")
    number, limit = given if isinstance(given, int) else float(given), float(np.finfo(dtype).max)
    if not -limit <= number <= limit:  # a whole number may be too large for a float
        raise ValueError(f"{name} is {given}; expected a finite number of {dtype}")
    return float(number)


def _dtype(given: DTypeLike) -> str:
    try:
        dtype = np.dtype(given) if given is not None else None  # None would be float64
    except (TypeError, ValueError, SyntaxError):  # NumPy reads some strings as Python
        dtype = None
    if dtype is None:
        raise TypeError(f"dtype is {given!r}; expected float32 or float64")
    return checks.float_dtype(dtype).name


def _check_kind(name: str, given: object, known: tuple[str | None, ...]) -> None:
    if not isinstance(given, str):
        raise TypeError(f"{name} is {given!r}; expected one of {', '.join(map(repr, known))}")
    if given not in known:
        raise ValueError(f"{name} is {given!r}; expected one of {', '.join(map(repr, known))}")


def _dropout_ratios(given: Any) -> DropoutRatios:
    """One ratio drops at each place that today's model has: everywhere but from the encoder's states."""
    if isinstance(given, DropoutRatios):
        given = given._asdict()
    if not isinstance(given, Mapping):
        ratio = checks.ratio("dropout", given)
        return DropoutRatios(embedding=ratio, layers=ratio, output=ratio)
    for place in given:
        if place not in DropoutRatios._fields:
            raise ValueError(f"dropout has a place {place!r}; expected one of {', '.join(map(repr, DropoutRatios._fields))}")
    return DropoutRatios(**{place: checks.ratio(f"dropout[{place!r}]", ratio) for place, ratio in given.items()})


def check_options(name: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    """TypeError for an option that ``name``, which is a part of a model, does not have."""
    for option in given:
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}; expected one of {', '.join(known)}")
