"""What may stand in a request: each field once, with its check, its default and its words; the description is made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastattn.data import UNKNOWN_CHOICES
from fastattn.data.words import counted, did_you_mean
from fastattn.models.searching import MAX_LENGTH_PENALTY

from .limits import Limits

RESAMPLES = 1000
MOST_ROWS = 10_000
ROWS = 200


class RequestError(Exception):
    """What is said to the client, with a status of HTTP."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


@dataclass(frozen=True)
class Field:
    """schema: of JSON Schema. read: a value -> the same, checked; it raises ValueError with what was expected."""

    name: str
    help: str
    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    default: Any = None
    required: bool = False

    def described(self) -> dict[str, Any]:
        """The field in JSON Schema."""
        default = {} if self.default is None else {"default": self.default}
        return {**self.schema, **default, "description": self.help}


class Refused(RequestError):
    """A body or a field that is not as expected: 422, or another status for what is too large."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(status, message)


def _shown(value: object) -> str:
    """A value as a message shows it: not all of a long one."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def boolean(name: str, help: str) -> Field:
    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value

    return Field(name, help, {"type": "boolean"}, read, default=False)


def whole(name: str, help: str, low: int, high: int, default: int | None) -> Field:
    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high:,}")
        return value

    return Field(name, help, {"type": "integer", "minimum": low, "maximum": high}, read, default=default)


def number(name: str, help: str, low: float, high: float, default: float) -> Field:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return Field(name, help, {"type": "number", "minimum": low, "maximum": high}, read, default=default)


def choice(name: str, help: str, choices: Sequence[str], default: str) -> Field:
    def read(value: Any) -> str:
        if value not in choices or not isinstance(value, str):
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return Field(name, help, {"type": "string", "enum": list(choices)}, read, default=default)


def text_of(value: object, what: str, longest: int) -> str:
    """A text that is asked for. Refused for anything else, and for one that is too long."""
    if not isinstance(value, str):
        raise Refused(f"{what} is {_shown(value)}; expected a text")
    if len(value) > longest:
        raise Refused(f"{what} has {len(value):,} characters; expected at most {longest:,}", 413)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(f"{what} is {_shown(value)}, with half of a surrogate pair; expected a text") from None
    return value


def texts(limits: Limits) -> Field:
    def read(value: Any) -> list[str]:
        if not isinstance(value, list) or not value:
            raise ValueError("a list of at least 1 text")
        if len(value) > limits.max_texts:
            raise Refused(f"texts has {counted(len(value), 'text')}; expected at most {limits.max_texts:,}", 413)
        return [text_of(each, f"texts[{i}]", limits.max_length) for i, each in enumerate(value)]

    item = {"type": "string", "maxLength": limits.max_length}
    schema = {"type": "array", "minItems": 1, "maxItems": limits.max_texts, "items": item}
    help = "what to translate; of a model with features each is source, tab, features"
    return Field("texts", help, schema, read, required=True)


def pairs(limits: Limits) -> Field:
    def read(value: Any) -> list[tuple[str, str]]:
        if not isinstance(value, list) or not value:
            raise ValueError("a list of at least 1 pair")
        if len(value) > limits.max_pairs:
            raise Refused(f"pairs has {counted(len(value), 'pair')}; expected at most {limits.max_pairs:,}", 413)
        found = []
        for i, each in enumerate(value):
            if not isinstance(each, list) or len(each) != 2:
                raise Refused(f"pairs[{i}] is {_shown(each)}; expected a source and a target")
            source, target = (text_of(text, f"pairs[{i}][{side}]", limits.max_length) for side, text in enumerate(each))
            for side, text in enumerate((source, target)):
                if not text.strip():
                    raise Refused(f"pairs[{i}][{side}] is empty; expected a source and a target")
            found.append((source, target))
        return found

    text = {"type": "string", "maxLength": limits.max_length}
    item = {"type": "array", "minItems": 2, "maxItems": 2, "items": text}
    schema = {"type": "array", "minItems": 1, "maxItems": limits.max_pairs, "items": item}
    help = "sources with what is right for them; the targets of a source that stands there more than once are all right"
    return Field("pairs", help, schema, read, required=True)


def _common(limits: Limits, models: Sequence[str]) -> list[Field]:
    return [
        choice("model", "which of the models", models, models[0]),
        whole(
            "beam",
            "follow so many hypotheses of each source (default: n_best, or 1)",
            1,
            limits.max_beam,
            None,
        ),
        number(
            "length_penalty",
            "order answers by log probability / ((5 + tokens) / 6)^A; the end counts as a token",
            *(0.0, MAX_LENGTH_PENALTY, 0.0),
        ),
        choice(
            "unknown",
            "what becomes of a source with symbols that the model never saw: it is answered like any other, with nothing or "
            "with itself, or is an error",
            *(UNKNOWN_CHOICES, "answer"),
        ),
    ]


def of_translate(limits: Limits, models: Sequence[str]) -> list[Field]:
    """The fields of `POST /translate`."""
    return [
        texts(limits),
        *_common(limits, models),
        whole("n_best", "how many answers to each text, at most as many as the beam", 1, limits.max_beam, 1),
        boolean("scores", "give the scores and the tokens of each answer"),
        boolean("attention", "give the scores, and where each token of an answer looked"),
    ]


def of_evaluate(limits: Limits, models: Sequence[str]) -> list[Field]:
    """The options of `POST /evaluate`, without the pairs."""
    return [
        *_common(limits, models),
        boolean("intervals", f"give 95 % intervals, by the bootstrap with {RESAMPLES:,} resamples"),
        whole("rows", "give at most so many of the wrong answers, and of the confusions", 0, MOST_ROWS, ROWS),
    ]


def read_fields(content: object, fields: Sequence[Field]) -> dict[str, Any]:
    """The fields of a request by their names, checked, those that are not given at their defaults.

    Refused for one that is not as expected, that is not known, or that is missing.
    """
    if not isinstance(content, dict):
        raise Refused(f"the body is {_shown(content)}; expected an object")
    known = [field.name for field in fields]
    for name in content:
        if name not in known:
            raise Refused(f"there is no field {_shown(name)}{did_you_mean(name, known)}")
    found = {}
    for field in fields:
        if field.name not in content:
            if field.required:
                raise Refused(f"{field.name} is missing; expected {field.help}")
            found[field.name] = field.default
            continue
        try:
            found[field.name] = field.read(content[field.name])
        except ValueError as error:
            raise Refused(f"{field.name} is {_shown(content[field.name])}; expected {error}") from None
    return found


def read_query(given: Sequence[tuple[str, str]], fields: Sequence[Field]) -> dict[str, Any]:
    """The same of a query: a value is written as in JSON, a text without quotes."""
    content: dict[str, Any] = {}
    kinds = {field.name: field.schema["type"] for field in fields}
    for name, text in given:
        if name in content:
            raise Refused(f"{_shown(name)} stands there more than once")
        content[name] = text
        if kinds.get(name) in ("integer", "number", "boolean"):
            with suppress(ValueError):  # it is refused as the text that it is
                content[name] = from_json(text)
    return read_fields(content, fields)


def from_json(text: str | bytes) -> Any:
    """ValueError for what is no JSON, or holds a number that no float holds."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _finite(given: str) -> float:
    value = float(given)
    if not math.isfinite(value):
        raise ValueError(f"{given} is no finite number")
    return value
