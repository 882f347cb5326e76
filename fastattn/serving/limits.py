"""What a server takes: sizes, numbers, time. What is beyond is refused before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _limit(default: int, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Limits:
    """Each field's ``metadata["help"]`` is its description. ValueError for one that is no whole number of at least 1."""

    max_bytes: int = _limit(2_000_000, "bytes of the body of a request")
    max_texts: int = _limit(256, "texts of a request to translate")
    max_pairs: int = _limit(10_000, "pairs of a request to evaluate")
    max_length: int = _limit(1_000, "characters of a text")
    max_beam: int = _limit(32, "hypotheses that a search follows")
    max_weights: int = _limit(1_000_000, "attention weights of an answer to a request")
    max_waiting: int = _limit(20_000, "texts that wait; what comes on top is refused with 503")
    timeout: int = _limit(120, "seconds that a request may take, from its first byte to its last, waiting included")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{each.name} is {value!r}; expected a whole number of at least 1")
