"""What each layer says to input that it cannot use: at the door, before any kernel."""

import numpy as np
import pytest
from helpers import CASES, SIZES

import fastattn

N, T, D, H, V = 3, 5, 7, 11, 13
f32, f64 = np.float32, np.float64


def zeros(*shape, dtype=f32):
    return np.zeros(shape, dtype)


IDS = np.zeros((N, T), int)
BAD_IDS = IDS.copy()
BAD_IDS[2, 4] = V
NEGATIVE_IDS = IDS.copy()
NEGATIVE_IDS[1, 3] = -1


def embedding():
    return fastattn.Embedding(zeros(V, D))


def lstm():
    return fastattn.LSTM(zeros(D, 4 * H), zeros(H, 4 * H), zeros(4 * H))


def affine():
    return fastattn.Affine(zeros(H, V), zeros(V))


def bilstm():
    return fastattn.BiLSTM(lstm(), lstm())


def stacked():
    return fastattn.StackedLSTM([bilstm(), fastattn.LSTM(zeros(2 * H, 4 * H), zeros(H, 4 * H), zeros(4 * H))])


# layer, what forward is given, the error, what it says
FORWARDS = [
    # rank and shape
    (embedding, (IDS[0],), ValueError, r"ids has shape \(5,\); expected \(N, T\)"),
    (lstm, (zeros(N, D),), ValueError, r"xs has shape \(3, 7\); expected \(N, T, 7\)"),
    (lstm, (zeros(N, T, D + 1),), ValueError, r"xs has shape \(3, 5, 8\); expected \(N, T, 7\)"),
    (bilstm, (zeros(N, T, D + 1),), ValueError, r"xs has shape \(3, 5, 8\); expected \(N, T, 7\)"),
    (stacked, (zeros(N, T, D + 1),), ValueError, r"xs has shape \(3, 5, 8\); expected \(N, T, 7\)"),
    (lambda: fastattn.Affine(zeros(H, V)), (zeros(N, T, V),), ValueError, r"x has shape \(3, 5, 13\)"),
    (fastattn.Tanh, (zeros(N, D),), ValueError, r"x has shape \(3, 7\); expected \(N, T, D\)"),
    (affine, (zeros(N, T, 2 * H),), ValueError, r"x has shape \(3, 5, 22\); expected \(N, T, 11\)"),
    (fastattn.SoftmaxLayer, (zeros(N, T, H),), ValueError, r"x has shape \(3, 5, 11\); expected \(N, T\)"),
    (
        fastattn.AttentionWeight,
        (zeros(N, T, H), zeros(N, H + 1)),
        ValueError,
        r"h has shape \(3, 12\); expected \(3, 11\)",
    ),
    (fastattn.WeightSum, (zeros(N, T, H), zeros(N, T + 1)), ValueError, r"a has shape \(3, 6\); expected \(3, 5\)"),
    (fastattn.AttentionLayer, (zeros(N, H), zeros(N, H)), ValueError, r"hs has shape \(3, 11\); expected \(N, T, H\)"),
    (
        fastattn.Attention,
        (zeros(N, T, H), zeros(N + 1, T, H)),
        ValueError,
        r"hs_dec has shape \(4, 5, 11\); expected \(3, T2, 11\)",
    ),
    (fastattn.Softmax, (zeros(N, T, V), IDS[:2]), ValueError, r"t has shape \(2, 5\); expected \(3, 5\)"),
    (fastattn.CEloss, (zeros(N),), ValueError, r"y has shape \(3,\); expected \(N, T\)"),
    (fastattn.SoftmaxCrossEntropy, (zeros(N, V), IDS), ValueError, r"scores has shape \(3, 13\); expected \(N, T, V\)"),
    (lambda: fastattn.Dropout(0.5), (zeros(N, D),), ValueError, r"x has shape \(3, 7\); expected \(N, T, D\)"),
    # dtype
    (embedding, (zeros(N, T),), TypeError, r"ids has dtype float32; expected an integer dtype"),
    (embedding, (zeros(N, T, dtype=bool),), TypeError, r"ids has dtype bool; expected an integer dtype"),
    (lstm, (zeros(N, T, D, dtype=f64),), TypeError, r"xs has dtype float64; expected float32"),
    (bilstm, (zeros(N, T, D, dtype=f64),), TypeError, r"xs has dtype float64; expected float32"),
    (stacked, (zeros(N, T, D, dtype=f64),), TypeError, r"xs has dtype float64; expected float32"),
    (fastattn.Tanh, (IDS[:, :, None],), TypeError, r"x has dtype int64; expected float32 or float64"),
    (affine, (zeros(N, T, H, dtype=int),), TypeError, r"x has dtype int64; expected float32"),
    (
        fastattn.SoftmaxLayer,
        (zeros(N, T, dtype=np.float16),),
        TypeError,
        r"x has dtype float16; expected float32 or float64",
    ),
    (fastattn.SoftmaxLayer, (zeros(N, T, dtype=">f4"),), TypeError, r"x has dtype >f4; expected float32 or float64"),
    (fastattn.SoftmaxLayer, (None,), TypeError, r"x has dtype object; expected float32 or float64"),
    (
        fastattn.AttentionWeight,
        (zeros(N, T, H), zeros(N, H, dtype=f64)),
        TypeError,
        r"h has dtype float64; expected float32",
    ),
    (fastattn.WeightSum, (zeros(N, T, H, dtype=f64), zeros(N, T)), TypeError, r"a has dtype float32; expected float64"),
    (
        fastattn.Attention,
        (zeros(N, T, H), zeros(N, T, H, dtype=f64)),
        TypeError,
        r"hs_dec has dtype float64; expected float32",
    ),
    (fastattn.CEloss, (IDS,), TypeError, r"y has dtype int64; expected float32 or float64"),
    (
        fastattn.SoftmaxCrossEntropy,
        (zeros(N, T, V), zeros(N, T)),
        TypeError,
        r"t has dtype float32; expected an integer",
    ),
    # token ids
    (embedding, (BAD_IDS,), IndexError, r"ids\[2, 4\] is 13; expected a token id from 0 to 12 .*size is 13"),
    (embedding, (NEGATIVE_IDS,), IndexError, r"ids\[1, 3\] is -1; expected a token id from 0 to 12"),
    (embedding, (np.full((N, T), 2**64 - 1, np.uint64),), IndexError, r"ids\[0, 0\] is 18446744073709551615"),
    (fastattn.Softmax, (zeros(N, T, V), BAD_IDS), IndexError, r"t\[2, 4\] is 13; expected a token id from 0 to 12"),
    (fastattn.SoftmaxCrossEntropy, (zeros(N, T, V), NEGATIVE_IDS), IndexError, r"t\[1, 3\] is -1"),
    # an empty batch
    (embedding, (IDS[:0],), ValueError, r"ids is empty, of shape \(0, 5\); expected \(N, T\)"),
    (embedding, ([[]],), ValueError, r"ids is empty, of shape \(1, 0\); expected \(N, T\)"),
    (lstm, (zeros(N, 0, D),), ValueError, r"xs is empty, of shape \(3, 0, 7\); expected \(N, T, 7\)"),
    (bilstm, (zeros(N, 0, D),), ValueError, r"xs is empty, of shape \(3, 0, 7\); expected \(N, T, 7\)"),
    (affine, (zeros(0, T, H),), ValueError, r"x is empty, of shape \(0, 5, 11\)"),
    (fastattn.SoftmaxLayer, (zeros(0, T),), ValueError, r"x is empty"),
    (fastattn.AttentionLayer, (zeros(0, T, H), zeros(0, H)), ValueError, r"hs is empty"),
    (fastattn.Attention, (zeros(N, T, H), zeros(N, 0, H)), ValueError, r"hs_dec is empty, of shape \(3, 0, 11\)"),
    (fastattn.CEloss, (zeros(N, 0),), ValueError, r"y is empty"),
    (fastattn.SoftmaxCrossEntropy, (zeros(N, 0, V), IDS[:, :0]), ValueError, r"scores is empty"),
]


