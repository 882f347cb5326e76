"""Each optimizer against its formula, written out one number at a time, and against PyTorch's."""

import math

import numpy as np
import pytest

from fastattn.training import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop, clip_grads

SHAPES = [(3, 5), (7,), (2, 4, 3)]
STEPS = 4


# One number through the steps: p, its gradients -> p after the last.


def sgd(p, gs):
    for g in gs:
        p -= 0.1 * g
    return p


def momentum(p, gs):
    v = 0.0
    for g in gs:
        v = 0.8 * v - 0.1 * g
        p += v
    return p


def nesterov(p, gs):
    v = 0.0
    for g in gs:
        p += 0.8 * 0.8 * v - (1 + 0.8) * 0.1 * g  # equation 7, by the velocity before the step
        v = 0.8 * v - 0.1 * g
    return p


def adagrad(p, gs):
    s = 0.0
    for g in gs:
        s += g * g
        p -= 0.1 * g / (math.sqrt(s) + 1e-7)
    return p


def rmsprop(p, gs):
    s = 0.0
    for g in gs:
        s = 0.9 * s + 0.1 * g * g
        p -= 0.1 * g / (math.sqrt(s) + 1e-7)
    return p


def adam(p, gs, weight_decay=0.0):
    m = v = 0.0
    for k, g in enumerate(gs, start=1):
        p -= 0.1 * weight_decay * p
        m = 0.7 * m + 0.3 * g
        v = 0.95 * v + 0.05 * g * g
        p -= 0.1 * (m / (1 - 0.7**k)) / (math.sqrt(v / (1 - 0.95**k)) + 1e-8)
    return p


def adam_eps_hat(p, gs):
    m = v = 0.0
    for k, g in enumerate(gs, start=1):
        m = 0.7 * m + 0.3 * g
        v = 0.95 * v + 0.05 * g * g
        p -= 0.1 * math.sqrt(1 - 0.95**k) / (1 - 0.7**k) * m / (math.sqrt(v) + 0.1)
    return p


def adamw(p, gs):
    return adam(p, gs, weight_decay=0.3)


CASES = [
    (lambda: SGD(0.1), sgd),
    (lambda: Momentum(0.1, 0.8), momentum),
    (lambda: Nesterov(0.1, 0.8), nesterov),
    (lambda: AdaGrad(0.1), adagrad),
    (lambda: RMSprop(0.1, 0.9), rmsprop),
    (lambda: Adam(0.1, 0.7, 0.95), adam),
    (lambda: Adam(0.1, 0.7, 0.95, 0.1, eps_hat=True), adam_eps_hat),
    (lambda: AdamW(0.1, 0.7, 0.95, weight_decay=0.3), adamw),
]
cases = pytest.mark.parametrize(("make", "formula"), CASES, ids=[formula.__name__ for _, formula in CASES])


def draw(rng, dtype="float64"):
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


@cases
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_each_optimizer_does_what_its_formula_says(make, formula, dtype, tolerance, rng, backend):
    params, steps = draw(rng, dtype), [draw(rng, dtype) for _ in range(STEPS)]
    expected = [
        np.vectorize(lambda p, *gs: formula(p, gs))(p.astype("float64"), *(g.astype("float64") for g in gs))
        for p, *gs in zip(params, *steps, strict=True)
    ]
    held = list(params)
    optimizer = make()
    for grads in steps:
        before = [g.copy() for g in grads]
        optimizer.update(params, grads)
        assert all((g == b).all() for g, b in zip(grads, before, strict=True))
    for p, same, e in zip(params, held, expected, strict=True):
        assert p is same
        assert p.dtype == dtype
        np.testing.assert_allclose(p, e, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [
        (lambda: SGD(0.1), "SGD", {}),
        (lambda: Momentum(0.1, 0.8), "SGD", {"momentum": 0.8}),
        (lambda: Nesterov(0.1, 0.8), "SGD", {"momentum": 0.8, "nesterov": True}),
        (lambda: AdaGrad(0.1), "Adagrad", {"eps": 1e-7}),
        (lambda: RMSprop(0.1, 0.9), "RMSprop", {"alpha": 0.9, "eps": 1e-7}),
        (lambda: Adam(0.1), "Adam", {}),
        (lambda: AdamW(0.1), "AdamW", {}),
    ],
    ids=["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam", "AdamW"],
)
def test_each_optimizer_does_what_pytorch_does(make, name, options, rng, backend):
    torch = pytest.importorskip("torch")
    params, steps = draw(rng), [draw(rng) for _ in range(STEPS)]
    theirs = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
    their_optimizer = getattr(torch.optim, name)(theirs, lr=0.1, **options)
    optimizer = make()
    for grads in steps:
        optimizer.update(params, grads)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.from_numpy(g)
        their_optimizer.step()
    for p, q in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p, q.detach().numpy(), rtol=1e-10, atol=1e-12)


