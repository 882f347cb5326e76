"""What holds for every layer, on both kernel sets."""

import numpy as np
import pytest
from helpers import (
    CASES,
    SIZES,
    WIDER_SIZES,
    check_gradients,
    outcome,
    shape_of,
    size_id,
    skip_without_compiled_kernels,
)

import fastattn

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
sizes = pytest.mark.parametrize("sizes", SIZES, ids=size_id)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
padded = pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])


def drawn(case, rng, sizes, dtype, padded):
    """A layer, and what its forward and backward are given."""
    return (
        case.layer(rng, sizes, dtype),
        case.draw_inputs(rng, sizes, dtype),
        case.draw_dout(rng, sizes, dtype),
        case.draw_lengths(rng, sizes) if padded else {},
    )


def of_tokens(axes):
    return axes.startswith("ids ")


def positions_of_padding(axes, case, lengths, sizes):
    """A mask of the shape (N, T) or (N, U) of an array with these axes: True at padding. None if it has none."""
    axes = axes.removeprefix("ids ")
    if len(axes) < 2 or case.lengths.get(axes[1]) not in lengths:
        return None
    return np.arange(sizes[axes[1]]) >= lengths[case.lengths[axes[1]]][:, None]


@padded
@sizes
@cases
def test_gradients(backend, case, sizes, padded, rng):
    layer, inputs, dout, lengths = drawn(case, rng, sizes, np.float64, padded)
    _, *gradients = outcome(layer, inputs, dout, lengths)
    arrays = [x for x in inputs if x.dtype == np.float64] + layer.params
    check_gradients(lambda: float(np.sum(dout * layer.forward(*inputs, **lengths))), arrays, gradients, rng)


@padded
@dtypes
@sizes
@cases
def test_shapes_and_dtypes(backend, case, sizes, dtype, padded, rng):
    layer, inputs, dout, lengths = drawn(case, rng, sizes, dtype, padded)
    output, *gradients = outcome(layer, inputs, dout, lengths)
    if case.output:
        assert output.shape == shape_of(case.output, sizes)
        assert output.dtype == dtype
    else:
        assert type(output) is float
    arrays = [x for x in inputs if x.dtype == dtype] + layer.params
    assert [g.shape for g in gradients] == [x.shape for x in arrays]
    assert all(g.dtype == dtype for g in gradients)


@padded
@dtypes
@pytest.mark.parametrize("sizes", WIDER_SIZES, ids=size_id)
@cases
def test_both_kernel_sets_agree(case, sizes, dtype, padded, rng):
    skip_without_compiled_kernels()
    layer, inputs, dout, lengths = drawn(case, rng, sizes, dtype, padded)
    with fastattn.use_backend("reference"):
        expected = outcome(layer, inputs, dout, lengths)
    with fastattn.use_backend("compiled"):
        given = outcome(layer, inputs, dout, lengths)
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + np.abs(b).max()))


@dtypes
@cases
def test_what_stands_at_padding_is_never_read(backend, case, dtype, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], dtype, padded=True)
    expected = outcome(layer, inputs, dout, lengths)
    for x, axes in zip([*inputs, dout], [*case.inputs, case.output], strict=True):
        padding = positions_of_padding(axes, case, lengths, SIZES[0])
        if padding is not None:
            assert padding.any()
            x[padding] = -(10**9) if of_tokens(axes) else np.nan
    for a, b in zip(outcome(layer, inputs, dout, lengths), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@dtypes
@cases
def test_more_padding_changes_no_bit(backend, case, dtype, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], dtype, padded=True)
    expected = outcome(layer, inputs, dout, lengths)

    def longer(x, axes):
        return np.pad(x, [(0, 2 if axis in case.lengths else 0) for axis in axes.removeprefix("ids ")])

    inputs = [longer(x, axes) for x, axes in zip(inputs, case.inputs, strict=True)]
    given = outcome(layer, inputs, longer(dout, case.output) if case.output else dout, lengths)
    for a, b in zip(given, expected, strict=True):
        real = a if np.isscalar(a) else a[tuple(map(slice, b.shape))]
        if backend == "compiled":
            np.testing.assert_array_equal(real, b)
        else:  # a BLAS may add up in another order when an array is longer, and what cancels in a sum is as large as its terms
            np.testing.assert_allclose(real, b, rtol=1e-5, atol=1e-6 * max(1, np.abs(b).max()))


@cases
def test_outputs_and_gradients_are_zero_at_padding(backend, case, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded=True)
    results = outcome(layer, inputs, dout, lengths)
    for result, axes in zip(results, [case.output, *(a for a in case.inputs if not of_tokens(a))], strict=False):
        padding = positions_of_padding(axes, case, lengths, SIZES[0])
        if padding is not None:
            assert not result[padding].any()