@pytest.mark.parametrize(("make", "inputs", "error", "match"), FORWARDS)
def test_forward(backend, make, inputs, error, match):
    with pytest.raises(error, match=match):
        make().forward(*inputs)


@pytest.mark.parametrize(
    ("lengths", "error", "match"),
    [
        ([1, 2, 0], ValueError, r"lengths\[2\] is 0; expected a length from 1 to {T}"),
        ([1, -2, 1], ValueError, r"lengths\[1\] is -2; expected a length from 1 to {T}"),
        ([99, 1, 1], ValueError, r"lengths\[0\] is 99; expected a length from 1 to {T}"),
        ([1, 1], ValueError, r"lengths has shape \(2,\); expected \(3,\)"),
        ([[1], [1], [1]], ValueError, r"lengths has shape \(3, 1\); expected \(3,\)"),
        (1, ValueError, r"lengths has shape \(\); expected \(3,\)"),
        ([1.0, 1.0, 1.0], TypeError, r"lengths has dtype float64; expected an integer dtype"),
        ([True, True, True], TypeError, r"lengths has dtype bool; expected an integer dtype"),
    ],
)
@pytest.mark.parametrize(
    ("case", "axis"), [(case, axis) for case in CASES for axis in case.lengths], ids=lambda p: getattr(p, "name", p)
)
def test_lengths(backend, case, axis, lengths, error, match, rng):
    layer, inputs = case.layer(rng, SIZES[0], f32), case.draw_inputs(rng, SIZES[0], f32)
    with pytest.raises(error, match=match.replace("{T}", str(SIZES[0][axis]))):
        layer.forward(*inputs, **{case.lengths[axis]: lengths})


