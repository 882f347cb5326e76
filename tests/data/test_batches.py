import numpy as np
import pytest

from fastattn.data import (
    END,
    PADDING,
    START,
    UNKNOWN,
    Vocabulary,
    batches,
    encode_pairs,
    encode_sources,
    token_batches,
    trim,
)

PAIRS = [("abc", "x y"), ("b", "y"), ("ca", "x x x y")]
SOURCES = Vocabulary.from_texts(["abc"])  # a 4, b 5, c 6
TARGETS = Vocabulary.from_texts(["x y"], "space")  # x 4, y 5


def test_encode_pairs():
    x, source_lengths, t, target_lengths = encode_pairs(PAIRS, SOURCES, TARGETS)
    assert x.tolist() == [[4, 5, 6], [5, PADDING, PADDING], [6, 4, PADDING]]
    assert t.tolist() == [
        [START, 4, 5, END, PADDING, PADDING],
        [START, 5, END, PADDING, PADDING, PADDING],
        [START, 4, 4, 4, 5, END],
    ]
    assert source_lengths.tolist() == [3, 1, 2]
    assert target_lengths.tolist() == [4, 3, 6]
    for array in (x, source_lengths, t, target_lengths):
        assert array.dtype == np.int64
        assert array.flags.c_contiguous


def test_reversed_sources_keep_their_padding_at_the_end_and_targets_their_order():
    x, lengths, t, _ = encode_pairs(PAIRS, SOURCES, TARGETS, reverse_source=True)
    assert x.tolist() == [[6, 5, 4], [5, PADDING, PADDING], [4, 6, PADDING]]
    assert lengths.tolist() == [3, 1, 2]
    assert t.tolist() == encode_pairs(PAIRS, SOURCES, TARGETS)[2].tolist()


def test_encode_sources_agrees_with_encode_pairs():
    for reverse_source in (False, True):
        x, lengths = encode_sources([source for source, _ in PAIRS], SOURCES, reverse_source=reverse_source)
        expected = encode_pairs(PAIRS, SOURCES, TARGETS, reverse_source=reverse_source)
        assert (x.tolist(), lengths.tolist()) == (expected[0].tolist(), expected[1].tolist())
    assert encode_sources(["a?"], SOURCES)[0].tolist() == [[4, UNKNOWN]]


def test_nothing_to_encode_is_an_error():
    with pytest.raises(ValueError, match="no texts to encode"):
        encode_sources([], SOURCES)
    with pytest.raises(ValueError, match="no texts to encode"):
        encode_pairs([], SOURCES, TARGETS)
    with pytest.raises(ValueError, match="source 1 has no token: ''"):
        encode_sources(["a", ""], SOURCES)
    with pytest.raises(ValueError, match=r"source 0 has no token: ' .t'"):
        encode_pairs([(" \t", "x")], TARGETS, TARGETS)


def lengths(samples, seed=7):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 41, samples), rng.integers(3, 13, samples)


def padding(source_lengths, epoch):
    return sum(len(index) * source_lengths[index].max() for index in epoch) / source_lengths.sum()


