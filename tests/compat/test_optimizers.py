"""Optimizers, clipping and tied weights, as the book's code has them."""

import numpy as np
import pytest
from compat import dlfs2_numpy as theirs

import fastattn
from fastattn.compat import dlfs2 as ours


def test_the_names_and_defaults():
    assert (ours.SGD().lr, ours.AdaGrad().lr, ours.AdaGrad().eps) == (0.01, 0.01, 1e-7)
    for make in (ours.Momentum, ours.Nesterov):
        assert (make().lr, make().momentum) == (0.01, 0.9)
    assert (ours.RMSprop().lr, ours.RMSprop().decay_rate, ours.RMSprop().eps) == (0.01, 0.99, 1e-7)
    adam = ours.Adam()
    assert (adam.lr, adam.beta1, adam.beta2, adam.eps) == (0.001, 0.9, 0.999, 1e-7)


@pytest.mark.parametrize("size", [1.0, 1e-7])
def test_adam_adds_its_eps_to_the_root_as_it_is(size, rng, backend):
    p = rng.standard_normal((3, 5))
    q = p.copy()
    adam, numpy_adam = ours.Adam(0.1), theirs.Adam(0.1)
    for _ in range(5):
        g = size * rng.standard_normal((3, 5))
        adam.update([p], [g])
        numpy_adam.update([q], [g])
    np.testing.assert_allclose(p, q, rtol=1e-12)


@pytest.mark.parametrize("max_norm", [0.3, 1e-5, 100.0])
def test_clipping(max_norm, rng, backend):
    grads = [rng.standard_normal((3, 5)), rng.standard_normal(7)]
    expected = [g.copy() for g in grads]
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    assert ours.clip_grads(grads, max_norm) == pytest.approx(norm, rel=1e-12)
    theirs.clip_grads(expected, max_norm)
    for g, e in zip(grads, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12)


def test_equal_numbers_in_two_arrays_are_two_weights():
    a, b = np.ones((3, 3)), np.ones((3, 3))
    params, grads = ours.remove_duplicate([a, b, a.copy().T], [np.ones((3, 3)) for _ in range(3)])
    assert len(params) == len(grads) == 3
    assert all((g == 1).all() for g in grads)


def test_one_array_in_two_layers_is_one_weight(rng):
    W, b = rng.standard_normal((3, 5)), np.zeros(5)
    gW, gb, gW2, gb2 = (rng.standard_normal(shape) for shape in ((3, 5), 5, (3, 5), 5))
    expected = gW + gW2
    params, grads = ours.remove_duplicate([W, b, W[:], b.copy()], [gW, gb, gW2, gb2])
    assert [p is q for p, q in zip(params, (W, b), strict=False)] == [True, True]
    assert len(params) == 3
    assert grads[0] is gW
    np.testing.assert_array_equal(gW, expected)


@pytest.mark.parametrize("view_first", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (1, 5)])
def test_an_array_and_its_transpose_are_one_weight(view_first, shape, rng):
    W = rng.standard_normal(shape)
    params, grads = [W, W.T, np.zeros(2)], [rng.standard_normal(shape), rng.standard_normal(shape[::-1]), np.ones(2)]
    total = grads[0] + grads[1].T
    if view_first:
        params[:2], grads[:2] = params[1::-1], grads[1::-1]
    params, grads = ours.remove_duplicate([*params, params[0]], [*grads, grads[0]])
    assert len(params) == 2
    assert params[0].flags.c_contiguous
    np.testing.assert_array_equal(params[0] if params[0].shape == shape else params[0].T, W)
    np.testing.assert_allclose(grads[0] if grads[0].shape == shape else grads[0].T, total)


def test_a_layer_that_stands_in_the_lists_twice_has_one_gradient():
    W, g = np.ones((2, 3)), np.ones((2, 3))
    params, grads = ours.remove_duplicate([W, W], [g, g])
    assert len(params) == 1
    assert (grads[0] == 1).all()


class Tied:
    """A language model whose output has the transpose of the embedding."""

    def __init__(self, module, V=11, D=7):
        rng = np.random.default_rng(5)
        W = 0.3 * rng.standard_normal((V, D))
        self.layers = [module.TimeEmbedding(W), module.TimeAffine(W.T, np.zeros(V))]
        self.loss = module.TimeSoftmaxWithLoss()
        self.params = [p for layer in self.layers for p in layer.params]
        self.grads = [g for layer in self.layers for g in layer.grads]

    def forward(self, x, t):
        for layer in self.layers:
            x = layer.forward(x)
        return self.loss.forward(x, t)

    def backward(self):
        dout = self.loss.backward()
        for layer in self.layers[::-1]:
            dout = layer.backward(dout)


def test_tied_weights_train_as_one(rng, backend):
    x, t = rng.integers(0, 11, (6, 4)), rng.integers(0, 11, (6, 4))
    tied, numpy_tied = Tied(ours), Tied(theirs)
    sgd = ours.SGD(0.5)
    losses = []
    for _ in range(10):
        losses.append(tied.forward(x, t))
        assert losses[-1] == pytest.approx(numpy_tied.forward(x, t), rel=1e-10)
        tied.backward()
        numpy_tied.backward()
        params, grads = ours.remove_duplicate(tied.params, tied.grads)
        assert [p.shape for p in params] == [(11, 7), (11,)]
        sgd.update(params, grads)
        dW, dWt, db = numpy_tied.grads
        numpy_tied.params[0] -= 0.5 * (dW + dWt.T)
        numpy_tied.params[2] -= 0.5 * db
    assert losses[-1] < losses[0]
    assert tied.params[1].base is tied.params[0]


def test_tied_weights_train_by_the_trainer(rng, capsys):
    x, t = rng.integers(0, 11, (6, 4)), rng.integers(0, 11, (6, 4))
    trainer = ours.Trainer(Tied(ours), ours.Adam(0.05))
    trainer.fit(x, t, max_epoch=20, batch_size=3, max_grad=5.0)
    assert trainer.loss_list[-1] < 0.8 * trainer.loss_list[0]


def test_a_transpose_that_no_longer_fits_is_refused(rng):
    layer = ours.TimeAffine(np.ones((7, 11)).T, np.zeros(7))
    layer.params[0] = np.ones((7, 12)).T
    with pytest.raises(ValueError, match=r"TimeAffine\.params\[0\] has shape \(12, 7\)"):
        layer.forward(np.ones((2, 3, 12)))


def test_the_optimizers_refuse_what_the_librarys_own_refuse():
    for make in (lambda: ours.Adam(-1), lambda: ours.Momentum(momentum=1), lambda: ours.Adam(beta1=1)):
        with pytest.raises(ValueError, match="expected a number"):
            make()
    assert issubclass(ours.Adam, fastattn.Adam)
    with pytest.raises(ValueError, match="max_norm is 0"):
        ours.clip_grads([np.ones(3)], 0)
