"""Text to text: a model together with its vocabularies."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, Literal, Self, overload

import numpy as np

from fastattn.data import (
    END,
    PADDING,
    PLAIN,
    START,
    UNKNOWN,
    UNKNOWN_CHOICES,
    Reading,
    Vocabulary,
    encode_sources,
    group_targets,
    read_pairs,
)
from fastattn.data.pairs import Pair, checked_pair
from fastattn.data.reading import split_features
from fastattn.data.vocabulary import SPECIAL
from fastattn.data.words import html_table, shown
from fastattn.drawing import AttentionMap, Tokens
from fastattn.evaluation import Evaluation, evaluate
from fastattn.layers.checks import Array
from fastattn.models import AttentionSeq2seq, Ensemble, SearchResult

from . import model_folder
from .card import facts
from .records import EpochRecord, History, Outcome, StepRecord
from .run import Run
from .settings import Settings
from .text_model import MAX_SOURCE_TOKENS, wrong_size

BATCH_SIZE = 256

# Symbols that stand for nothing in a text.
NEVER_ANSWERED = (PADDING, START, UNKNOWN)

# Hypotheses that are followed at once: of a wider beam fewer texts share a batch.
MAX_HYPOTHESES = 2048


class SourceError(ValueError):
    """A text that cannot be translated; ``index`` is its place among the texts given."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index, self.reason = index, reason


@dataclass(frozen=True)
class Answer:
    """One answer to a text.

    tokens: the symbols of the answer, without the end. token_log_probabilities: of each of them, given those before it, and at
    last of the end, if the model ended the answer (``ended``) and it was not cut off. score: what the answers of a search are
    ordered by; log_probability: of the whole answer. attention: the weights, if they were asked for, a row for each of
    token_log_probabilities and a column for each symbol of the source.
    """

    text: str
    score: float
    log_probability: float
    tokens: tuple[str, ...]
    token_log_probabilities: tuple[float, ...]
    ended: bool
    attention: Array | None = None

    @property
    def alignment(self) -> tuple[int, ...] | None:
        """Of each token the place in the source that has the most weight, from 0; None without attention."""
        return None if self.attention is None else tuple(self.attention[: len(self.tokens)].argmax(axis=1).tolist())

    def to_json(self) -> dict[str, Any]:
        """All fields, of JSON's types: numbers with 6 decimals, None for what is no finite number."""
        result: dict[str, Any] = {
            "text": self.text,
            "score": _number(self.score),
            "log_probability": _number(self.log_probability),
            "tokens": list(self.tokens),
            "token_log_probabilities": [_number(each) for each in self.token_log_probabilities],
            "ended": self.ended,
        }
        if self.attention is not None and self.alignment is not None:
            weights = [[round(weight, 6) for weight in row] for row in self.attention.tolist()]
            result |= {"alignment": list(self.alignment), "attention": weights}
        return result


def _number(given: float) -> float | None:
    """JSON has no infinity."""
    return round(given, 6) if math.isfinite(given) else None