@pytest.mark.parametrize("samples", [1, 31, 32, 33, 64, 1000])
@pytest.mark.parametrize("window", [1, 3, 50])
def test_an_epoch_holds_every_index_once_in_full_batches_and_a_rest(samples, window):
    epoch = batches(*lengths(samples), 32, np.random.default_rng(0), window=window)
    assert sorted(np.concatenate(epoch).tolist()) == list(range(samples))
    rest = [samples % 32] if samples % 32 else []
    assert sorted(map(len, epoch)) == rest + [32] * (samples // 32)


def test_an_epoch_depends_on_the_generator_alone():
    def epoch(seed):
        return [index.tolist() for index in batches(*lengths(300), 16, np.random.default_rng(seed))]

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    rng = np.random.default_rng(3)
    first, second = (batches(*lengths(300), 16, rng) for _ in range(2))
    assert [index.tolist() for index in first] != [index.tolist() for index in second]


def test_bucketing_saves_padding():
    source_lengths, target_lengths = lengths(6400)
    plain = batches(source_lengths, target_lengths, 32, np.random.default_rng(0), window=1)
    bucketed = batches(source_lengths, target_lengths, 32, np.random.default_rng(0))
    assert padding(source_lengths, plain) > 1.7
    assert padding(source_lengths, bucketed) < 1.05


def test_batches_come_in_random_order_and_the_rest_is_a_random_draw():
    source_lengths, target_lengths = lengths(32 * 200 + 31)
    epoch = batches(source_lengths, target_lengths, 32, np.random.default_rng(0))
    longest = [int(source_lengths[index].max()) for index in epoch]
    assert 0.4 < np.mean(np.diff(longest) >= 0) < 0.6
    (rest,) = (index for index in epoch if len(index) == 31)
    assert np.ptp(source_lengths[rest]) > 20


def test_targets_are_sorted_where_sources_are_equally_long():
    source_lengths, target_lengths = np.full(1000, 9), lengths(1000)[1]
    epoch = batches(source_lengths, target_lengths, 20, np.random.default_rng(0))
    assert padding(target_lengths, epoch) < 1.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.arange(3), np.arange(4), 2), r"must both be \(N,\) with N >= 1, got \(3,\) and \(4,\)"),
        ((np.ones((2, 2)), np.ones((2, 2)), 2), r"got \(2, 2\) and \(2, 2\)"),
        ((np.arange(0), np.arange(0), 2), r"got \(0,\) and \(0,\)"),
        ((np.arange(3), np.arange(3), 0), "at least 1, got 0 and 50"),
        ((np.arange(3), np.arange(3), -1), "at least 1, got -1 and 50"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(*arguments, np.random.default_rng(0))
    with pytest.raises(ValueError, match="got 2 and 0"):
        batches(np.arange(3), np.arange(3), 2, np.random.default_rng(0), window=0)


def tokens_of(index, source_lengths, target_lengths):
    return len(index) * int(source_lengths[index].max() + target_lengths[index].max())


@pytest.mark.parametrize("samples", [1, 31, 1000])
@pytest.mark.parametrize("window", [1, 3, 50])
@pytest.mark.parametrize("batch_tokens", [52, 53, 400, 10**9])
def test_batches_by_tokens_hold_every_index_once_and_no_more_than_their_tokens(samples, window, batch_tokens):
    both = lengths(samples)
    epoch = token_batches(*both, batch_tokens, np.random.default_rng(0), window=window)
    assert sorted(np.concatenate(epoch).tolist()) == list(range(samples))
    assert max(tokens_of(index, *both) for index in epoch) <= batch_tokens
    if batch_tokens == 10**9:
        assert len(epoch) == 1


def test_no_sample_more_would_have_fitted_into_a_batch_by_tokens():
    both = np.arange(7, 0, -1), np.full(7, 2)  # 9, 8, ..., 3 tokens: all of one window
    epoch = token_batches(*both, 17, np.random.default_rng(0), window=50)
    assert sorted(index.tolist() for index in epoch) in (
        # from the shortest on: 2 x 4, 2 x 6 (3 x 6 would be too much), 2 x 8; 9
        [[0], [2, 1], [4, 3], [6, 5]],
        # from the longest on: 9; 2 x 8, 2 x 6, 2 x 4
        [[0], [1, 2], [3, 4], [5, 6]],
    )


def test_batches_by_tokens_are_full_and_have_little_padding():
    both = lengths(6400)
    epoch = token_batches(*both, 1000, np.random.default_rng(0))
    filled = [tokens_of(index, *both) / 1000 for index in epoch]
    assert np.mean(filled) > 0.9
    assert (
        padding(both[0], epoch) < 1.05 < 1.7 < padding(both[0], token_batches(*both, 1000, np.random.default_rng(0), window=1))
    )
    longest = [int(both[0][index].max()) for index in epoch]
    assert 0.4 < np.mean(np.diff(longest) >= 0) < 0.6  # in random order


def test_batches_by_tokens_depend_on_the_generator_alone():
    def epoch(seed):
        return [index.tolist() for index in token_batches(*lengths(300), 200, np.random.default_rng(seed))]

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)


def test_the_rest_of_a_window_is_now_of_the_longest_now_of_the_shortest():
    both = np.arange(1, 31), np.full(30, 2)
    smallest = {int(min(token_batches(*both, 64, np.random.default_rng(seed)), key=len)[0]) for seed in range(20)}
    assert min(smallest) < 5
    assert max(smallest) > 20


def test_a_sample_of_more_tokens_than_a_batch_may_have_is_named():
    with pytest.raises(ValueError, match=r"batch_tokens is 9, but sample 1 has 7 \+ 3 tokens; expected at least 10"):
        token_batches(np.array([2, 7]), np.array([4, 3]), 9, np.random.default_rng(0))
    for batch_tokens, window in ((0, 50), (9, 0)):
        with pytest.raises(ValueError, match=f"at least 1, got {batch_tokens} and {window}"):
            token_batches(np.arange(1, 3), np.arange(1, 3), batch_tokens, np.random.default_rng(0), window=window)
    with pytest.raises(ValueError, match=r"must both be \(N,\)"):
        token_batches(np.arange(3), np.arange(4), 9, np.random.default_rng(0))


def test_trim():
    x, source_lengths, _, _ = encode_pairs(PAIRS, SOURCES, TARGETS)
    index = np.array([1, 2])
    trimmed = trim(x[index], source_lengths[index])
    assert trimmed.tolist() == [[5, PADDING], [6, 4]]
    assert trimmed.flags.c_contiguous
    whole = trim(x, source_lengths)
    whole[:] = 0
    assert x.any()  # a copy: what the trainer does to a batch, the corpus does not see
