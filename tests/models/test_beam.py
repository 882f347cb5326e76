"""Beam search, draws and given answers, against the whole decoder run again for each hypothesis, and all answers there are."""

import itertools

import numpy as np
import pytest
from family import FAMILY, STEADY, V_SOURCE, V_TARGET, make_model, members, moved
from fastattn_kernels import reference
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.models.beam import uniforms

N, T1, STEPS = 7, 5, 4
LENGTHS = [2, 5, 1, 4, 3, 5, 2]
START, END = 2, 1
SOME = {name: STEADY[name] for name in ("plain", "without attention", "deep", "feeding", "fed, deep", "fed, projected, tied")}


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture
def x(rng):
    return rng.integers(0, V_SOURCE, (N, T1))


def make(choices, seed=5, scale=2, **more):
    model = make_model(choices, dtype="float64", **more)
    for p in moved(model, np.random.default_rng(seed)).params:
        p *= scale
    model.params[-1][...] = 0  # so that no token is likely for all
    return model


def often(model, x):
    """A token that the model says often, for one that ends."""
    return int(np.bincount(model.sample(x, START, 6, lengths=LENGTHS, seed=3, draws=3, temperature=1.3).ids.ravel()).argmax())


class Oracle:
    """Log probabilities of tokens, by the layers, and searches in plain Python; of several models the mean."""

    def __init__(self, models, x):
        """x (T,): one sample, whole."""
        self.models, self.known = models, {}
        self.sources = []
        for model in models:
            hs_enc = model.eval().encoder.forward(x[None])
            self.sources.append((hs_enc, model.encoder.final_states))

    def next(self, ids):
        """ids, a tuple without the start symbol -> (V,)."""
        if ids not in self.known:
            p = 0
            for model, (hs_enc, states) in zip(self.models, self.sources):
                scores = model.decoder.forward(np.array([[START, *ids]]), hs_enc, states=states)[0, -1]
                p = p + np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            self.known[ids] = np.log(p / len(self.models))
        return self.known[ids]

    def total(self, ids):
        return sum(self.next(ids[:t])[token] for t, token in enumerate(ids))

    def ranked(self, answers, alpha):
        """[(score, ids)], the best first."""
        return sorted(((self.total(ids) / ((5 + len(ids)) / 6) ** alpha, ids) for ids in answers), key=lambda a: -a[0])

    def all(self, end_id, steps, alpha):
        """All answers that there are."""
        V, answers = len(self.next(())), []
        for length in range(1, steps + 1):
            for ids in itertools.product(range(V), repeat=length):
                if end_id not in ids[:-1] and (length == steps or ids[-1] == end_id):
                    answers.append(ids)
        return self.ranked(answers, alpha)

    def beam(self, beam, end_id, steps, alpha):
        """A beam search to the last step: it stops for nothing."""
        hypotheses, answers = [((), 0.0)], []
        for step in range(steps):
            successors = [((*ids, v), total + log_p) for ids, total in hypotheses for v, log_p in enumerate(self.next(ids))]
            successors = sorted(successors, key=lambda s: -s[1])[:beam]
            ended = [ids for ids, _ in successors if ids[-1] == end_id or step + 1 == steps]
            answers += ended
            hypotheses = [(ids, total) for ids, total in successors if ids not in ended]
        return self.ranked(answers, alpha)


def compare(found, n, expected, end_id):
    """The answers of sample n with the first of those expected."""
    for i, length in enumerate(found.lengths[n]):
        if i >= len(expected):
            assert (length, found.scores[n, i]) == (0, -np.inf)
            assert (found.ids[n, i] == (0 if end_id is None else end_id)).all()
            continue
        score, ids = expected[i]
        assert tuple(found.ids[n, i, :length]) == ids
        assert (found.ids[n, i, length:] == end_id).all()
        np.testing.assert_allclose(found.scores[n, i], score, rtol=1e-9)
        assert not found.token_log_probabilities[n, i, length:].any()


