"""What a trained model of text is made of, for those who make, keep or describe one without searching by it."""

from __future__ import annotations

from typing import Any, Protocol

from fastattn.data import Reading, Vocabulary
from fastattn.models import AttentionSeq2seq

from .records import EpochRecord, Outcome
from .settings import Settings

# Source tokens that are read at once, padding included: it bounds the memory, about 5 H numbers a token.
MAX_SOURCE_TOKENS = 2**15


class TextModel(Protocol):
    """What is kept of a `Translator`; its constructor takes the first six, the model first and the vocabularies next."""

    @property
    def model(self) -> AttentionSeq2seq: ...

    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    reverse_source: bool
    max_target_tokens: int
    reading: Reading
    history: list[EpochRecord]
    outcome: Outcome | None
    about: dict[str, Any]
    settings: Settings | None


def wrong_size(tokens: int, limit: int = MAX_SOURCE_TOKENS) -> str:
    """What is said of a source with too few or too many tokens."""
    return f"the source has {tokens} tokens; expected 1 to {limit}"
