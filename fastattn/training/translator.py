"""Text to text: a model together with its vocabularies."""

from collections.abc import Sequence

import numpy as np

from fastattn.data import END, START, Vocabulary, encode_sources
from fastattn.layers.checks import Array
from fastattn.models import AttentionSeq2seq

BATCH_SIZE = 256

# Source tokens that are read at once, padding included: it bounds the memory, about 5 H numbers a token.
MAX_SOURCE_TOKENS = 2**15


class SourceError(ValueError):
    """A text that cannot be translated; ``index`` is its place among the texts given."""

    def __init__(self, index: int, tokens: int) -> None:
        super().__init__(f"the source has {tokens} tokens; expected 1 to {MAX_SOURCE_TOKENS}")
        self.index = index


class Translator:
    """A trained model and what is needed to use it on text.

    reverse_source: whether the model reads its source from the last token to the first. max_target_tokens: where an
    answer ends if the model has not ended it, the end symbol counted.
    """

    def __init__(
        self,
        model: AttentionSeq2seq,
        source_vocabulary: Vocabulary,
        target_vocabulary: Vocabulary,
        *,
        reverse_source: bool,
        max_target_tokens: int,
    ):
        self.model = model
        self.source_vocabulary = source_vocabulary
        self.target_vocabulary = target_vocabulary
        self.reverse_source = reverse_source
        self.max_target_tokens = max_target_tokens

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The answer to each text, in the order of the texts. A text without a token has the answer "".

        SourceError for a text of more than MAX_SOURCE_TOKENS tokens.
        """
        sizes = [len(self.source_vocabulary.tokenize(text)) for text in texts]
        for index, size in enumerate(sizes):
            if size > MAX_SOURCE_TOKENS:
                raise SourceError(index, size)
        answers = [""] * len(texts)
        # The longest first: texts of like lengths share a batch, and the first batch needs the most memory.
        waiting = sorted((n for n, size in enumerate(sizes) if size), key=lambda n: -sizes[n])
        while waiting:
            count = min(BATCH_SIZE, MAX_SOURCE_TOKENS // sizes[waiting[0]])
            chosen, waiting = waiting[:count], waiting[count:]
            x, lengths = encode_sources([texts[n] for n in chosen], self.source_vocabulary, reverse_source=self.reverse_source)
            ids = self.model.generate(x, START, self.max_target_tokens, end_id=END, lengths=lengths)
            for n, row in zip(chosen, ids, strict=True):
                answers[n] = self.target_vocabulary.decode(row)
        return answers

    def attend(self, text: str) -> tuple[list[str], list[int], Array]:
        """The source's symbols (T1), the ids of the answer (T2), and the attention weights (T2, T1), each row's sum 1.

        The ids end with END where the model ended its answer. The symbols and the columns are in the order of the text,
        also for a model that reads it backwards. SourceError for a text without a token or of more than
        MAX_SOURCE_TOKENS.
        """
        symbols = self.source_vocabulary.tokenize(text)
        if not 1 <= len(symbols) <= MAX_SOURCE_TOKENS:
            raise SourceError(0, len(symbols))
        x, lengths = encode_sources([text], self.source_vocabulary, reverse_source=self.reverse_source)
        ids, weights = self.model.generate(x, START, self.max_target_tokens, end_id=END, lengths=lengths, return_attention=True)
        ended = np.flatnonzero(ids[0] == END)
        T2 = int(ended[0]) + 1 if len(ended) else self.max_target_tokens
        columns = slice(None, None, -1) if self.reverse_source else slice(None)
        return symbols, ids[0, :T2].tolist(), weights[0, :T2, columns]