def bad_gradients(shape):
    """A gradient of the wrong rank, of a wrong size in each axis, and of the wrong dtype."""
    yield zeros(*shape, 1), ValueError, "has shape"
    for axis in range(len(shape)):
        longer = list(shape)
        longer[axis] += 1
        yield zeros(*longer), ValueError, "has shape"
    yield zeros(*shape, dtype=f64), TypeError, "has dtype float64; expected float32"


@pytest.mark.parametrize("case", [case for case in CASES if case.output], ids=lambda case: case.name)
def test_backward(backend, case, rng):
    layer = case.layer(rng, SIZES[0], f32)
    output = layer.forward(*case.draw_inputs(rng, SIZES[0], f32))
    for dout, error, match in bad_gradients(output.shape):
        with pytest.raises(error, match=match):
            layer.backward(dout)


@pytest.mark.parametrize("name", ["dh_last", "dc_last"])
def test_gradients_of_the_last_state(backend, name):
    layer = lstm()
    layer.forward(zeros(N, T, D))
    for given, error, match in bad_gradients((N, H)):
        with pytest.raises(error, match=f"{name} {match}"):
            layer.backward(zeros(N, T, H), **{name: given})


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: fastattn.Embedding(zeros(V)), ValueError, r"W has shape \(13,\); expected \(V, D\)"),
        (lambda: fastattn.Embedding(zeros(V, 0)), ValueError, r"W is empty, of shape \(13, 0\)"),
        (
            lambda: fastattn.Embedding(zeros(V, D, dtype=int)),
            TypeError,
            r"W has dtype int64; expected float32 or float64",
        ),
        (lambda: fastattn.Affine(zeros(H, V), zeros(V + 1)), ValueError, r"b has shape \(14,\); expected \(13,\)"),
        (
            lambda: fastattn.Affine(zeros(H, V), zeros(V, dtype=f64)),
            TypeError,
            r"b has dtype float64; expected float32",
        ),
        (
            lambda: fastattn.LSTM(zeros(D, 4 * H), zeros(H, 3 * H), zeros(4 * H)),
            ValueError,
            r"Wh has shape \(11, 33\); expected \(11, 44\)",
        ),
        (
            lambda: fastattn.LSTM(zeros(D, 4 * D), zeros(H, 4 * H), zeros(4 * H)),
            ValueError,
            r"Wx has shape \(7, 28\); expected \(D, 44\)",
        ),
        (
            lambda: fastattn.LSTM(zeros(D, 4 * H), zeros(H, 4 * H), zeros(H)),
            ValueError,
            r"b has shape \(11,\); expected \(44,\)",
        ),
        (
            lambda: fastattn.LSTM(zeros(D, 4 * H, dtype=f64), zeros(H, 4 * H), zeros(4 * H)),
            TypeError,
            r"Wx has dtype float64; expected float32",
        ),
    ],
)
def test_weights(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    "replacement",
    [zeros(H, V, dtype=f64), zeros(H + 1, V), np.asfortranarray(zeros(H, V))],
    ids=["dtype", "shape", "layout"],
)
def test_weights_replaced_in_the_list_by_unlike_ones(backend, replacement):
    layer = affine()
    layer.forward(zeros(N, T, H))
    layer.params[0] = replacement
    with pytest.raises(ValueError, match=r"Affine\.params\[0\] has shape .* change params\[0\]\[\.\.\.\] in place"):
        layer.forward(zeros(N, T, H))
    with pytest.raises(ValueError, match=r"Affine\.params\[0\]"):
        layer.backward(zeros(N, T, V))


def test_a_forward_that_fails_leaves_the_one_before_it_as_it_was(backend, rng):
    layer = lstm()
    xs = rng.standard_normal((N, T, D)).astype(f32)
    layer.params[1][...] = 0.1
    expected = layer.backward(layer.forward(xs))
    hs = layer.forward(xs)
    with pytest.raises(ValueError, match="xs has shape"):
        layer.forward(xs[:, :, :2])
    np.testing.assert_array_equal(layer.backward(hs), expected)
