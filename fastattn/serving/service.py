"""Models that answer requests: what is asked as a dict of checked fields, what is given as one of JSON's types."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastattn.data import PairsError, PairsStream
from fastattn.data.pairs import GZIP, passed_over
from fastattn.data.words import counted
from fastattn.evaluation import align, confusions, worst
from fastattn.training import SourceError

from .batching import SIZE, WAIT, Batcher
from .fields import RESAMPLES, Refused, text_of
from .limits import Limits

if TYPE_CHECKING:
    from fastattn.evaluation import Evaluation
    from fastattn.training import Answer, Translator

    from .metrics import Metrics

# Hypotheses that are followed at once: of a wider beam fewer texts share a batch, so that nobody waits long for one.
MAX_HYPOTHESES = 256
# What takes no longer than a moment is done where it is asked for; beyond so many characters in another thread.
AT_ONCE = 20_000
# What texts of a file are called in messages.
FILE = "the file"


@dataclass(frozen=True)
class How:
    """What texts must have in common to share a batch. n_best None: the text of the best answer, and nothing else."""

    model: str
    beam: int
    length_penalty: float
    unknown: str
    n_best: int | None
    attention: bool


@dataclass(frozen=True)
class Source:
    """A text as the model reads it."""

    text: str
    tokens: list[str]
    unknown_symbols: list[str]


class Service:
    """Translators by their names, behind one queue."""

    def __init__(
        self,
        models: Mapping[str, Translator],
        limits: Limits,
        *,
        batch_size: int = SIZE,
        batch_wait: float = WAIT,
        metrics: Metrics | None = None,
        version: str = "",
    ) -> None:
        self.version = version
        self.models, self.limits, self.metrics = dict(models), limits, metrics
        self.batcher = Batcher(
            self._compute,
            size=lambda how: max(1, min(batch_size, MAX_HYPOTHESES // how.beam)),
            wait=batch_wait,
            limit=limits.max_waiting,
            **({} if metrics is None else {"told": metrics.add_batch}),
        )
        if metrics is not None:
            metrics.watch(lambda: self.batcher.waiting)

    def _compute(self, how: How, texts: list[str]) -> Sequence[Any]:
        """In the thread of the batches: a str for each text, or a list of answers."""
        translator = self.models[how.model]
        search: dict[str, Any] = {"beam": how.beam, "length_penalty": how.length_penalty, "unknown": how.unknown}
        if how.n_best is None:
            answers: Sequence[Any] = translator.translate(texts, **search)
        else:
            answers = translator.search(texts, **search, n_best=how.n_best, return_attention=how.attention)
        if self.metrics is not None:
            self.metrics.texts.labels(how.model).inc(len(texts))
        return answers

    def warm_up(self) -> None:
        """One text through each search of each model, so that kernels are compiled before somebody waits for them."""
        for translator in self.models.values():
            symbols = translator.source_vocabulary
            text = "".join(symbols.symbols[:1]) + "".join(f"\t{each}" for each in (symbols.features or ())[:1])
            translator.translate([text])
            for beam in (1, 2):
                translator.search([text], beam=beam, return_attention=translator.has_attention)

    def info(self) -> dict[str, Any]:
        """What is served, and what is taken."""
        return {
            "version": self.version,
            "models": [self._about(name, translator) for name, translator in self.models.items()],
            "limits": asdict(self.limits),
        }

    def _about(self, name: str, translator: Translator) -> dict[str, Any]:
        reading, source, target = translator.reading, translator.source_vocabulary, translator.target_vocabulary
        facts = dict(translator.facts()) if len(translator.models) == 1 else {}
        if "corpus" in facts:
            facts["corpus"] = Path(facts["corpus"]).name  # where it lies is nobody's business
        return {
            "name": name,
            "attention": translator.has_attention,
            "source_tokens": source.token_kind,
            "target_tokens": target.token_kind,
            "features": None if source.features is None else list(source.features),
            "features_separator": reading.features_separator,
            "separator": reading.separator,
            "normalization": reading.normalization,
            "max_target_tokens": translator.max_target_tokens,
            "facts": facts,
        }

    async def translate(self, asked: Mapping[str, Any]) -> bytes:
        """The answers to the fields of `fields.of_translate`, as JSON. Refused; Full or Closed as `Batcher.submit`."""
        translator = self.models[asked["model"]]
        n_best, texts = asked["n_best"], asked["texts"]
        beam = n_best if asked["beam"] is None else asked["beam"]
        if n_best > beam:
            raise Refused(f"n_best is {n_best}, and beam {beam}; expected a beam of at least {n_best}")
        if asked["attention"] and not translator.has_attention:
            raise Refused(f"the model {asked['model']} has no attention; expected attention to be false")
        is_small = sum(map(len, texts)) <= AT_ONCE
        sources = await _called(is_small, self._sources, translator, texts, asked["unknown"])
        tokens = sum(len(source.tokens) for source in sources)
        weights = tokens * n_best * translator.max_target_tokens
        if asked["attention"] and weights > self.limits.max_weights:
            most = f"expected at most {self.limits.max_weights:,}; ask for fewer texts or answers at once"
            raise Refused(f"the attention may have {weights:,} weights; {most}", 413)
        scored = asked["scores"] or asked["attention"]
        how = How(
            asked["model"],
            beam,
            asked["length_penalty"],
            asked["unknown"],
            n_best if scored or n_best > 1 else None,
            asked["attention"],
        )
        found = await self.answers(how, texts)
        is_small = is_small and weights * max(scored, 10 * asked["attention"]) <= 10 * AT_ONCE
        return await _called(is_small, _translated, asked["model"], sources, found, scored)

    def _sources(self, translator: Translator, texts: Sequence[str], unknown: str) -> list[Source]:
        sources = []
        for place, text in enumerate(texts):
            try:
                translator.check(text, unknown=unknown)
            except SourceError as error:
                raise Refused(f"texts[{place}]: {error}") from error
            source, vocabulary = translator.sources([text])[0], translator.source_vocabulary
            sources.append(Source(text, vocabulary.tokenize(source), vocabulary.unknown(source)))
        return sources

    async def evaluate(self, asked: Mapping[str, Any], given: bytes | Sequence[tuple[str, str]]) -> bytes:
        """What comes of the pairs, or of a file of them in the columns of the model, as JSON. Refused, Full, Closed."""
        translator = self.models[asked["model"]]
        file = await asyncio.to_thread(self._pairs, translator, given)
        how = How(asked["model"], asked["beam"] or 1, asked["length_penalty"], asked["unknown"], None, False)
        answers = await self.answers(how, [*file.targets])
        return await asyncio.to_thread(_evaluated, translator, asked, file, answers)

    def _pairs(self, translator: Translator, given: bytes | Sequence[tuple[str, str]]) -> Pairs:
        """What is to be evaluated, checked."""
        passed, places = "", None
        if isinstance(given, bytes):
            if given.startswith(GZIP):
                raise Refused("the file is compressed; expected text in UTF-8", 415)
            pairs: list[tuple[str, str]] = []
            stream, places = PairsStream(FILE, translator.reading, given), []
            try:
                for pair in stream:
                    if len(pairs) == self.limits.max_pairs:
                        raise Refused(f"{FILE} has more than {counted(len(pairs), 'pair')}; expected at most so many", 413)
                    for side, text in zip(("source", "target"), pair):
                        text_of(text, f"{FILE}, line {stream.line}: the {side}", self.limits.max_length)
                    pairs.append(pair)
                    places.append(f"{FILE}, line {stream.line}")
            except PairsError as error:
                place = FILE if error.line is None else f"{FILE}, line {error.line}"
                raise Refused(f"{place}: {error.reason}") from error
            passed = passed_over(stream.blank_lines, stream.comment_lines)
        else:
            pairs = [*given]
        try:
            return Pairs(translator.targets(pairs), passed)
        except SourceError as error:
            place = f"pairs[{error.index}]" if places is None else places[error.index]
            raise Refused(f"{place}: {error}") from error

    async def answers(self, how: How, texts: Sequence[str]) -> list[Any]:
        """What `_compute` gives, when it is there. Whoever stops waiting is not computed for."""
        try:
            return await asyncio.wrap_future(self.batcher.submit(how, texts))
        except SourceError as error:  # of a symbol that was never seen, with "fail"
            raise Refused(f"{texts[0] if len(texts) == 1 else 'a source'}: {error}") from error


@dataclass(frozen=True)
class Pairs:
    """Each source with its targets; passed_over: how many lines were no pairs, in words."""

    targets: dict[str, list[str]]
    passed_over: str


async def _called(at_once: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """Here, or, where it may take long, in another thread, so that the others are answered meanwhile."""
    return function(*arguments) if at_once else await asyncio.to_thread(function, *arguments)


def _translated(model: str, sources: Sequence[Source], found: Sequence[Any], scored: bool) -> bytes:
    """found: of each source a text, or its answers."""
    results = [
        {**asdict(source), "answers": [{"text": found}] if isinstance(found, str) else _answers(found, scored)}
        for source, found in zip(sources, found, strict=True)
    ]
    return as_json({"model": model, "results": results})


def _answers(best: Sequence[Answer], scored: bool) -> list[dict[str, Any]]:
    return [answer.to_json() if scored else {"text": answer.text} for answer in best]


def _evaluated(translator: Translator, asked: Mapping[str, Any], file: Pairs, answers: Sequence[str]) -> bytes:
    try:
        result = translator.compare(file.targets, answers, resamples=RESAMPLES if asked["intervals"] else 0)
    except ValueError as error:  # of targets without a token
        raise Refused(str(error)) from error
    unknown = sum(bool(translator.source_vocabulary.unknown(source)) for source in file.targets)
    wrong = worst(result.comparisons)
    found = confusions(result.comparisons)
    return as_json(
        {
            "model": asked["model"],
            "figures": result.to_json(),
            "unknown_sources": unknown,
            "passed_over": file.passed_over,
            "separator": result.separator,
            "wrong": len(wrong),
            "errors": [_wrong(result, place) for place in wrong[: asked["rows"]]],
            "confusions": [
                {"expected": each.expected, "given": each.given, "count": each.count, "source": result.sources[each.example]}
                for each in found[: asked["rows"]]
            ],
            "answers": [
                {"source": source, "answer": answer, "targets": targets, "token_errors": comparison.token_errors}
                for source, answer, targets, comparison in zip(
                    result.sources, result.answers, result.references, result.comparisons, strict=True
                )
            ],
        }
    )


def _wrong(result: Evaluation, place: int) -> dict[str, Any]:
    comparison = result.comparisons[place]
    return {
        "source": result.sources[place],
        "answer": result.answers[place],
        "expected": result.references[place][comparison.chosen],
        "token_errors": comparison.token_errors,
        "aligned": [list(pair) for pair in align(comparison.answer, comparison.reference)],
    }


def as_json(content: object) -> bytes:
    """In UTF-8; what is no finite number is null."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return content