@pytest.mark.parametrize("end_id", [END, None])
@members(SOME)
def test_a_beam_wide_enough_finds_the_best_answers_that_there_are(choices, end_id, x):
    model = make(choices, target_vocabulary=4)
    oracles = [Oracle([model], x[n, : LENGTHS[n]]) for n in range(2)]
    for alpha in (0.0, 0.7, 3.0):
        given = {"end_id": end_id, "lengths": LENGTHS[:2], "beam": 300, "length_penalty": alpha}
        found, best = (model.search(x[:2], START, 4, n_best=n_best, **given) for n_best in (300, 2))
        for n, oracle in enumerate(oracles):
            expected = oracle.all(end_id, 4, alpha)
            compare(found, n, expected, end_id)
            compare(best, n, expected, end_id)
        assert (found.lengths > 0).sum(axis=1).tolist() == [256 if end_id is None else 1 + 3 + 9 + 27 * 4] * 2
        np.testing.assert_allclose(np.exp(found.log_probabilities).sum(axis=1), 1)


@pytest.mark.parametrize(("beam", "n_best", "alpha"), [(1, 1, 0.0), (2, 2, 1.0), (3, 1, 0.0), (3, 1, 2.5), (5, 3, 0.6)])
@members(FAMILY)
def test_a_search_that_stops_early_finds_what_one_finds_that_does_not(choices, beam, n_best, alpha, x):
    model = make(choices)
    found = model.search(x, START, STEPS, end_id=END, lengths=LENGTHS, beam=beam, n_best=n_best, length_penalty=alpha)
    assert found.ids.shape == (N, n_best, STEPS)
    for n in range(N):
        oracle = Oracle([model], x[n, : LENGTHS[n]])
        compare(found, n, oracle.beam(beam, END, STEPS, alpha)[:n_best], END)


@pytest.mark.parametrize("whole", [True, False], ids=["one kernel", "step by step"])
def test_a_search_stops_when_no_open_hypothesis_can_win(whole, x, monkeypatch):
    """The end is most likely at once: it is seen how many steps are taken, each of which chooses successors."""
    steps = []

    best_successors = reference.best_successors

    def counted(scores, *rest):
        steps.append(len(scores))
        return best_successors(scores, *rest)

    monkeypatch.setattr(reference.beam, "best_successors", counted)
    monkeypatch.setattr(reference, "best_successors", counted)
    model = make({})
    model.params[-1][END] = 30
    search = model.search if whole else fastattn.Ensemble([model, model]).search
    x = x[:1]
    search(x, START, 50, end_id=END, beam=4)
    assert steps == [1]  # the one answer is better than all that is open
    steps.clear()
    search(x, START, 50, end_id=END, beam=4, n_best=2)
    assert 1 < len(steps) < 50
    steps.clear()
    search(x, START, 50, beam=4)
    assert steps == [1] + [4] * 49  # nothing ends but by its length


@pytest.mark.parametrize("backend_name", fastattn.backend.BACKENDS)
@members(STEADY)
def test_a_beam_of_one_is_the_greedy_search(choices, backend_name, x):
    if backend_name == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(backend_name):
        model = make(choices)
        for end_id in (END, None):
            found = model.search(x, START, 9, end_id=end_id, lengths=LENGTHS)
            expected = model.generate(x, START, 9, end_id=end_id, lengths=LENGTHS)
            np.testing.assert_array_equal(found.ids[:, 0], expected)
            one = model.generate(x, START, 9, end_id=end_id, lengths=LENGTHS, n_best=1)
            np.testing.assert_array_equal(one, found.ids)