class Translator:
    """A trained model, or an ensemble of some, and what is needed to use it on text.

    reverse_source: whether the model reads its source from the last token to the first. max_target_tokens: where an
    answer ends if the model has not ended it, the end symbol counted. reading: how the pairs were read that the model
    was taught. Its normalisation is applied to every text; with features a text is source, tab, features.

    `train` makes one, `load` opens one. What is told of its training: ``history``, a record of every epoch; ``outcome``, which
    weights were kept and why; ``settings``, all settings of the run (these two are None where it was not trained here);
    ``about``, what its folder says of the run.

    What is said of ``texts`` holds for all methods that take some. unknown: what becomes of a text with a symbol that the
    model never saw: "answer" (like any other: all such symbols are one to the model), "empty" (no answer), "copy" (the
    text as it was given, without features), or "fail". ValueError for another ``unknown``; TypeError for texts that are no
    sequence of str; SourceError for a text without the features that the model wants, of more than MAX_SOURCE_TOKENS
    tokens, or, with "fail", with such a symbol.
    """

    def __init__(
        self,
        model: AttentionSeq2seq | Ensemble,
        source_vocabulary: Vocabulary,
        target_vocabulary: Vocabulary,
        *,
        reverse_source: bool,
        max_target_tokens: int,
        reading: Reading = PLAIN,
    ):
        """ValueError for a vocabulary with features where the reading has none, and the other way round."""
        expected = (reading.has_features, False)
        if (source_vocabulary.features is not None, target_vocabulary.features is not None) != expected:
            raise ValueError(
                f"features_column is {reading.features_column!r}, and the vocabularies are {source_vocabulary} and "
                f"{target_vocabulary}; expected features in the source's vocabulary, if in any"
            )
        self.searching = model  # what finds the answers
        self.source_vocabulary = source_vocabulary
        self.target_vocabulary = target_vocabulary
        self.reverse_source = reverse_source
        self.max_target_tokens = max_target_tokens
        self.reading = reading
        self.history: list[EpochRecord] = History()
        self.outcome: Outcome | None = None
        self.about: dict[str, Any] = {}
        self.settings: Settings | None = None

    def __repr__(self) -> str:
        symbols = [f"{len(each)} {each.token_kind}" for each in (self.source_vocabulary, self.target_vocabulary)]
        backwards = ", from the source's end" if self.reverse_source else ""
        limit = f"at most {self.max_target_tokens} tokens an answer"
        return f"<{type(self).__name__} of {symbols[0]} to {symbols[1]} tokens{backwards}, {limit}, by {self.searching!r}>"

    def _repr_html_(self) -> str:
        """For a notebook: the facts that stand on the model's card; of an ensemble, its models."""
        if isinstance(self.searching, Ensemble):
            return self.searching._repr_html_()
        return html_table((), self.facts())

    @classmethod
    def train(
        cls,
        pairs: Iterable[Pair] | str | os.PathLike[str] | None = None,
        valid: Iterable[Pair] | str | os.PathLike[str] | None = None,
        *,
        config: Settings | str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        callbacks: Iterable[Callable[[EpochRecord], object]] = (),
        on_step: Callable[[StepRecord], object] | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Self:
        """A model that is trained to turn the sources of ``pairs`` into their targets, as `fastattn train` does.

        pairs: sources and targets, or a file of them; None: those that the config names, or else the built-in dates. valid:
        pairs to hold out, likewise; None: what the config says, or else a part of ``pairs`` (``valid_fraction``). With features
        (``features_column``, of any number where there is no file) a source is text, tab, features, as for ``translate``.

        config: `Settings`, or a TOML file of them. options: settings by their names (docs/training-command.md), which win over
        the config: ``Translator.train(pairs, hidden=128, epochs=5)``.

        folder: where the model is written after every epoch, with checkpoints, so that `TrainingRun.resume` can go on after an
        interruption; None: nowhere, and ``save`` writes it. overwrite: whether a model that stands there may be replaced.
        callbacks, on_step, progress: as in `TrainingRun.train`.

        SettingsError, PairsError, MissingExtraError or ModelFolderError, which say what to mend; ValueError or TypeError for
        pairs that are none; DivergedError when the loss is no number.
        """
        given: dict[str, Any] = {}
        for name, value in (("pairs", pairs), ("valid", valid)):
            if value is None:
                continue
            if isinstance(value, str | os.PathLike):
                options[name] = os.fspath(value)
            else:
                options[name], given[name] = None, value
        if config is None:
            settings = Settings.of(**options)
        elif isinstance(config, Settings):
            settings = config.replaced(**options)
        elif isinstance(config, str | os.PathLike):
            settings = Settings.read(config, **options)
        else:
            raise TypeError(f"config is {config!r:.100}; expected Settings, or the path of a TOML file")
        run = Run(settings, folder, **given, overwrite=overwrite, make=cls)
        run.train(callbacks, on_step=on_step, progress=progress)
        return run.translator

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the model and all that is needed to use it to a folder, new or with a model that is replaced.

        ``Translator.load`` gives a translator with the same answers. TypeError for an ensemble; OSError where a file cannot be
        written.
        """
        model_folder.save(folder, self, self.history, self.about, self.settings)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """What ``save`` or a training run wrote. ModelFolderError, which names the file, for anything else."""
        return cls._of(model_folder.read(folder))

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Self:
        """What `model_folder` read."""
        told = {name: content.pop(name) for name in ("history", "about")}
        translator = cls(**content)
        translator.history, translator.about = told["history"], told["about"]
        return translator

    def facts(self) -> list[tuple[str, str]]:
        """What the model is, what it was trained on and how well it did: names and facts, as they stand on its card."""
        return [*facts(self, self.history, self.about)]

    @property
    def models(self) -> list[AttentionSeq2seq]:
        """The model, or those of the ensemble."""
        return self.searching.models if isinstance(self.searching, Ensemble) else [self.searching]

    @property
    def model(self) -> AttentionSeq2seq:
        """The model. TypeError for an ensemble, of which there is nothing to save or to train."""
        if isinstance(self.searching, Ensemble):
            raise TypeError(f"the translator is an ensemble of {len(self.models)} models; expected one model")
        return self.searching

    def sources(self, texts: Sequence[str]) -> list[str]:
        """The texts as the model was taught them: normalised, and each with its features, if there are some."""
        if isinstance(texts, str | bytes):
            raise TypeError(f"texts is {texts!r}; expected a sequence of str")
        sources = []
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {index} is {text!r}; expected a str")
            try:
                sources.append(self.reading.source(text))
            except ValueError as error:
                raise SourceError(index, str(error)) from error
            size = len(self.source_vocabulary.tokenize(sources[-1]))
            if size > MAX_SOURCE_TOKENS:
                raise SourceError(index, wrong_size(size, MAX_SOURCE_TOKENS))
        return sources

    def unknown_symbols(self, text: str) -> list[str]:
        """The symbols of a text that the model never saw, none twice."""
        return self.source_vocabulary.unknown(self.sources([text])[0])

    def check(self, text: str, *, unknown: str = "answer") -> None:
        """The error that ``translate`` would raise for this text, if any."""
        self._prepared([text], unknown)

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        unknown: str = "answer",
        n_best: None = None,
        scores: Literal[False] = False,
    ) -> list[str]: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        unknown: str = "answer",
        n_best: int,
        scores: Literal[False] = False,
    ) -> list[list[str]]: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        unknown: str = "answer",
        n_best: None = None,
        scores: Literal[True],
    ) -> list[Answer]: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        unknown: str = "answer",
        n_best: int,
        scores: Literal[True],
    ) -> list[list[Answer]]: ...

    def translate(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        unknown: str = "answer",
        n_best: int | None = None,
        scores: bool = False,
    ) -> list[str] | list[list[str]] | list[Answer] | list[list[Answer]]:
        """The answer to each text, in the order of the texts. A text without a token has the answer "".

        beam, length_penalty: as in `AttentionSeq2seq.search`; with a beam of 1 the best token at each step is taken. n_best: a
        list of so many answers to each text, at most as many as the beam, the best first; a text without a token has none.
        scores: an `Answer`, with its text, its score and its tokens, in place of each text. ``search`` has attention, too.
        """
        if n_best is not None or scores:
            more: dict[str, Any] = {"beam": beam, "length_penalty": length_penalty, "unknown": unknown}
            found = self.search(texts, n_best=1 if n_best is None else n_best, **more)
            if n_best is None:
                return [best[0] if best else _copy("") for best in found]
            return found if scores else [[answer.text for answer in best] for best in found]
        sources, copied = self._prepared(texts, unknown)
        answers = [copied.get(n, "") for n in range(len(texts))]
        for chosen, x, lengths in self._batches(sources, beam):
            ids = self.searching.generate(x, START, lengths=lengths, beam=beam, length_penalty=length_penalty, **self._limits)
            for n, row in zip(chosen, ids, strict=True):
                answers[n] = self.target_vocabulary.decode(row)
        return answers

    def search(
        self,
        texts: Sequence[str],
        *,
        beam: int = 1,
        n_best: int = 1,
        length_penalty: float = 0.0,
        return_attention: bool = False,
        unknown: str = "answer",
    ) -> list[list[Answer]]:
        """The ``n_best`` best answers to each text, best first, as `AttentionSeq2seq.search` finds them.

        There may be fewer, where a vocabulary is small; to a text without a token there are none. A copy (``unknown``) has
        no scores: they are NaN.
        """
        how: dict[str, Any] = {"beam": beam, "n_best": n_best, "length_penalty": length_penalty}

        def find(chosen: list[int], x: Array, lengths: Array) -> SearchResult:
            return self.searching.search(x, START, lengths=lengths, return_attention=return_attention, **self._limits, **how)

        return self._found(texts, unknown, beam, find)

    def sample(
        self,
        texts: Sequence[str],
        *,
        seed: int,
        draws: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        first: int = 0,
        return_attention: bool = False,
        unknown: str = "answer",
    ) -> list[list[Answer]]:
        """``draws`` answers to each text, as `AttentionSeq2seq.sample` draws them.

        first: the number of the first text. What is drawn follows from the seed and a text's number, whatever else is asked.
        A copy (``unknown``) has no scores: they are NaN.
        """
        how: dict[str, Any] = {"draws": draws, "temperature": temperature, "top_k": top_k, "top_p": top_p}

        def find(chosen: list[int], x: Array, lengths: Array) -> SearchResult:
            numbers = np.array(chosen) + first
            more: dict[str, Any] = {"samples": numbers, "return_attention": return_attention, **self._limits, **how}
            return self.searching.sample(x, START, seed=seed, lengths=lengths, **more)

        return self._found(texts, unknown, draws, find)

    @property
    def _limits(self) -> dict[str, Any]:
        """What bounds every answer."""
        return {"sample_size": self.max_target_tokens, "end_id": END, "forbidden": NEVER_ANSWERED}

    def _found(
        self,
        texts: Sequence[str],
        unknown: str,
        hypotheses: int,
        find: Callable[[list[int], Array, Array], SearchResult],
    ) -> list[list[Answer]]:
        """The answers to each text that ``find`` gives to a batch: the places of its texts, their ids and lengths."""
        sources, copied = self._prepared(texts, unknown)
        answers = [[_copy(copied[n])] if n in copied else [] for n in range(len(texts))]
        for chosen, x, lengths in self._batches(sources, hypotheses):
            found = find(chosen, x, lengths)
            for i, n in enumerate(chosen):
                answers[n] = self._answers(found, i, lengths[i])
        return answers

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """How probable the model finds a given target of a source: of each of its tokens, and of the end, the logarithm.

        Their sum is the log probability of the target as the whole answer. What the vocabulary does not have counts as the
        unknown symbol. To a source without a token there is no answer: an empty tuple. TypeError for what is no pair of texts.
        """
        pairs = [checked_pair(pair, number) for number, pair in enumerate(pairs, start=1)]
        given: list[tuple[float, ...]] = [()] * len(pairs)
        for chosen, x, lengths in self._batches(self.sources([source for source, _ in pairs]), 1):
            answers = [self.reading.normalized(pairs[n][1]) for n in chosen]
            targets = [self.target_vocabulary.encode(answer, start=True, end=True) for answer in answers]
            t = np.full((len(chosen), max(map(len, targets))), END)
            for row, target in zip(t, targets, strict=True):
                row[: len(target)] = target
            sizes = [len(target) for target in targets]
            found = self.searching.log_probabilities(x, t, source_lengths=lengths, target_lengths=sizes)
            for n, size, row in zip(chosen, sizes, found, strict=True):
                given[n] = tuple(row[: size - 1].tolist())
        return given

    def _prepared(self, texts: Sequence[str], unknown: str) -> tuple[list[str], dict[int, str]]:
        """The texts as ``sources`` gives them, "" where the model is not asked, and the copies by their places."""
        if unknown not in UNKNOWN_CHOICES:
            raise ValueError(f"unknown is {unknown!r}; expected one of {', '.join(UNKNOWN_CHOICES)}")
        sources, copied = self.sources(texts), {}
        if unknown == "answer":
            return sources, {}
        for index, source in enumerate(sources):
            if symbols := self.source_vocabulary.unknown(source):
                if unknown == "fail":
                    raise SourceError(index, f"the source has symbols that the model never saw: {shown(symbols)}")
                sources[index] = ""
                if unknown == "copy":
                    copied[index] = split_features(texts[index])[0] if self.reading.has_features else texts[index]
        return sources, copied

    def _batches(self, sources: Sequence[str], hypotheses: int) -> Iterator[tuple[list[int], Array, Array]]:
        """The places of the sources that share a batch, their ids x (N, T1) and lengths; those without a token are left out.

        hypotheses: how many of a source are followed.
        """
        sizes = [len(self.source_vocabulary.tokenize(source)) for source in sources]
        # The longest first: texts of like lengths share a batch, and the first batch needs the most memory.
        waiting = sorted((n for n, size in enumerate(sizes) if size), key=lambda n: -sizes[n])
        while waiting:
            count = min(BATCH_SIZE, MAX_SOURCE_TOKENS // sizes[waiting[0]], max(1, MAX_HYPOTHESES // max(1, hypotheses)))
            chosen, waiting = waiting[:count], waiting[count:]
            texts = [sources[n] for n in chosen]
            yield chosen, *encode_sources(texts, self.source_vocabulary, reverse_source=self.reverse_source)

    def _answers(self, found: SearchResult, n: int, source_length: int) -> list[Answer]:
        """Those to one text of a batch."""
        answers = []
        for i, length in enumerate(found.lengths[n].tolist()):
            if length == 0:
                break
            ids = found.ids[n, i, :length].tolist()
            of_tokens = found.token_log_probabilities[n, i, :length].tolist()
            attention = None
            if found.attention is not None:
                columns = slice(None, None, -1) if self.reverse_source else slice(None)
                attention = found.attention[n, i, :length, :source_length][:, columns]
            answers.append(
                Answer(
                    text=self.target_vocabulary.decode(ids),
                    score=float(found.scores[n, i]),
                    log_probability=sum(of_tokens),
                    tokens=tuple(self.target_vocabulary.decode([each]) for each in ids if each != END),
                    token_log_probabilities=tuple(of_tokens),
                    ended=ids[-1] == END,
                    attention=attention,
                )
            )
        return answers

    def attend(self, text: str) -> tuple[list[str], list[int], Array]:
        """The source's symbols (T1), the ids of the answer (T2), and the attention weights (T2, T1), each row's sum 1.

        The ids end with END where the model ended its answer. The symbols and the columns are in the order of the text,
        also for a model that reads it backwards. SourceError for a text without a token, too.
        """
        sources = self.sources([text])
        symbols = self.source_vocabulary.tokenize(sources[0])
        if not symbols:
            raise SourceError(0, wrong_size(0, MAX_SOURCE_TOKENS))
        x, lengths = encode_sources(sources, self.source_vocabulary, reverse_source=self.reverse_source)
        ids, weights = self.searching.generate(
            x, START, self.max_target_tokens, end_id=END, forbidden=NEVER_ANSWERED, lengths=lengths, return_attention=True
        )
        ended = np.flatnonzero(ids[0] == END)
        T2 = int(ended[0]) + 1 if len(ended) else self.max_target_tokens
        columns = slice(None, None, -1) if self.reverse_source else slice(None)
        return symbols, ids[0, :T2].tolist(), weights[0, :T2, columns]

    def attention(self, text: str) -> AttentionMap:
        """Where the model looks while it answers, by the best token at each step: a map that draws itself.

        ValueError for a model without attention; SourceError for a text without a token, too.
        """
        if not self.has_attention:
            raise ValueError("the model has no attention")
        source, ids, weights = self.attend(text)
        answer = ["end" if each == END else self.target_vocabulary.decode([each]) or SPECIAL[each] for each in ids]
        return AttentionMap(Tokens(source, answer), weights, self.target_vocabulary.decode(ids))

    @property
    def has_attention(self) -> bool:
        """Whether the model has, or one of the ensemble."""
        return any(model.config.attention is not None for model in self.models)

    def score(
        self,
        pairs: Iterable[Pair] | str | os.PathLike[str],
        *,
        beam: int = 1,
        length_penalty: float = 0.0,
        unknown: str = "answer",
        resamples: int = 0,
        seed: int = 0,
        length_bounds: Sequence[int] | None = None,
        bleu_tokenize: str | None = None,
        with_chrf: bool = False,
    ) -> Evaluation:
        """Translates the sources of ``pairs``, or of a file of them, and compares the answers with the targets.

        The targets of a source that stands there more than once are all right. The other arguments: as in ``translate`` and in
        `fastattn.evaluation.evaluate`. ``index`` of a SourceError is the place of the pair. PairsError for a file that cannot
        be read; ValueError for no pairs, TypeError for what is no pair of texts.
        """
        if isinstance(pairs, str | os.PathLike):
            given = read_pairs(pairs, self.reading)
        else:
            given = [checked_pair(pair, number) for number, pair in enumerate(pairs, start=1)]
        if not given:
            raise ValueError("pairs holds no pair; expected at least 1")
        targets = self.targets(given)
        try:
            answers = self.translate(list(targets), beam=beam, length_penalty=length_penalty, unknown=unknown)
        except SourceError as error:
            sources = self.sources([source for source, _ in given])
            raise SourceError(sources.index([*targets][error.index]), error.reason) from error
        return self.compare(
            targets,
            answers,
            resamples=resamples,
            seed=seed,
            length_bounds=length_bounds,
            bleu_tokenize=bleu_tokenize,
            with_chrf=with_chrf,
        )

    def targets(self, pairs: Sequence[Pair]) -> dict[str, list[str]]:
        """Each source of some pairs, as ``sources`` gives it, with all its targets, normalised; none twice."""
        sources = self.sources([source for source, _ in pairs])
        return group_targets(zip(sources, (self.reading.normalized(target) for _, target in pairs)))

    def compare(self, targets: Mapping[str, Sequence[str]], answers: Sequence[str], **options: Any) -> Evaluation:
        """An answer to each source beside its targets, in this model's tokens. options: of `fastattn.evaluation.evaluate`."""
        tokens: dict[str, Any] = {"source_tokens": self.source_vocabulary, "target_tokens": self.target_vocabulary}
        return evaluate(list(targets), answers, list(targets.values()), **tokens, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds the bytes of the files of a model folder, as ``save`` writes them, and the names of two functions."""
        files = [model_folder.kept_files(self._alone(model)) for model in self.models]
        outcome = None if self.outcome is None else json.dumps(asdict(self.outcome))
        settings = None if self.settings is None else self.settings.to_toml()
        return _unpickled, (type(self), files, outcome, settings)

    def _alone(self, model: AttentionSeq2seq) -> Translator:
        """One model of the ensemble with all the rest."""
        alone = Translator(
            model,
            self.source_vocabulary,
            self.target_vocabulary,
            reverse_source=self.reverse_source,
            max_target_tokens=self.max_target_tokens,
            reading=self.reading,
        )
        alone.history, alone.about = self.history, self.about
        return alone


def _unpickled(
    kind: type[Translator], files: Sequence[dict[str, bytes]], outcome: str | None, settings: str | None
) -> Translator:
    """ModelFolderError for files that are not those of a model."""
    made = [kind._of(model_folder.read_files(each)) for each in files]
    translator = made[0] if len(made) == 1 else ensemble(made)
    if outcome is not None:
        told = json.loads(outcome)
        translator.outcome = Outcome(**{**told, "epochs": tuple(told["epochs"])})
    translator.settings = None if settings is None else Settings.from_toml(settings)
    return translator


def load(folder: str | os.PathLike[str]) -> Translator:
    """`Translator.load`."""
    return Translator.load(folder)


def _copy(text: str) -> Answer:
    return Answer(text, score=np.nan, log_probability=np.nan, tokens=(), token_log_probabilities=(), ended=False)


def ensemble(translators: Sequence[Translator]) -> Translator:
    """One translator of several, whose models search together (`Ensemble`).

    ValueError where they do not read and write the same symbols in the same way. An answer ends where that of the one with the
    longest answers would.
    """
    first = translators[0]
    for i, each in enumerate(translators):
        for name in ("source_vocabulary", "target_vocabulary", "reverse_source", "reading.normalization"):
            given, expected = attrgetter(name)(each), attrgetter(name)(first)
            if given != expected:
                message = f"the {name} of model {i + 1} is {given!r}; expected that of the first, {expected!r}"
                raise ValueError(message + (", symbol by symbol" if repr(given) == repr(expected) else ""))
    return Translator(
        Ensemble([model for each in translators for model in each.models]),
        first.source_vocabulary,
        first.target_vocabulary,
        reverse_source=first.reverse_source,
        max_target_tokens=max(each.max_target_tokens for each in translators),
        reading=first.reading,
    )
