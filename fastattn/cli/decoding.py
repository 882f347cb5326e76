"""How answers are searched for, and how they are written: the options of `fastattn translate`, and what follows from them."""

import argparse
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .common import UserError, at_least_zero, positive_number, whole_number

if TYPE_CHECKING:
    from fastattn.training import Answer, Translator

# What only drawing reads.
OF_SAMPLING = ("temperature", "top_k", "top_p", "seed")

# As in fastattn.models.searching, which is not imported before it is needed.
MAX_ANSWERS = 2**31 - 1


def length_penalty(text: str) -> float:
    """A type for argparse."""
    from fastattn.models.searching import MAX_LENGTH_PENALTY

    number = at_least_zero(text)
    if number > MAX_LENGTH_PENALTY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_LENGTH_PENALTY}")
    return number


def add_search(parser: argparse.ArgumentParser) -> None:
    """The options of a search for the best answer: --beam, --length-penalty, --ensemble."""
    group = parser.add_argument_group("search")
    group.add_argument(
        "--beam",
        type=whole_number(1, MAX_ANSWERS),
        metavar="K",
        help="follow the K most probable hypotheses of each source (default: 1)",
    )
    group.add_argument(
        "--length-penalty",
        type=length_penalty,
        metavar="A",
        help="order answers by log probability / ((5 + tokens) / 6)^A (Wu et al. 2016); the end counts as a token (default: 0)",
    )
    group.add_argument(
        "--ensemble",
        action="append",
        default=[],
        metavar="DIR",
        help="the folder of another model, whose probabilities are averaged with those of the first; may be repeated",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options of decoding."""
    add_search(parser)
    group = parser.add_argument_group("drawing")
    group.add_argument("--sample", action="store_true", help="draw the answers, and do not search for the best ones")
    group.add_argument(
        "--temperature", type=positive_number, metavar="X", help="with --sample: draw from softmax(scores / X) (default: 1)"
    )
    group.add_argument(
        "--top-k", type=whole_number(1), metavar="K", help="with --sample: draw from the K most probable tokens (default: all)"
    )
    group.add_argument(
        "--top-p",
        type=positive_number,
        metavar="P",
        help="with --sample: draw from the fewest tokens that have together the probability P (default: all)",
    )
    group.add_argument(
        "--seed", type=whole_number(0, 2**64 - 1), metavar="N", help="with --sample: what the draws follow from (default: 0)"
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--n-best",
        type=whole_number(1, MAX_ANSWERS),
        metavar="N",
        help="write the N best answers, or N drawn ones, each in a line of its own after the number of its source and a tab",
    )
    group.add_argument(
        "--scores",
        action="store_true",
        help="write before each answer its log probability, those of its tokens and of its end, and the symbols of the source "
        "that the model never saw, between tabs",
    )
    group.add_argument(
        "--jsonl",
        action="store_true",
        help="write a JSON object for each source, with all answers and scores; an input that begins with { is an object, too, "
        'whose "source" is read and whose other keys are kept; "unknown_symbols" are those that the model never saw',
    )
    group.add_argument("--attention", action="store_true", help="with --jsonl: write where each token of an answer looked")
    group.add_argument(
        "--given",
        action="store_true",
        help="look for no answers: write those that are given, behind each source and a tab, in the target's column of FILE or "
        'as "target" in JSON, with the scores that the model gives them',
    )


def load(folder: str, others: Sequence[str]) -> "Translator":
    """The model of a folder; with others, the ensemble of all. UserError where they do not fit together."""
    from fastattn.training import ensemble, load

    translators = [load(each) for each in (folder, *others)]
    if len(translators) == 1:
        return translators[0]
    try:
        return ensemble(translators)
    except ValueError as error:
        raise UserError(f"--ensemble: {error}") from error


@dataclass(frozen=True)
class Decoding:
    """What the options of a call say."""

    search: dict[str, Any]
    sampling: dict[str, Any] | None
    n_best: int | None
    scores: bool
    jsonl: bool
    attention: bool
    given: bool = False

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Decoding":
        """UserError for options that do not go together."""
        given = {name: getattr(arguments, name) for name in OF_SAMPLING}
        n_best, beam = arguments.n_best, arguments.beam or 1
        if arguments.given:
            for name in ("beam", "length_penalty", "sample", *OF_SAMPLING, "n_best", "attention"):
                if (value := getattr(arguments, name)) is not None and value is not False:
                    raise UserError(f"{_flag(name)} is for answers that are looked for, and --given has them; give one of them")
            if arguments.unknown != "answer":
                raise UserError(f"--unknown {arguments.unknown} is for answers that are looked for, and --given has them")
            return cls({}, None, None, True, arguments.jsonl, False, given=True)
        if arguments.sample:
            for name in ("beam", "length_penalty"):
                if getattr(arguments, name) is not None:
                    raise UserError(f"{_flag(name)} is for a search for the best answer, and --sample draws; give one of them")
            if given["top_p"] is not None and given["top_p"] > 1:
                raise UserError(f"--top-p is {given['top_p']:g}; expected a probability, at most 1")
            sampling = {name: value for name, value in given.items() if value is not None}
            return cls({}, {"seed": 0, **sampling, "draws": n_best or 1}, n_best, *cls._output(arguments))
        for name, value in given.items():
            if value is not None:
                raise UserError(f"{_flag(name)} is for drawn answers; expected --sample beside it")
        if n_best is not None and n_best > beam:
            raise UserError(f"--n-best is {n_best}, and --beam {beam}; expected a beam of at least {n_best}")
        search = {"beam": beam, "length_penalty": arguments.length_penalty or 0.0}
        return cls(search, None, n_best, *cls._output(arguments))

    @staticmethod
    def _output(arguments: argparse.Namespace) -> tuple[bool, bool, bool]:
        if arguments.attention and not arguments.jsonl:
            raise UserError("--attention is written as JSON; expected --jsonl beside it")
        return arguments.scores, arguments.jsonl, arguments.attention

    def is_json(self, line: str) -> bool:
        """Whether a line of input is to be read as JSON."""
        return self.jsonl and line.lstrip().startswith("{")

    def read(self, line: str) -> dict[str, Any]:
        """A line of input as an object with a "source", and a "target" if that is given.

        ValueError for one that begins as JSON and is no such object, and for one without the tab before a target.
        """
        if not _is_unicode(line):
            raise ValueError("is not UTF-8")
        if not self.is_json(line):
            if not self.given:
                return {"source": line}
            source, tab, target = line.rpartition("\t")
            if not tab and line.strip():
                raise ValueError("no tab; expected source<TAB>answer")
            return {"source": source, "target": target}
        try:
            given = json.loads(line, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"begins with {{ and is not JSON: {error}") from error
        for key in ("source", *(["target"] if self.given else [])):
            if not isinstance(given.get(key), str):
                held = f"is {given[key]!r}" if key in given else "is missing"
                raise ValueError(f'"{key}" {held}; expected a text')
            if not _is_unicode(given[key]):
                raise ValueError(f'"{key}" is {given[key]!a}, with half of a surrogate pair; expected a text')
        return given

    def lines(
        self,
        translator: "Translator",
        asked: Sequence[dict[str, Any]],
        texts: Sequence[str],
        done: int = 0,
        unknown: str = "answer",
    ) -> list[str]:
        """What is written for each object that `read` gave. done: how many came before. SourceError for a bad source.

        texts: what is translated of each, its source, or "" where that cannot be.
        unknown: what becomes of a source with symbols that the model never saw.
        """
        if not (self.sampling or self.n_best or self.scores or self.jsonl):
            return [_in_a_line(text) for text in translator.translate(texts, **self.search, unknown=unknown)]
        if self.attention and all(model.config.attention is None for model in translator.models):
            raise UserError("--attention: the model has no attention")
        more: dict[str, Any] = {"return_attention": self.attention, "unknown": unknown}
        if self.given:
            found = _scored(translator, texts, asked)
        elif self.sampling:
            found = translator.sample(texts, **self.sampling, first=done, **more)
        else:
            found = translator.search(texts, **self.search, n_best=self.n_best or 1, **more)
        never_seen = [translator.unknown_symbols(text) for text in texts]
        if self.given:
            of_answers = [unknown_in_answer(translator, each[0].text) if each else [] for each in found]
            never_seen = [[*dict.fromkeys([*a, *b])] for a, b in zip(never_seen, of_answers, strict=True)]
        of_each = zip(asked, never_seen, found, strict=True)
        if self.jsonl:
            return [_json(self._object(*each)) for each in of_each]
        return [
            "\n".join(self._as_text(number, symbols, answers)) for number, (_, symbols, answers) in enumerate(of_each, done + 1)
        ]

    def _object(self, asked: dict[str, Any], never_seen: list[str], answers: Sequence["Answer"]) -> dict[str, Any]:
        marks = {"unknown_symbols": never_seen} if never_seen else {}
        return {**asked, **marks, "answers": [each.to_json() for each in answers]}

    def _as_text(self, number: int, never_seen: list[str], answers: Sequence["Answer"]) -> list[str]:
        """A line for each answer; one without an answer if there are none."""
        lines = []
        numbered = [] if self.n_best is None else [str(number)]
        for answer in answers:
            of_tokens = " ".join(f"{each:.4f}" for each in answer.token_log_probabilities)
            scores = [f"{answer.log_probability:.4f}", of_tokens, " ".join(never_seen)] if self.scores else []
            lines.append("\t".join([*numbered, *scores, _in_a_line(answer.text)]))
        return lines or ["\t".join([*numbered, *(["", "", " ".join(never_seen)] if self.scores else []), ""])]


def _scored(translator: "Translator", sources: Sequence[str], asked: Sequence[dict[str, Any]]) -> list[list["Answer"]]:
    """The "target" of each object as an answer with its scores; none to a source without a token. SourceError for a bad one."""
    from fastattn.training import Answer

    targets = [translator.reading.normalized(one.get("target", "")) for one in asked]
    found = translator.log_probabilities(list(zip(sources, targets, strict=True)))
    return [
        [Answer(target, sum(each), sum(each), tuple(translator.target_vocabulary.tokenize(target)), each, True)] if each else []
        for target, each in zip(targets, found, strict=True)
    ]


def unknown_in_answer(translator: "Translator", text: str) -> list[str]:
    """The symbols of a given answer that the model never saw, none twice."""
    return translator.target_vocabulary.unknown(translator.reading.normalized(text))


def _in_a_line(text: str) -> str:
    """An answer is a line; a text that is given back as its own answer may hold line ends, which become spaces."""
    return re.sub(r"\r\n|\r|\n", " ", text)


def _finite(given: str) -> float:
    """A number of JSON, which has no others. ValueError for one that no float holds, and for NaN."""
    number = float(given)
    if not math.isfinite(number):
        raise ValueError(f"{given} is no finite number")
    return number


def _json(given: dict[str, Any]) -> str:
    """In one line; with escapes alone where it holds what UTF-8 cannot."""
    text = json.dumps(given, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(given)


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text: halves of surrogate pairs stand for bytes that are not UTF-8, or for an error in JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