@pytest.mark.parametrize("backend_name", fastattn.backend.BACKENDS)
@members(STEADY)
def test_one_kernel_finds_what_a_search_step_by_step_finds(choices, backend_name, x):
    if backend_name == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(backend_name):
        model = make(choices)
        attends = model.config.attention is not None
        for end_id, lengths, how in (
            (END, LENGTHS, {"beam": 4, "n_best": 3, "length_penalty": 0.7}),
            (None, None, {"beam": 3, "n_best": 1}),
        ):
            given = {"end_id": end_id, "lengths": lengths, "return_attention": attends, **how}
            one = model.search(x, START, 6, **given)
            other = fastattn.Ensemble([model, model]).search(x, START, 6, **given)  # whose mean is the model
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.lengths, other.lengths)
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)
            np.testing.assert_allclose(one.token_log_probabilities, other.token_log_probabilities, rtol=1e-9, atol=1e-12)
            if attends:
                np.testing.assert_allclose(one.attention, other.attention, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("backend_name", fastattn.backend.BACKENDS)
@members(SOME)
def test_a_batch_gives_what_one_at_a_time_gives(choices, backend_name, x):
    if backend_name == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(backend_name):
        model = make(choices)
        given = {"end_id": often(model, x), "return_attention": model.config.attention is not None}
        beam = {"beam": 4, "n_best": 3, "length_penalty": 0.8}
        drawn = {"seed": 3, "draws": 3, "temperature": 1.3, "top_k": 6, "top_p": 0.9}
        searched = model.search(x, START, 6, lengths=LENGTHS, **beam, **given)
        sampled = model.sample(x, START, 6, lengths=LENGTHS, **drawn, **given)
        assert len(np.unique(sampled.lengths)) > 2  # they leave the batch one after another
        for n in range(N):
            alone = x[n : n + 1, : LENGTHS[n]]
            for whole, one in (
                (searched, model.search(alone, START, 6, **beam, **given)),
                (sampled, model.sample(alone, START, 6, samples=[n], **drawn, **given)),
            ):
                np.testing.assert_array_equal(whole.ids[n], one.ids[0])
                np.testing.assert_array_equal(whole.lengths[n], one.lengths[0])
                np.testing.assert_allclose(whole.scores[n], one.scores[0], rtol=1e-9)
                np.testing.assert_allclose(whole.token_log_probabilities[n], one.token_log_probabilities[0], rtol=1e-9)
                if given["return_attention"]:
                    T = LENGTHS[n]
                    np.testing.assert_allclose(whole.attention[n, :, :, :T], one.attention[0], rtol=1e-9, atol=1e-15)
                    assert not whole.attention[n, :, :, T:].any()


@pytest.mark.parametrize("how", ["search", "sample"])
@members(SOME)
def test_scores_and_attention_are_those_of_the_answer_given(choices, how, x):
    """An answer that was found, given to the model: the same log probabilities, the same attention."""
    model = make(choices)
    attends = model.config.attention is not None
    found = getattr(model, how)(
        x,
        START,
        6,
        end_id=often(model, x),
        lengths=LENGTHS,
        return_attention=attends,
        **({"beam": 3, "n_best": 2} if how == "search" else {"seed": 1, "draws": 2}),
    )
    for i in range(2):
        t = np.concatenate((np.full((N, 1), START), found.ids[:, i]), axis=1)
        lengths = found.lengths[:, i] + 1
        given = model.log_probabilities(x, t, source_lengths=LENGTHS, target_lengths=lengths)
        np.testing.assert_allclose(found.token_log_probabilities[:, i], given, rtol=1e-9)
        np.testing.assert_allclose(found.log_probabilities[:, i], given.sum(axis=1), rtol=1e-9)
        if attends:
            model.eval().forward(x, t, source_lengths=LENGTHS, target_lengths=lengths)
            weights = model.attention_weight.transpose(1, 0, 2)
            np.testing.assert_allclose(found.attention[:, i], weights, rtol=1e-9, atol=1e-15)
    assert len(np.unique(found.lengths)) > 1
    assert attends == (found.attention is not None)


@members(FAMILY)
def test_the_probability_of_a_given_answer(choices, x, rng):
    """Their mean is the loss, and each is that of the decoder's scores."""
    model = make(choices)
    t, lengths = rng.integers(0, model.target_vocabulary, (N, 5)), np.array([2, 5, 3, 4, 2, 5, 5])
    step = model.step
    given = model.log_probabilities(x, t, source_lengths=LENGTHS, target_lengths=lengths)
    assert (given.shape, given.dtype, model.step) == ((N, 4), np.float64, step)
    assert ((given != 0) == (np.arange(4) < lengths[:, None] - 1)).all()
    loss = model.eval().forward(x, t, source_lengths=LENGTHS, target_lengths=lengths)
    np.testing.assert_allclose(-given.sum() / (lengths - 1).sum(), loss, rtol=1e-9)
    whole = model.log_probabilities(x, t)
    np.testing.assert_allclose(-whole.mean(), model.forward(x, t), rtol=1e-9)


def test_an_improbable_answer_has_a_finite_score(x):
    model = make({})
    model.params[-1][3] = -5000
    given = fastattn.Ensemble([model, model]).log_probabilities(x, np.full((N, 2), 3))
    assert (given < -1000).all()
    assert np.isfinite(given).all()


def trio():
    """Models that differ in all but their vocabularies."""
    return [make(SOME[name], seed) for seed, name in enumerate(("plain", "feeding", "without attention"))]


def test_an_ensemble_searches_by_the_mean_of_the_probabilities(x):
    models = trio()
    ensemble = fastattn.Ensemble(models)
    found = ensemble.search(x, START, STEPS, end_id=END, lengths=LENGTHS, beam=3, n_best=2, length_penalty=0.5)
    for n in range(N):
        compare(found, n, Oracle(models, x[n, : LENGTHS[n]]).beam(3, END, STEPS, 0.5)[:2], END)
    greedy = ensemble.generate(x, START, STEPS, end_id=END, lengths=LENGTHS)
    np.testing.assert_array_equal(greedy, ensemble.search(x, START, STEPS, end_id=END, lengths=LENGTHS).ids[:, 0])
    t = np.concatenate((np.full((N, 1), START), greedy), axis=1)
    p = [np.exp(model.log_probabilities(x, t, source_lengths=LENGTHS)) for model in models]
    given = ensemble.log_probabilities(x, t, source_lengths=LENGTHS)
    np.testing.assert_allclose(given, np.log(np.mean(p, axis=0)), rtol=1e-9)


def test_an_ensemble_of_one_is_the_model(x):
    (model, *_) = trio()
    for n_best in (None, 2):
        expected = model.generate(x, START, STEPS, end_id=END, beam=2, n_best=n_best, return_attention=True)
        given = fastattn.Ensemble([model]).generate(x, START, STEPS, end_id=END, beam=2, n_best=n_best, return_attention=True)
        for a, b in zip(given, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_attention_of_an_ensemble_is_the_mean_of_those_that_attend(x):
    models = trio()
    ids, weights = fastattn.Ensemble(models).generate(x, START, 1, return_attention=True)
    t = np.concatenate((np.full((N, 1), START), ids), axis=1)
    expected = []
    for model in models[:2]:
        model.eval().forward(x, t)
        expected.append(model.attention_weight[0])
    np.testing.assert_allclose(weights[:, 0], np.mean(expected, axis=0), rtol=1e-9)


def test_an_ensemble_that_cannot_be(x):
    with pytest.raises(ValueError, match="models is empty; expected at least one AttentionSeq2seq"):
        fastattn.Ensemble([])
    with pytest.raises(TypeError, match=r"models\[1\] is str; expected an AttentionSeq2seq"):
        fastattn.Ensemble([make({}), "model"])
    with pytest.raises(ValueError, match=r"models\[1\] has vocabularies of 13 and 4 tokens; expected 13 and 9, as models\[0\]"):
        fastattn.Ensemble([make({}), make({}, target_vocabulary=4)])
    with pytest.raises(ValueError, match="the model has no attention"):
        fastattn.Ensemble([make({"attention": None})]).search(x, START, 3, return_attention=True)


def test_of_equal_hypotheses_the_lowest_ids_come_first(x):
    model = make({})
    model.named_params()["decoder.affine.W"][...] = 0
    found = model.search(x, START, 2, beam=12, n_best=12)
    expected = [[v // V_TARGET, v % V_TARGET] for v in range(12)]
    assert (found.ids == expected).all()
    model.params[-1][[3, 5]] = 50
    found = model.search(x, START, 3, end_id=5, beam=2, n_best=2)  # [3 5] and [3 3 5] are less probable
    assert (found.ids[:, 0] == [5, 5, 5]).all()
    assert (found.ids[:, 1] == [3, 5, 5]).all()


@pytest.mark.parametrize("backend_name", fastattn.backend.BACKENDS)
def test_scores_that_are_no_numbers_end_by_the_bound(backend_name, x):
    if backend_name == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(backend_name):
        model = make({})
        model.params[-1][4] = np.nan
        found = model.search(x, START, 5, end_id=END, beam=3, n_best=2)
        assert (found.scores == -np.inf).all()
        assert (found.lengths[:, 0] > 0).all()
        drawn = model.sample(x, START, 5, end_id=END, seed=0)
        assert (drawn.lengths == 5).all()
        assert (drawn.scores == -np.inf).all()


def test_draws_follow_the_probabilities():
    model, source, count = make({}), np.array([[3, 1, 4]]), 4000
    oracle = Oracle([model], source[0])
    for temperature, top_k, top_p in ((1.0, None, 1.0), (0.5, 4, 1.0), (2.0, None, 0.7)):
        found = model.sample(
            source, START, 2, seed=1, draws=count, temperature=temperature, top_k=top_k, top_p=top_p, end_id=END
        )
        p = np.exp(oracle.next(()) / temperature)
        order = np.argsort(-p)[:top_k]
        order = order[: 1 + np.searchsorted(np.cumsum(p[order]), top_p * p[order].sum())]
        expected = np.zeros(len(p))
        expected[order] = p[order] / p[order].sum()
        first = found.ids[0, :, 0]
        parts = np.bincount(first, minlength=len(p)) / count
        assert (parts[expected == 0] == 0).all()
        np.testing.assert_allclose(parts, expected, atol=4 * np.sqrt(0.25 / count))
        np.testing.assert_allclose(found.token_log_probabilities[0, :, 0], oracle.next(())[first], rtol=1e-9)


def test_draws_are_the_seeds_and_differ(x):
    model = make({})
    first, again, other = (model.sample(x, START, 6, seed=seed, draws=4).ids for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first.reshape(-1, 6), axis=0)) > N
    np.testing.assert_array_equal(model.sample(x, START, 6, seed=0, draws=2).ids, first[:, :2])
    np.testing.assert_array_equal(model.sample(x[[4, 2]], START, 6, seed=0, draws=4, samples=[4, 2]).ids, first[[4, 2]])
    np.testing.assert_array_equal(model.sample(x, START, 3, seed=0, draws=4).ids, first[:, :, :3])


def test_more_of_the_most_probable_tokens_than_there_are_is_all(x):
    all_of_them = make({}).sample(x, START, 6, seed=3).ids
    np.testing.assert_array_equal(make({}).sample(x, START, 6, seed=3, top_k=10**23).ids, all_of_them)


def test_the_first_draw_by_seed_0_is_a_random_number():
    first = uniforms(0, np.zeros(1, np.int64), np.zeros(1, np.int64), 0)[0]
    assert 0.001 < first < 0.999


def test_random_numbers_are_even_and_independent():
    samples, draws = (grid.ravel() for grid in np.mgrid[:200, :10])
    u = np.stack([uniforms(7, samples, draws, step) for step in range(5)])
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / u.size, 0.1, atol=0.012)
    assert len(np.unique(u)) == u.size
    correlations = np.corrcoef(np.concatenate((u[:, :-1], u[:, 1:]))) - np.eye(10)  # of steps, and of draws next to each other
    assert np.abs(correlations).max() < 0.1


def test_a_low_temperature_is_the_greedy_search(x):
    model = make({})
    drawn = model.sample(x, START, 6, seed=0, temperature=1e-4, end_id=END)
    np.testing.assert_array_equal(drawn.ids[:, 0], model.generate(x, START, 6, end_id=END))
    top = model.sample(x, START, 6, seed=0, top_k=1, end_id=END)
    np.testing.assert_array_equal(top.ids, drawn.ids)


@pytest.mark.parametrize("how", ["search", "sample"])
def test_between_a_forward_and_its_backward_nothing_is_disturbed(how, x, rng):
    model = make(FAMILY["fed, dropping"])
    t = rng.integers(0, V_TARGET, (N, 4))
    model.forward(x, t, source_lengths=LENGTHS)
    model.backward()
    expected = [grad.copy() for grad in model.grads]
    model.step = 0
    model.forward(x, t, source_lengths=LENGTHS)
    (model.search(x, START, 4, beam=3) if how == "search" else model.sample(x, START, 4, seed=0))
    model.log_probabilities(x[:2], t[:2])
    model.backward()
    for a, b in zip(model.grads, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_stands_at_padding_is_never_read(x):
    model = make(SOME["feeding"])
    expected = model.search(x, START, STEPS, end_id=END, lengths=LENGTHS, beam=3).ids
    x[np.arange(T1) >= np.array(LENGTHS)[:, None]] = -1
    np.testing.assert_array_equal(model.search(x, START, STEPS, end_id=END, lengths=LENGTHS, beam=3).ids, expected)


@pytest.mark.parametrize(
    ("method", "options", "error", "match"),
    [
        ("search", {"beam": 2, "n_best": 3}, ValueError, "n_best is 3; expected at most 2, the beam"),
        ("search", {"beam": 0}, ValueError, "beam is 0; expected at least 1"),
        ("search", {"beam": 2.0}, TypeError, "beam is 2.0; expected a whole number"),
        ("generate", {"n_best": 2}, ValueError, "n_best is 2; expected at most 1, the beam"),
        ("search", {"length_penalty": -1}, ValueError, "length_penalty is -1; expected a finite number of at least 0"),
        ("search", {"beam": 2**31}, ValueError, "beam is 2147483648; expected at most 2147483647"),
        ("sample", {"seed": 1, "draws": 10**23}, ValueError, "expected at most 2147483647"),
        ("search", {"length_penalty": 51}, ValueError, "length_penalty is 51; expected at most 50"),
        ("generate", {"length_penalty": 1e5}, ValueError, "length_penalty is 100000.0; expected at most 50"),
        ("generate", {"length_penalty": "1"}, TypeError, "length_penalty is '1'; expected a number"),
        ("sample", {"seed": -1}, ValueError, "seed is -1; expected a whole number from 0"),
        ("sample", {"seed": 1, "temperature": 0}, ValueError, "temperature is 0; expected a number above 0"),
        ("sample", {"seed": 1, "top_k": 0}, ValueError, "top_k is 0; expected at least 1"),
        ("sample", {"seed": 1, "top_p": 1.5}, ValueError, "top_p is 1.5; expected 0 < top_p <= 1"),
        ("sample", {"seed": 1, "draws": 0}, ValueError, "draws is 0; expected at least 1"),
        ("sample", {"seed": 1, "samples": [1, 2]}, ValueError, r"samples has shape \(2, 1\); expected \(7, 1\)"),
        ("search", {"end_id": 9}, IndexError, "end_id is 9; expected a token id from 0 to 8"),
    ],
)
def test_what_cannot_be_is_refused(method, options, error, match, x):
    with pytest.raises(error, match=match):
        getattr(make({}), method)(x, START, 3, **options)


def test_a_result_says_what_it_is(x):
    assert (
        repr(make({}).search(x, START, 3, beam=2, n_best=2))
        == "<SearchResult of 7 sources, 2 answers each, of at most 3 tokens>"
    )