@cases
def test_a_changed_learning_rate_counts_from_the_next_update(make, formula, rng):
    params = draw(rng)
    optimizer = make()
    optimizer.update(params, draw(rng))
    before = [p.copy() for p in params]
    optimizer.lr = 0.0
    optimizer.update(params, [np.zeros(shape) for shape in SHAPES])
    if formula not in (momentum, nesterov):  # the velocity runs on
        assert all((p == b).all() for p, b in zip(params, before, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(-0.1),
        lambda: SGD(float("nan")),
        lambda: Adam(float("inf")),
        lambda: SGD("0.1"),
        lambda: SGD(True),
        lambda: Momentum(0.1, 1.0),
        lambda: Momentum(0.1, -0.1),
        lambda: AdaGrad(eps=0),
        lambda: RMSprop(decay_rate=1.0),
        lambda: RMSprop(eps=-1e-8),
        lambda: Adam(beta1=1.0),
        lambda: Adam(beta2=1.5),
        lambda: Adam(eps=0.0),
        lambda: AdamW(weight_decay=-0.01),
    ],
)
def test_bad_hyperparameters_are_refused(make):
    with pytest.raises(ValueError, match=r"is .*; expected a number "):
        make()


def test_lists_that_do_not_belong_together_are_refused(rng):
    params = draw(rng)
    before = [p.copy() for p in params]
    for grads in (params[:2], [*params[:2], params[2].ravel()], [p.astype("float32") for p in params]):
        with pytest.raises(ValueError, match="expected the shapes and dtype of the params"):
            SGD().update(params, grads)
    with pytest.raises(TypeError, match=r"params\[1\] is of float32"):
        SGD().update([params[0], params[1].astype("float32")], params[:2])
    with pytest.raises(TypeError, match=r"grads\[0\] is of int64"):
        SGD().update(params[:1], [np.ones((3, 5), "int64")])
    with pytest.raises(TypeError, match=r"params\[0\] is a list"):
        SGD().update([[1.0]], [np.ones(1)])
    with pytest.raises(ValueError, match="not C-contiguous"):
        SGD().update([np.ones((3, 5)).T], [np.ones((5, 3))])
    assert all((p == b).all() for p, b in zip(params, before, strict=True))


@cases
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_an_update_with_a_norm_is_clipping_and_an_update(make, formula, dtype, max_norm, rng, backend):
    params = draw(rng, dtype)
    clipped_params = [p.copy() for p in params]
    optimizer, after_clipping = make(), make()
    for _ in range(STEPS):
        grads = draw(rng, dtype)
        clipped = [g.copy() for g in grads]
        before = [g.copy() for g in grads]
        norm = optimizer.update(params, grads, max_norm=max_norm)
        assert norm == clip_grads(clipped, max_norm)
        assert after_clipping.update(clipped_params, clipped) is None
        assert all((g == b).all() for g, b in zip(grads, before, strict=True))
    assert all((p == q).all() for p, q in zip(params, clipped_params, strict=True))


