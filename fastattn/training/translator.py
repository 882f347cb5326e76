"""Text to text: a model together with its vocabularies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastattn.data import END, START, Vocabulary, encode_sources
from fastattn.layers.checks import Array
from fastattn.models import AttentionSeq2seq, Ensemble, SearchResult

BATCH_SIZE = 256

# Hypotheses that are followed at once: of a wider beam fewer texts share a batch.
MAX_HYPOTHESES = 2048

# Source tokens that are read at once, padding included: it bounds the memory, about 5 H numbers a token.
MAX_SOURCE_TOKENS = 2**15


class SourceError(ValueError):
    """A text that cannot be translated; ``index`` is its place among the texts given."""

    def __init__(self, index: int, tokens: int) -> None:
        super().__init__(f"the source has {tokens} tokens; expected 1 to {MAX_SOURCE_TOKENS}")
        self.index = index


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


class Translator:
    """A trained model, or an ensemble of some, and what is needed to use it on text.

    reverse_source: whether the model reads its source from the last token to the first. max_target_tokens: where an
    answer ends if the model has not ended it, the end symbol counted.
    """

    def __init__(
        self,
        model: AttentionSeq2seq | Ensemble,
        source_vocabulary: Vocabulary,
        target_vocabulary: Vocabulary,
        *,
        reverse_source: bool,
        max_target_tokens: int,
    ):
        self.searching = model  # what finds the answers
        self.source_vocabulary = source_vocabulary
        self.target_vocabulary = target_vocabulary
        self.reverse_source = reverse_source
        self.max_target_tokens = max_target_tokens

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

    def translate(self, texts: Sequence[str], *, beam: int = 1, length_penalty: float = 0.0) -> list[str]:
        """The answer to each text, in the order of the texts. A text without a token has the answer "".

        beam, length_penalty: as in `AttentionSeq2seq.search`; at first the best token at each step is taken.
        SourceError for a text of more than MAX_SOURCE_TOKENS tokens.
        """
        answers = [""] * len(texts)
        for chosen, x, lengths in self._batches(texts, beam):
            ids = self.searching.generate(
                x,
                START,
                self.max_target_tokens,
                end_id=END,
                lengths=lengths,
                beam=beam,
                length_penalty=length_penalty,
            )
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
    ) -> list[list[Answer]]:
        """The ``n_best`` best answers to each text, best first, as `AttentionSeq2seq.search` finds them.

        There may be fewer, where a vocabulary is small; to a text without a token there are none. SourceError as in
        ``translate``.
        """
        answers: list[list[Answer]] = [[] for _ in texts]
        for chosen, x, lengths in self._batches(texts, beam):
            found = self.searching.search(
                x,
                START,
                self.max_target_tokens,
                end_id=END,
                lengths=lengths,
                beam=beam,
                n_best=n_best,
                length_penalty=length_penalty,
                return_attention=return_attention,
            )
            for i, n in enumerate(chosen):
                answers[n] = self._answers(found, i, lengths[i])
        return answers

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
    ) -> list[list[Answer]]:
        """``draws`` answers to each text, as `AttentionSeq2seq.sample` draws them.

        first: the number of the first text. What is drawn follows from the seed and a text's number, whatever else is asked.
        SourceError as in ``translate``.
        """
        answers: list[list[Answer]] = [[] for _ in texts]
        for chosen, x, lengths in self._batches(texts, draws):
            found = self.searching.sample(
                x,
                START,
                self.max_target_tokens,
                seed=seed,
                end_id=END,
                lengths=lengths,
                draws=draws,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                samples=np.array(chosen) + first,
                return_attention=return_attention,
            )
            for i, n in enumerate(chosen):
                answers[n] = self._answers(found, i, lengths[i])
        return answers

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """How probable the model finds a given target of a source: of each of its tokens, and of the end, the logarithm.

        Their sum is the log probability of the target as the whole answer. What the vocabulary does not have counts as the
        unknown symbol. To a source without a token there is no answer: an empty tuple. SourceError as in ``translate``.
        """
        given: list[tuple[float, ...]] = [()] * len(pairs)
        for chosen, x, lengths in self._batches([source for source, _ in pairs], 1):
            targets = [self.target_vocabulary.encode(pairs[n][1], start=True, end=True) for n in chosen]
            t = np.full((len(chosen), max(map(len, targets))), END)
            for row, target in zip(t, targets, strict=True):
                row[: len(target)] = target
            sizes = [len(target) for target in targets]
            found = self.searching.log_probabilities(x, t, source_lengths=lengths, target_lengths=sizes)
            for n, size, row in zip(chosen, sizes, found, strict=True):
                given[n] = tuple(row[: size - 1].tolist())
        return given

    def _batches(self, texts: Sequence[str], hypotheses: int) -> Iterator[tuple[list[int], Array, Array]]:
        """The places of the texts that share a batch, their ids x (N, T1) and lengths; texts without a token are left out.

        hypotheses: how many of a text are followed.
        """
        sizes = [len(self.source_vocabulary.tokenize(text)) for text in texts]
        for index, size in enumerate(sizes):
            if size > MAX_SOURCE_TOKENS:
                raise SourceError(index, size)
        # The longest first: texts of like lengths share a batch, and the first batch needs the most memory.
        waiting = sorted((n for n, size in enumerate(sizes) if size), key=lambda n: -sizes[n])
        while waiting:
            count = min(BATCH_SIZE, MAX_SOURCE_TOKENS // sizes[waiting[0]], max(1, MAX_HYPOTHESES // max(1, hypotheses)))
            chosen, waiting = waiting[:count], waiting[count:]
            x, lengths = encode_sources([texts[n] for n in chosen], self.source_vocabulary, reverse_source=self.reverse_source)
            yield chosen, x, lengths

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
        also for a model that reads it backwards. SourceError for a text without a token or of more than
        MAX_SOURCE_TOKENS.
        """
        symbols = self.source_vocabulary.tokenize(text)
        if not 1 <= len(symbols) <= MAX_SOURCE_TOKENS:
            raise SourceError(0, len(symbols))
        x, lengths = encode_sources([text], self.source_vocabulary, reverse_source=self.reverse_source)
        ids, weights = self.searching.generate(
            x, START, self.max_target_tokens, end_id=END, lengths=lengths, return_attention=True
        )
        ended = np.flatnonzero(ids[0] == END)
        T2 = int(ended[0]) + 1 if len(ended) else self.max_target_tokens
        columns = slice(None, None, -1) if self.reverse_source else slice(None)
        return symbols, ids[0, :T2].tolist(), weights[0, :T2, columns]


def ensemble(translators: Sequence[Translator]) -> Translator:
    """One translator of several, whose models search together (`Ensemble`).

    ValueError where they do not read and write the same symbols in the same way. An answer ends where that of the one with the
    longest answers would.
    """
    first = translators[0]
    for i, each in enumerate(translators):
        for name in ("source_vocabulary", "target_vocabulary", "reverse_source"):
            given, expected = getattr(each, name), getattr(first, name)
            if given != expected:
                message = f"the {name} of model {i + 1} is {given!r}; expected that of the first, {expected!r}"
                raise ValueError(message + (", symbol by symbol" if repr(given) == repr(expected) else ""))
    return Translator(
        Ensemble([model for each in translators for model in each.models]),
        first.source_vocabulary,
        first.target_vocabulary,
        reverse_source=first.reverse_source,
        max_target_tokens=max(each.max_target_tokens for each in translators),
    )
