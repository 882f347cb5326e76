"""Ids that no answer holds, in every search, by one model and by several."""

import numpy as np
import pytest

import fastattn
from fastattn.data import END, PADDING, START, UNKNOWN, Vocabulary
from fastattn.training import Translator

V = 9
FORBIDDEN = [0, 3]
KINDS = {
    "plain": {},
    "feeding": {"attention": "additive", "attentional_size": 5, "input_feeding": True},
    "tied": {"decoder_layers": 2, "tie_embeddings": True},
}


@pytest.fixture(params=KINDS)
def model(request, backend):
    """A model that likes the forbidden ids best."""
    made = fastattn.AttentionSeq2seq(V, 4, 6, seed=1, **KINDS[request.param])
    made.params[-1][FORBIDDEN] += 3
    return made


@pytest.fixture
def x(rng):
    return rng.integers(0, V, (5, 4))


def searches(model, x, **options):
    """The ids (N, ...) of every search."""
    limits = {"start_id": 0, "sample_size": 6, "end_id": 2, **options}
    yield model.generate(x, **limits)
    yield model.generate(x, **limits, beam=3, n_best=2)
    yield model.search(x, **limits, beam=4, n_best=4, length_penalty=0.5).ids
    yield model.sample(x, **limits, seed=0, draws=7).ids
    yield model.sample(x, **limits, seed=0, draws=7, top_k=2).ids


def test_no_search_answers_what_is_forbidden(model, x):
    for free, found in zip(searches(model, x), searches(model, x, forbidden=FORBIDDEN), strict=True):
        assert np.isin(free, FORBIDDEN).any()
        assert not np.isin(found, FORBIDDEN).any()
    two = fastattn.Ensemble([model, fastattn.AttentionSeq2seq(V, 3, 5, seed=2)])
    for found in searches(two, x, forbidden=FORBIDDEN):
        assert not np.isin(found, FORBIDDEN).any()


def test_a_beam_of_one_gives_the_greedy_answer_and_scores_that_count_all_ids(model, x):
    limits = {"start_id": 0, "sample_size": 6, "end_id": 2, "forbidden": FORBIDDEN}
    found = model.search(x, **limits)
    np.testing.assert_array_equal(found.ids[:, 0], model.generate(x, **limits))
    for n, length in enumerate(found.lengths[:, 0]):
        t = np.concatenate(([0], found.ids[n, 0, :length]))[None]
        of_tokens = found.token_log_probabilities[n, :1, :length]
        np.testing.assert_allclose(of_tokens, model.log_probabilities(x[n : n + 1], t), rtol=1e-5)


def test_nothing_changes_where_nothing_forbidden_would_win(model, x):
    model.params[-1][FORBIDDEN] -= 30
    for free, found in zip(searches(model, x), searches(model, x, forbidden=FORBIDDEN), strict=True):
        np.testing.assert_array_equal(free, found)
    free, found = (model.search(x, 0, 6, end_id=2, beam=3, forbidden=ids) for ids in ((), FORBIDDEN))
    np.testing.assert_array_equal(free.token_log_probabilities, found.token_log_probabilities)


@pytest.mark.parametrize(
    ("forbidden", "error", "message"),
    [
        ([2], ValueError, "forbidden holds 2, the end_id; expected other ids"),
        (range(V), ValueError, "forbidden holds 2, the end_id"),
        ([V], IndexError, r"forbidden\[0\] is 9"),
        ([1, 1.5], TypeError, r"forbidden\[1\] is 1.5"),
    ],
)
def test_what_cannot_be_forbidden(forbidden, error, message, x):
    with fastattn.use_backend("reference"):
        for search in ("generate", "search"):
            with pytest.raises(error, match=message):
                getattr(fastattn.AttentionSeq2seq(V, 3, 4), search)(x, 0, 5, end_id=2, forbidden=forbidden)
        with pytest.raises(ValueError, match="forbidden holds all of the 9 ids"):
            fastattn.AttentionSeq2seq(V, 3, 4).generate(x, 0, 5, forbidden=range(V))


def test_a_text_is_never_answered_with_what_is_no_text(backend):
    source, target = Vocabulary("abc"), Vocabulary("xyz")
    model = fastattn.AttentionSeq2seq(len(source), 4, 6, target_vocabulary=len(target), seed=3)
    model.params[-1][[PADDING, START, UNKNOWN]] += 9
    model.params[-1][END] -= 9
    translator = Translator(model, source, target, reverse_source=False, max_target_tokens=5)
    texts = ["a", "abc", "cc"]
    drawn = [answer.text for answers in translator.sample(texts, seed=0, draws=5) for answer in answers]
    found = [answer.text for answers in translator.search(texts, beam=3, n_best=3) for answer in answers]
    attended = [target.decode(translator.attend(text)[1]) for text in texts]
    for text in [*translator.translate(texts), *translator.translate(texts, beam=2), *drawn, *found, *attended]:
        assert len(text) == 5
        assert set(text) <= set("xyz")
