"""What a training run is made of: settings in four sections, each said once, for Python, for TOML and for the command line.

A field of a section has its default, its kind (`kinds`) and a sentence of help, and all else is made from them: the flags
of `fastattn train`, the comments of a config file, the tables of docs/training-command.md.
"""

import os
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any, Self, cast

from fastattn.data import NORMALIZATIONS, TOKEN_KINDS, Reading, Vocabulary
from fastattn.data.pairs import Pair
from fastattn.data.vocabulary import TokenKind
from fastattn.data.words import did_you_mean
from fastattn.layers.attention import KINDS
from fastattn.models import ModelConfig
from fastattn.models.config import BRIDGES, DropoutRatios

from .kinds import Choice, Column, Dropout, Kind, Number, Often, Switch, Text, Whole
from .parallel import SHARDS, WIRES
from .schedule import SCHEDULES, Schedule, make_schedule
from .stopping import METRICS

EPOCHS, DATE_EPOCHS = 10, 5
VALID_FRACTION = 0.05
MAX_BYTES = 2**20  # of a file of settings, which has some thousands


class SettingsError(ValueError):
    """A setting that there is none of, that cannot be, or not beside another. The message says what was expected."""


@dataclass(frozen=True)
class Setting:
    """What a field of a section knows of itself. default_text: its default in words, where the value does not say it.

    replaces: a setting that this one, when it is given, puts back to its default: of the two only one can be chosen.
    """

    kind: Kind
    help: str
    letter: str | None = None
    default_text: str | None = None
    replaces: str | None = None


def setting(default: Any, kind: Kind, help: str, letter: str | None = None, **more: str) -> Any:
    """A field of a section. letter: what stands for the value in a usage."""
    return field(default=default, metadata={"setting": Setting(kind, help, letter, **more)})


def reading_setting(name: str, kind: Kind, letter: str | None = None, **more: str) -> Any:
    """A field that is one of `Reading`, with its default and its help."""
    one = next(one for one in fields(Reading) if one.name == name)
    return setting(one.default, kind, one.metadata["help"], letter, **more)