@cases
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_step_is_made_by_gradients_whose_norm_is_no_number(make, formula, bad, rng, backend):
    params, grads = draw(rng), draw(rng)
    grads[1].flat[2] = bad
    before = [p.copy() for p in params]
    optimizer = make()
    assert optimizer.update(params, grads, max_norm=1.0) == pytest.approx(bad, nan_ok=True)
    assert all((p == b).all() for p, b in zip(params, before, strict=True))
    good, twin = draw(rng), make()
    optimizer.update(params, good, max_norm=1.0)  # what the optimizer remembers is as if that had not been
    twin.update(before, good, max_norm=1.0)
    assert all((p == b).all() for p, b in zip(params, before, strict=True))


@pytest.mark.parametrize("max_norm", [0, -1.0, math.nan, math.inf, "1"])
def test_an_update_refuses_what_is_no_norm(max_norm, rng):
    params = draw(rng)
    before = [p.copy() for p in params]
    with pytest.raises(ValueError, match=r"max_norm is .*; expected a number more than 0"):
        SGD().update(params, draw(rng), max_norm=max_norm)
    assert all((p == b).all() for p, b in zip(params, before, strict=True))


def test_an_update_of_nothing_has_a_norm_of_zero(backend):
    assert SGD().update([], [], max_norm=1.0) == 0


@cases
def test_the_list_of_parameters_must_stay_the_same(make, formula, rng):
    optimizer = make()
    optimizer.update(draw(rng), draw(rng))
    if formula is sgd:  # which remembers nothing
        optimizer.update([np.ones(1)], [np.ones(1)])
        return
    with pytest.raises(ValueError, match="expected those of the first update"):
        optimizer.update(draw(rng)[:2], draw(rng)[:2])
    with pytest.raises(ValueError, match="expected those of the first update"):
        optimizer.update(draw(rng, "float32"), draw(rng, "float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_grads_scales_down_to_the_norm(dtype, rng, backend):
    grads = draw(rng, dtype)
    before = [g.copy() for g in grads]
    norm = math.sqrt(sum(float((g.astype("float64") ** 2).sum()) for g in grads))
    assert clip_grads(grads, norm * 1.5) == pytest.approx(norm, rel=1e-6)
    assert all((g == b).all() for g, b in zip(grads, before, strict=True))
    assert clip_grads(grads, norm / 3) == pytest.approx(norm, rel=1e-6)
    for g, b in zip(grads, before, strict=True):
        np.testing.assert_allclose(g, b / 3, rtol=1e-6)
    assert clip_grads(grads, 1e-12) == pytest.approx(norm / 3, rel=1e-6)
    assert clip_grads(grads, 1.0) == pytest.approx(1e-12, rel=1e-6)


def test_clip_grads_divides_by_more_than_the_norm_when_told_to(backend):
    grads = [np.array([3.0, 4.0])]
    assert clip_grads(grads, 2.0, eps=3.0) == 5
    np.testing.assert_allclose(grads[0], [0.75, 1.0])
    clip_grads(grads, 1.5, eps=0.5)  # the norm alone is less
    np.testing.assert_allclose(grads[0], [0.75 * 1.5 / 1.75, 1.5 / 1.75])
    with pytest.raises(ValueError, match="eps is -1"):
        clip_grads(grads, 1.0, eps=-1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clip_grads_returns_a_norm_that_is_no_number_and_touches_nothing(bad, backend):
    grads = [np.array([1.0, 2.0]), np.array([bad, 3.0])]
    norm = clip_grads(grads, 0.5)
    assert not math.isfinite(norm)
    assert grads[0].tolist() == [1.0, 2.0]
    assert grads[1][1] == 3.0


@pytest.mark.parametrize("max_norm", [0, -1.0, math.nan, math.inf, None])
def test_clip_grads_refuses_a_norm_that_cannot_be(max_norm):
    with pytest.raises(ValueError, match="max_norm is "):
        clip_grads([np.ones(3)], max_norm)


@cases
def test_a_layer_without_weights_is_left_in_peace(make, formula, backend):
    make().update([], [])
    assert clip_grads([], 1.0) == 0


def test_nothing_to_clip_has_norm_zero(backend):
    grads = [np.zeros((2, 3))]
    assert clip_grads(grads, 1.0) == 0
    assert not grads[0].any()
