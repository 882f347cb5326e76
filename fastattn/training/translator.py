"""Text to text: a model together with its vocabularies."""

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from fastattn.data import END, PLAIN, START, Reading, Vocabulary, encode_sources
from fastattn.data.reading import split_features
from fastattn.layers.checks import Array
from fastattn.models import AttentionSeq2seq

BATCH_SIZE = 256

# Source tokens that are read at once, padding included: it bounds the memory, about 5 H numbers a token.
MAX_SOURCE_TOKENS = 2**15


# What becomes of a source with symbols that the model never saw: it is answered like any other, answered with nothing or with
# itself, or an error.
UNKNOWN_CHOICES = ("answer", "empty", "copy", "fail")


class SourceError(ValueError):
    """A text that cannot be translated; ``index`` is its place among the texts given."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index, self.reason = index, reason


class Translator:
    """A trained model and what is needed to use it on text.

    reverse_source: whether the model reads its source from the last token to the first. max_target_tokens: where an
    answer ends if the model has not ended it, the end symbol counted. reading: how the pairs were read that the model
    was taught. Its normalisation is applied to every text; with features a text is source, tab, features.
    """

    def __init__(
        self,
        model: AttentionSeq2seq,
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
        self.model = model
        self.source_vocabulary = source_vocabulary
        self.target_vocabulary = target_vocabulary
        self.reverse_source = reverse_source
        self.max_target_tokens = max_target_tokens
        self.reading = reading

    def sources(self, texts: Sequence[str]) -> list[str]:
        """The texts as the model was taught them: normalised, and each with its features, if there are some.

        TypeError for texts that are no sequence of str. SourceError for a text without the features that the model
        wants, or of more than MAX_SOURCE_TOKENS tokens.
        """
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
                raise SourceError(index, _wrong_size(size))
        return sources

    def unknown_symbols(self, text: str) -> list[str]:
        """The symbols of a text that the model never saw, none twice. SourceError as ``sources``."""
        return self.source_vocabulary.unknown(self.sources([text])[0])

    def check(self, text: str, *, unknown: str = "answer") -> None:
        """TypeError, ValueError or SourceError unless ``translate`` would answer this text."""
        self._answer_unknown(unknown, [text], self.sources([text]), [""])

    def translate(self, texts: Sequence[str], *, unknown: str = "answer") -> list[str]:
        """The answer to each text, in the order of the texts. A text without a token has the answer "".

        unknown: what becomes of a text with a symbol that the model never saw: "answer" (like any other: all such
        symbols are one to the model), "empty", "copy" (the text as it was given, without features), or "fail".

        ValueError for another ``unknown``, TypeError and SourceError as ``sources``, SourceError for "fail".
        """
        answers = [""] * len(texts)
        sources = self._answer_unknown(unknown, texts, self.sources(texts), answers)
        sizes = [len(self.source_vocabulary.tokenize(source)) for source in sources]
        # The longest first: texts of like lengths share a batch, and the first batch needs the most memory.
        waiting = sorted((n for n, size in enumerate(sizes) if size), key=lambda n: -sizes[n])
        while waiting:
            count = min(BATCH_SIZE, MAX_SOURCE_TOKENS // sizes[waiting[0]])
            chosen, waiting = waiting[:count], waiting[count:]
            x, lengths = encode_sources(
                [sources[n] for n in chosen], self.source_vocabulary, reverse_source=self.reverse_source
            )
            ids = self.model.generate(x, START, self.max_target_tokens, end_id=END, lengths=lengths)
            for n, row in zip(chosen, ids, strict=True):
                answers[n] = self.target_vocabulary.decode(row)
        return answers

    def _answer_unknown(self, unknown: str, texts: Sequence[str], sources: list[str], answers: list[str]) -> list[str]:
        """Answers what the model is not to be asked, in place -> the sources, with nothing in the place of these."""
        if unknown not in UNKNOWN_CHOICES:
            raise ValueError(f"unknown is {unknown!r}; expected one of {', '.join(UNKNOWN_CHOICES)}")
        left = list(sources)
        if unknown == "answer":
            return left
        for index, source in enumerate(sources):
            if symbols := self.source_vocabulary.unknown(source):
                if unknown == "fail":
                    raise SourceError(index, f"the source has symbols that the model never saw: {shown(symbols)}")
                left[index] = ""
                if unknown == "copy":
                    answers[index] = split_features(texts[index])[0] if self.reading.has_features else texts[index]
        return left

    def attend(self, text: str) -> tuple[list[str], list[int], Array]:
        """The source's symbols (T1), the ids of the answer (T2), and the attention weights (T2, T1), each row's sum 1.

        The ids end with END where the model ended its answer. The symbols and the columns are in the order of the text,
        also for a model that reads it backwards. SourceError for a text without a token or of more than
        MAX_SOURCE_TOKENS.
        """
        sources = self.sources([text])
        symbols = self.source_vocabulary.tokenize(sources[0])
        if not symbols:
            raise SourceError(0, _wrong_size(0))
        x, lengths = encode_sources(sources, self.source_vocabulary, reverse_source=self.reverse_source)
        ids, weights = self.model.generate(x, START, self.max_target_tokens, end_id=END, lengths=lengths, return_attention=True)
        ended = np.flatnonzero(ids[0] == END)
        T2 = int(ended[0]) + 1 if len(ended) else self.max_target_tokens
        columns = slice(None, None, -1) if self.reverse_source else slice(None)
        return symbols, ids[0, :T2].tolist(), weights[0, :T2, columns]


def _wrong_size(tokens: int) -> str:
    return f"the source has {tokens} tokens; expected 1 to {MAX_SOURCE_TOKENS}"


def shown(symbols: Iterable[str], most: int = 10) -> str:
    """Symbols as a message shows them; those that would not be seen by themselves by their numbers."""
    symbols = list(symbols)
    names = [
        repr(symbol)
        if symbol.isprintable() and not unicodedata.category(symbol[0]).startswith("M")
        else " ".join(f"U+{ord(character):04X}" for character in symbol)
        for symbol in symbols[:most]
    ]
    return ", ".join(names) + (f" and {len(symbols) - most} more" if len(symbols) > most else "")