@dtypes
@cases
def test_full_lengths_are_as_good_as_none(backend, case, dtype, rng):
    layer, inputs, dout, _ = drawn(case, rng, SIZES[0], dtype, padded=False)
    full = {keyword: [SIZES[0][axis]] * SIZES[0]["N"] for axis, keyword in case.lengths.items()}
    for a, b in zip(outcome(layer, inputs, dout, full), outcome(layer, inputs, dout, {}), strict=True):
        np.testing.assert_array_equal(a, b)


@padded
@cases
def test_backward_may_be_called_again(backend, case, padded, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded)
    _, *first = outcome(layer, inputs, dout, lengths)
    if "LSTM" in case.name:  # works in the memory of what forward kept
        with pytest.raises(RuntimeError, match=r"LSTM\.backward was called a second time; expected a \w*LSTM\.forward before"):
            layer.backward(dout)
        return
    returned = layer.backward(dout)
    again = [] if returned is None else list(returned) if isinstance(returned, tuple) else [returned]
    for a, b in zip([*again, *layer.grads], first, strict=True):
        np.testing.assert_array_equal(a, b)


@padded
@cases
def test_what_a_caller_holds_stays_valid(backend, case, padded, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded)
    held = outcome(layer, inputs, dout, lengths)
    copies = [np.copy(a) for a in held]
    inputs_before = [x.copy() for x in inputs]
    params_before = [p.copy() for p in layer.params]
    for _ in range(2):
        outcome(layer, case.draw_inputs(rng, SIZES[0], np.float32), dout, lengths)
    for a, b in zip([*held, *inputs, *layer.params], [*copies, *inputs_before, *params_before], strict=True):
        np.testing.assert_array_equal(a, b)


@cases
def test_a_forward_owes_nothing_to_the_one_before(backend, case, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded=True)
    expected = outcome(layer, inputs, dout, lengths)
    other = {**SIZES[0], "N": 4, "T": 9, "U": 2}
    outcome(layer, case.draw_inputs(rng, other, np.float32), case.draw_dout(rng, other, np.float32), {})
    for a, b in zip(outcome(layer, inputs, dout, lengths), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@cases
def test_any_memory_layout_will_do(backend, case, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded=True)
    expected = outcome(layer, inputs, dout, lengths)

    def read_only(x):
        x = x.copy()
        x.flags.writeable = False
        return x

    for change in (np.asfortranarray, read_only, lambda x: np.repeat(x, 2, axis=0)[::2]):
        changed = [change(x) for x in inputs]
        changed_dout = change(dout) if case.output else dout
        for a, b in zip(outcome(layer, changed, changed_dout, lengths), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint64], ids=lambda dtype: dtype.__name__)
@cases
def test_any_integer_dtype_will_do_for_ids_and_lengths(backend, case, dtype, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded=True)
    expected = outcome(layer, inputs, dout, lengths)
    inputs = [x.astype(dtype) if of_tokens(axes) else x for x, axes in zip(inputs, case.inputs, strict=True)]
    lengths = {keyword: given.astype(dtype) for keyword, given in lengths.items()}
    for a, b in zip(outcome(layer, inputs, dout, lengths), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@cases
def test_weights_changed_in_place_count_at_once(backend, case, rng):
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded=True)
    outcome(layer, inputs, dout, lengths)
    held = list(layer.grads)
    for p in layer.params:
        p *= -0.5
    fresh = case.layer(np.random.default_rng(), SIZES[0], np.float32)
    for p, q in zip(fresh.params, layer.params, strict=True):
        p[...] = q
    expected = outcome(fresh, inputs, dout, lengths)
    for a, b in zip(outcome(layer, inputs, dout, lengths), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(a is b for a, b in zip(layer.grads, held, strict=True))


@cases
def test_a_backward_uses_the_kernel_set_of_its_forward(case, rng):
    skip_without_compiled_kernels()
    layer, inputs, dout, lengths = drawn(case, rng, SIZES[0], np.float32, padded=True)
    with fastattn.use_backend("compiled"):
        _, *expected = outcome(layer, inputs, dout, lengths)
        layer.forward(*inputs, **lengths)
    with fastattn.use_backend("reference"):
        returned = layer.backward(dout)
    given = [] if returned is None else list(returned) if isinstance(returned, tuple) else [returned]
    for a, b in zip([*given, *layer.grads], expected, strict=True):
        np.testing.assert_array_equal(a, b)


@cases
def test_backward_before_forward(case, rng):
    layer = case.layer(rng, SIZES[0], np.float32)
    name = type(layer).__name__
    with pytest.raises(RuntimeError, match=rf"{name}\.backward was called before {name}\.forward"):
        layer.backward(case.draw_dout(rng, SIZES[0], np.float32))
