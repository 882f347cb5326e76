"""From pairs of text to padded arrays of token ids, and from those to batches.

N samples, T1 source tokens, T2 target tokens (start and end symbol included): see docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastattn.data.pairs import Pair
from fastattn.data.vocabulary import PADDING, Vocabulary


def encode_sources(
    texts: Sequence[str], vocabulary: Vocabulary, *, reverse_source: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The ids of `texts`, padded to the longest: (x (N, T1) int64, lengths (N,) int64).

    `reverse_source` turns the order of the tokens round and leaves the padding at the end (Sutskever, Vinyals
    and Le 2014, section 3.3). Raises ValueError if there is no text, or one without a token: an encoder has
    nothing to read there.
    """
    rows = [vocabulary.encode(text) for text in texts]
    for number, row in enumerate(rows):
        if not row:
            raise ValueError(f"source {number} has no token: {texts[number]!r}")
    return _pad([row[::-1] for row in rows] if reverse_source else rows)


def encode_pairs(
    pairs: Sequence[Pair],
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    *,
    reverse_source: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both sides of `pairs`, padded: (x (N, T1), source_lengths (N,), t (N, T2), target_lengths (N,)), all int64.

    A row of `t` is start, the target's tokens, end, padding; its length counts start and end. So a decoder
    reads `t[:, :-1]` and is to say `t[:, 1:]`, both of length `target_lengths - 1`. A source has neither start
    nor end.

    Raises ValueError as `encode_sources` does.
    """
    x, source_lengths = encode_sources([source for source, _ in pairs], source_vocabulary, reverse_source=reverse_source)
    t, target_lengths = _pad([target_vocabulary.encode(target, start=True, end=True) for _, target in pairs])
    return x, source_lengths, t, target_lengths


def _pad(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unequal lengths -> (ids (N, T), lengths (N,))."""
    if not rows:
        raise ValueError("no texts to encode")
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((len(rows), lengths.max()), PADDING, dtype=np.int64)
    for row, out in zip(rows, ids):
        out[: len(row)] = row
    return ids, lengths


def batches(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    batch_size: int,
    rng: np.random.Generator,
    *,
    window: int = 50,
) -> list[np.ndarray]:
    """One epoch: index arrays that hold every sample once, in random order, samples of like lengths together.

    The samples are shuffled and cut into windows of `window` batches; each window is sorted by (source length,
    target length), so that the batches cut from it need little padding; then the batches are shuffled.
    `window=1` sorts nothing across batches: every batch is a plain random draw. All batches hold `batch_size`
    samples except one, which holds the rest; that one is drawn before the sorting, so that it isn't always the
    longest samples that fall to it.

    The result depends on the lengths and on the state of `rng` only. Raises ValueError for lengths that are not two
    non-empty arrays (N,) and for a `batch_size` or `window` below 1.
    """
    _check_lengths(source_lengths, target_lengths)
    if batch_size < 1 or window < 1:
        raise ValueError(f"batch_size and window must be at least 1, got {batch_size} and {window}")
    order = rng.permutation(len(source_lengths))
    full = len(order) - len(order) % batch_size
    result = [order[full:]] if full < len(order) else []
    for first in range(0, full, window * batch_size):
        part = order[first : min(first + window * batch_size, full)]
        if window > 1:
            part = part[np.lexsort((target_lengths[part], source_lengths[part]))]
        result += list(part.reshape(-1, batch_size))
    return [result[position] for position in rng.permutation(len(result))]


def token_batches(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    batch_tokens: int,
    rng: np.random.Generator,
    *,
    window: int = 50,
) -> list[np.ndarray]:
    """One epoch as `batches` gives it, but of batches that are alike in their tokens, not in their samples.

    A batch of n samples holds n (T1 + T2) <= `batch_tokens` tokens, where T1 and T2 are its longest lengths: padding
    counts, and so do start and end symbol. In each window, of about `window` batches, samples are taken in their order
    until the next would be too much; from the shortest or from the longest on, as the generator draws it, so that the
    last batch of a window, which may be small, isn't always that of the longest.

    Raises ValueError as `batches` does, and for a sample that is longer than `batch_tokens` by itself.
    """
    _check_lengths(source_lengths, target_lengths)
    if batch_tokens < 1 or window < 1:
        raise ValueError(f"batch_tokens and window must be at least 1, got {batch_tokens} and {window}")
    sizes = source_lengths + target_lengths
    longest = int(sizes.argmax())
    if sizes[longest] > batch_tokens:
        tokens = f"{source_lengths[longest]} + {target_lengths[longest]} tokens"
        raise ValueError(
            f"batch_tokens is {batch_tokens}, but sample {longest} has {tokens}; expected at least {sizes[longest]}"
        )
    order = rng.permutation(len(sizes))
    samples = len(order) if window == 1 else window * max(1, int(batch_tokens // sizes.mean()))
    result = []
    for first in range(0, len(order), samples):
        part = order[first : first + samples]
        if window > 1:
            part = part[np.lexsort((target_lengths[part], source_lengths[part]))[:: 1 if rng.integers(2) else -1]]
        most = batch_tokens // int(sizes[part].min())
        begin = 0
        while begin < len(part):
            ahead = part[begin : begin + most]
            width = np.maximum.accumulate(source_lengths[ahead]) + np.maximum.accumulate(target_lengths[ahead])
            count = int(np.searchsorted(width * np.arange(1, len(ahead) + 1), batch_tokens, side="right"))
            result.append(ahead[:count])
            begin += count
    return [result[position] for position in rng.permutation(len(result))]


def _check_lengths(source_lengths: np.ndarray, target_lengths: np.ndarray) -> None:
    """ValueError unless the lengths are two non-empty arrays (N,)."""
    if source_lengths.ndim != 1 or source_lengths.shape != target_lengths.shape or not len(source_lengths):
        shapes = f"{source_lengths.shape} and {target_lengths.shape}"
        raise ValueError(f"source_lengths and target_lengths must both be (N,) with N >= 1, got {shapes}")


def trim(ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A batch `ids` (N, T) cut to its longest member: a contiguous copy (N, max(lengths))."""
    return np.array(ids[:, : lengths.max()], order="C")