@dataclass(frozen=True)
class Section:
    """Settings of one kind, each checked when a section is made. SettingsError names what is wrong."""

    def __post_init__(self) -> None:
        for name, _ in self.settings():
            object.__setattr__(self, name, self.checked(name, getattr(self, name)))

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """The value of a field, as it is kept."""
        kind = dict(cls.settings())[name].kind
        try:
            return kind.check(value)
        except ValueError:
            raise SettingsError(f"{cls.title()}.{name} is {value!r}; expected {kind.expected}") from None

    @classmethod
    def title(cls) -> str:
        """The name of the section: "data", "model", "training" or "card"."""
        return cls.__name__.removesuffix("Settings").lower()

    @classmethod
    def settings(cls) -> Iterator[tuple[str, Setting]]:
        """The name of each field, and what it knows of itself."""
        return ((one.name, one.metadata["setting"]) for one in fields(cls))

    @classmethod
    def default(cls, name: str) -> Any:
        """The default of a field."""
        return next(one.default for one in fields(cls) if one.name == name)

    @classmethod
    def default_text(cls, name: str) -> str:
        """The default of a field in words."""
        one = dict(cls.settings())[name]
        default = cls.default(name)
        return one.default_text or ("none" if default is None else one.kind.toml(default).strip('"'))

    def changed(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        return {name: getattr(self, name) for name, _ in self.settings() if getattr(self, name) != self.default(name)}


@dataclass(frozen=True)
class DataSettings(Section):
    """[data]: what is learnt from, and what is a token of it."""

    pairs: str | None = setting(
        None,
        Text(optional=True, path=True),
        "one pair a line: source, tab, target, or what the options say; UTF-8, may be compressed by gzip; - for standard input",
        "PAIRS.tsv",
        default_text="the built-in corpus of dates",
    )
    source_column: int | str = reading_setting("source_column", Column(), "C")
    target_column: int | str = reading_setting("target_column", Column(), "C")
    features_column: int | str | None = reading_setting("features_column", Column(optional=True), "C")
    separator: str = reading_setting("separator", Text(tabs=True), "S", default_text="a tab")
    features_separator: str = reading_setting("features_separator", Text(tabs=True), "S")
    header: bool = reading_setting("header", Switch())
    extra_columns: bool = reading_setting("extra_columns", Switch())
    comment: str | None = reading_setting("comment", Text(optional=True, tabs=True), "S")
    variants: bool = reading_setting("variants", Switch())
    normalization: str = reading_setting("normalization", Choice(NORMALIZATIONS))
    source_tokens: str = setting(
        "char",
        Choice(TOKEN_KINDS),
        "what a token of the source is: a character, what stands between spaces, or a grapheme (a letter with its marks)",
    )
    target_tokens: str = setting("char", Choice(TOKEN_KINDS), "what a token of the target is, likewise")
    reverse_source: bool = setting(False, Switch(), "read the source from its last token to its first")
    valid: str | None = setting(
        None,
        Text(optional=True, path=True),
        "pairs to hold out, in a file of their own",
        "PAIRS.tsv",
        default_text="a part of the pairs is held out",
        replaces="valid_fraction",
    )
    valid_fraction: float | None = setting(
        None,
        Number(high=1, reaches=True, instead="auto"),
        "the part of the sources to hold out, 0 for none",
        "X",
        default_text=f"{VALID_FRACTION}; of the dates, a tenth",
        replaces="valid",
    )

    token_cache: str | None = setting(
        None,
        Text(optional=True, path=True),
        "keep the pairs as token ids in this folder, made once, and read from there what a batch needs: for files that are "
        "larger than the memory",
        "DIR",
        default_text="none: the pairs are in memory",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.valid is not None and self.valid_fraction is not None:
            raise SettingsError("data.valid and data.valid_fraction are both given; expected one of them")
        try:
            _ = self.reading
        except (ValueError, TypeError) as error:
            raise SettingsError(f"data: {error}") from error

    @property
    def reading(self) -> Reading:
        """How the files of pairs are laid out."""
        return Reading(**{one.name: getattr(self, one.name) for one in fields(Reading)})

    def vocabularies(self, pairs: Iterable[Pair], shared: bool) -> tuple[Vocabulary, Vocabulary]:
        """Of all symbols of each side, or one vocabulary of both: goes through the pairs once for each."""
        source_kind, target_kind = cast(TokenKind, self.source_tokens), cast(TokenKind, self.target_tokens)
        if shared:
            both = Vocabulary.from_texts(chain.from_iterable(pairs), source_kind)
            return both, both
        sources, targets = (source for source, _ in pairs), (target for _, target in pairs)
        return (
            Vocabulary.from_texts(sources, source_kind, features=self.reading.has_features),
            Vocabulary.from_texts(targets, target_kind),
        )


@dataclass(frozen=True)
class ModelSettings(Section):
    """[model]: the choices of `ModelConfig`, but for the sizes of the vocabularies, which follow from the data."""

    embedding: int = setting(64, Whole(1), "the width of an embedded token", "D")
    hidden: int = setting(256, Whole(1), "the width of the LSTMs' states", "H")
    encoder_layers: int = setting(1, Whole(1), "how many layers read the source", "L")
    decoder_layers: int = setting(1, Whole(1), "how many layers write the target", "L")
    bidirectional: bool = setting(False, Switch(), "read the source in both directions")
    encoder_hidden: int | None = setting(
        None,
        Whole(1, instead="auto"),
        "the width of the encoder's states in one direction",
        "H",
        default_text="that of the decoder's states",
    )
    project_encoder: bool = setting(False, Switch(), "project the encoder's states to the width of the decoder's")
    residual: bool = setting(False, Switch(), "add to what a layer gives what it reads, from the second layer on")
    attention: str = setting("dot", Choice((*KINDS, "none")), "how a target state is compared with the source's states")
    attention_size: int | None = setting(
        None,
        Whole(1, instead="auto"),
        "the width in which additive attention compares",
        "A",
        default_text="that of the decoder's states",
    )
    attentional_size: int | None = setting(
        None,
        Whole(1, instead="none"),
        "the width of Luong's attentional state, tanh([context; state] W), of which the scores are then made",
        "K",
        default_text="none: they are made of context and state",
    )
    input_feeding: bool = setting(False, Switch(), "let the decoder read the attentional state of the step before")
    bridge: str = setting("last", Choice(BRIDGES), "what the decoder starts from: how it is made of the encoder's last state")
    dropout: float | DropoutRatios = setting(  # noqa: RUF009
        0.0,
        Dropout(),
        "the part dropped while training, from embedded tokens, between layers and before the scores; or parts by place, as "
        "in embedding=.1,output=.3",
        "X",
    )
    recurrent_dropout: float = setting(
        0.0, Number(high=1, reaches=True), "the part dropped from the states that LSTMs read, the same at every step", "X"
    )
    word_dropout: float = setting(
        0.0, Number(high=1, reaches=True), "the part of the tokens whose vectors are dropped whole", "X"
    )
    tie_embeddings: bool = setting(False, Switch(), "make the scores by the embedding of the target")
    share_embeddings: bool = setting(
        False, Switch(), "give source and target one embedding, and one vocabulary of the symbols of both"
    )
    label_smoothing: float = setting(
        0.0, Number(high=1, reaches=True), "the part of the target's probability that is spread over all symbols", "X"
    )
    forget_bias: float = setting(1.0, Number(low=float("-inf")), "the first bias of the forget gates", "X")
    orthogonal: bool = setting(False, Switch(), "begin with recurrent weights that are orthogonal gate by gate")
    dtype: str = setting("float32", Choice(("float32", "float64")), "the precision of weights and sums")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.config(1, 1)
        except ValueError as error:
            raise SettingsError(f"model: {error}") from error

    def config(self, source_vocabulary: int, target_vocabulary: int) -> ModelConfig:
        """The whole config of a model with vocabularies of these sizes."""
        choices: dict[str, Any] = {name: getattr(self, name) for name, _ in self.settings()}
        if self.attention == "none":
            choices["attention"] = None
        return ModelConfig(source_vocabulary=source_vocabulary, target_vocabulary=target_vocabulary, **choices)


@dataclass(frozen=True)
class TrainingSettings(Section):
    """[training]: how the weights are found."""

    epochs: int | None = setting(
        None,
        Whole(1, instead="auto"),
        "how often to go through the pairs",
        "N",
        default_text=f"{EPOCHS}; for the dates {DATE_EPOCHS}",
    )
    batch_size: int = setting(64, Whole(1), "how many pairs a step learns from", "N", replaces="batch_tokens")
    batch_tokens: int | None = setting(
        None,
        Whole(1, instead="none"),
        "how many tokens, of sources, targets and padding, a step learns from, instead of a number of pairs",
        "N",
        replaces="batch_size",
    )
    accumulate: int = setting(1, Whole(1), "add up the gradients of so many batches for a step", "N")
    shards: int | None = setting(
        None,
        Whole(1, instead="auto"),
        "add up the gradients of so many parts of a batch in one fixed tree, a power of two: the results are then the same on "
        "1, 2, 4, ... up to as many ranks of MPI; 1 for an undivided batch",
        "S",
        default_text=f"1; on MPI {SHARDS}",
    )
    wire: str = setting(
        "dense",
        Choice(WIRES),
        "how gradients go from rank to rank: all, all but zeros, or rounded to 16 bits, with which the results depend on the "
        "number of ranks",
    )
    optimizer: str = setting("adam", Choice(("adam", "adamw", "sgd")), "how a step follows from the gradients")
    learning_rate: float = setting(0.002, Number(), "the optimizer's step size", "X")
    weight_decay: float | None = setting(
        None,
        Number(reaches=True, instead="auto"),
        "how much of a weight, times the learning rate, each step of adamw takes away",
        "X",
        default_text="0.01 for adamw; the others have none",
    )
    schedule: str = setting(
        "linear",
        Choice(tuple(SCHEDULES)),
        "how the learning rate goes: it stays, falls in a line to zero, falls with the root of the step, falls along a cosine "
        "to zero, or falls when validation stops getting better",
    )
    warmup_steps: int | None = setting(
        None,
        Whole(0, instead="auto"),
        "the steps in which the learning rate rises from zero",
        "N",
        default_text="0; for inverse_sqrt 4000",
    )
    hold: float = setting(0.0, Number(high=1, reaches=True), "the part of the run before linear or cosine begins to fall", "X")
    plateau_factor: float = setting(0.5, Number(high=1), "what plateau multiplies the learning rate with", "X")
    plateau_patience: int = setting(1, Whole(1), "after how many epochs that are no better than the best plateau does so", "N")
    max_grad: float = setting(5.0, Number(), "scale the gradients down to this global norm", "X")
    metric: str = setting("exact_match", Choice(tuple(METRICS)), "what of the held-out pairs says which epoch is the best")
    patience: int | None = setting(
        None, Whole(1, instead="none"), "end after so many epochs in a row that are no better than the best before", "N"
    )
    keep: str = setting("last", Choice(("last", "best")), "the epoch whose weights are kept")
    average: str = setting(
        "none", Choice(("none", "last", "best")), "keep the mean of the weights after the last or the best epochs"
    )
    average_count: int = setting(5, Whole(1), "how many epochs that mean is of", "N")
    ema: float = setting(
        0.0,
        Number(high=1, reaches=True),
        "keep an exponential moving average of the weights, with this decay a step, as in .999; 0 for none",
        "X",
    )
    skip_nonfinite: int = setting(
        0,
        Whole(0),
        "how many steps of the run may have a loss or gradients that are NaN or infinite, and be skipped; the next one ends it",
        "N",
    )
    max_minutes: float | None = setting(
        None, Number(instead="none"), "end in this time, validation and all; the schedule knows of it", "X"
    )
    log_every: int | None = setting(None, Whole(1, instead="none"), "print a line after so many steps", "N")
    checkpoint_every: int | str | None = setting(
        "10m",
        Often(),
        "write a checkpoint, from which --resume goes on, after so many steps, or minutes as in 10m, and after each epoch; "
        "none for no checkpoints",
        "N",
    )
    keep_checkpoints: int = setting(2, Whole(1), "how many checkpoints to keep, beside that of the best epoch", "N")
    seed: int = setting(
        0, Whole(0), "the seed of the initial weights, of the order of the pairs, of dropout, and of what is held out", "S"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise SettingsError(
                f'training.weight_decay is {self.weight_decay}, but only optimizer = "adamw" has one, and optimizer is '
                f"{self.optimizer!r}"
            )
        if self.shards is not None and self.shards & (self.shards - 1):
            raise SettingsError(f"training.shards is {self.shards}; expected a power of two: 1, 2, 4, 8, ...")
        if self.average != "none" and (self.ema or self.keep == "best"):
            other = f"training.ema is {self.ema}" if self.ema else 'training.keep is "best"'
            raise SettingsError(f"training.average is {self.average!r}, and {other}; expected one of them")
        if self.average == "none" and self.average_count != self.default("average_count"):
            raise SettingsError(
                f"training.average_count is {self.average_count}, but training.average is 'none'; expected last or best"
            )
        try:
            self.new_schedule()
        except ValueError as error:
            raise SettingsError(f"training: {error}") from error

    def new_schedule(self) -> Schedule:
        """The schedule with its options."""
        return make_schedule(
            self.schedule,
            warmup_steps=self.warmup_steps,
            hold=self.hold,
            plateau_factor=self.plateau_factor,
            plateau_patience=self.plateau_patience,
        )

    @property
    def needs_held_out(self) -> str | None:
        """A setting that goes by the held-out pairs; None if none does."""
        if self.patience is not None:
            return f"patience is {self.patience}"
        for name, value in (("keep", "best"), ("average", "best"), ("schedule", "plateau")):
            if getattr(self, name) == value:
                return f"{name} is {value!r}"
        return None


@dataclass(frozen=True)
class CardSettings(Section):
    """[card]: what the model's card cannot know by itself."""

    license: str | None = setting(
        None,
        Text(optional=True),
        "the licence of the model, which its card says; hubs know names such as cc-by-4.0",
        "NAME",
        default_text="unknown",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.license is not None and (not self.license.isprintable() or not self.license.strip()):
            raise SettingsError(f"card.license is {self.license!r}; expected a name in one line")


# What may be another when a run is resumed: it changes no bit of the weights.
CHANGEABLE = ("pairs", "valid", "token_cache", "log_every", "checkpoint_every", "keep_checkpoints", "license")

SECTIONS: tuple[type[Section], ...] = (DataSettings, ModelSettings, TrainingSettings, CardSettings)


@dataclass(frozen=True)
class Settings:
    """All settings of a run: ``Settings.of(pairs="pairs.tsv", hidden=128)``, or sections, or a TOML file by `read`."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: CardSettings = field(default_factory=CardSettings)

    def __post_init__(self) -> None:
        source, target = self.data.source_tokens, self.data.target_tokens
        if self.model.share_embeddings and source != target:
            raise SettingsError(
                f"model.share_embeddings needs one kind of tokens, but data.source_tokens is {source!r} and data.target_tokens "
                f"{target!r}"
            )
        if self.model.share_embeddings and self.data.features_column is not None:
            raise SettingsError(
                "model.share_embeddings needs one vocabulary, but with data.features_column sources have their own"
            )

    @classmethod
    def of(cls, **choices: Any) -> Self:
        """The settings with these choices, each by its name alone. SettingsError for what is none, or cannot be."""
        return cls().replaced(**choices)

    def replaced(self, **choices: Any) -> Self:
        """Other choices for some settings, by their names alone. SettingsError for what is none, or cannot be."""
        known = _titles()
        for name in choices:
            if name not in known:
                raise SettingsError(f"there is no setting {name!r}{did_you_mean(name, known)}")
        changes: dict[str, dict[str, Any]] = {section.title(): {} for section in SECTIONS}
        for section in SECTIONS:
            for name, one in section.settings():
                if one.replaces is not None and name in choices and one.replaces not in choices:
                    changes[section.title()][one.replaces] = section.default(one.replaces)
        for name, value in choices.items():
            changes[known[name]][name] = value
        return replace(self, **{title: replace(getattr(self, title), **given) for title, given in changes.items()})

    @classmethod
    def read(cls, path: str | os.PathLike[str], **choices: Any) -> Self:
        """The settings of a TOML file, but for ``choices``, which win over it; what both leave out is at its default.

        SettingsError, which names the file, for a key that is none and for a value that cannot be; and for choices and
        settings that cannot stand together.
        """
        name = os.fspath(path)
        try:
            with open(path, "rb") as stream:
                content = stream.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise SettingsError(f"has more than {MAX_BYTES:,} bytes; expected settings in TOML")
            given = toml_choices(content.decode("utf-8-sig"))
        except OSError as error:
            raise SettingsError(f"{name}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{name}: is not UTF-8: byte {error.start + 1} is 0x{error.object[error.start]:02x}") from error
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from error
        return cls.of(**_over(given, choices))

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """The settings of a TOML document. SettingsError for what is no TOML, no setting, or cannot be."""
        return cls.of(**toml_choices(text))

    def to_toml(self) -> str:
        """A TOML document of all settings, with comments that say what each may be. `from_toml` gives the same settings."""
        parts = []
        for section in SECTIONS:
            lines = [f"[{section.title()}]"]
            for name, one in section.settings():
                comment = f"{_capital(one.help)}. {_capital(one.kind.expected)}; default: {section.default_text(name)}."
                lines += textwrap.wrap(comment, 120, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
                lines += [f"{name} = {one.kind.toml(getattr(getattr(self, section.title()), name))}"]
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"


def toml_choices(text: str) -> dict[str, Any]:
    """The settings that stand in a TOML document, by their names alone, each checked by itself.

    SettingsError for what is no TOML, for a key that is none, and for a value that cannot be.
    """
    try:
        content = tomllib.loads(text.replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"is not TOML: {error}") from error
    titles, where = [section.title() for section in SECTIONS], _titles()
    for title, table in content.items():
        if title in where:
            raise SettingsError(f"{title} stands outside of a section; expected it in [{where[title]}]")
        if title not in titles:
            raise SettingsError(f"there is no section [{title}]{did_you_mean(title, titles)}")
        if not isinstance(table, Mapping):
            raise SettingsError(f"{title} is {table!r}; expected a section [{title}]")
    choices = {}
    for section in SECTIONS:
        known = dict(section.settings())
        for name, value in content.get(section.title(), {}).items():
            if name not in known:
                elsewhere = f"; expected it in [{where[name]}]" if name in where else did_you_mean(name, known)
                raise SettingsError(f"[{section.title()}] has no {name}{elsewhere}")
            choices[name] = section.checked(name, value)
    return choices


def _titles() -> dict[str, str]:
    """The section of each setting."""
    return {name: section.title() for section in SECTIONS for name, _ in section.settings()}


def _over(given: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, but for what was chosen, and for what a choice replaces."""
    replaced = {one.replaces for section in SECTIONS for name, one in section.settings() if name in choices}
    return {**{name: value for name, value in given.items() if name not in replaced}, **choices}


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
