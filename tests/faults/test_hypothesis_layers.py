"""Every layer with sizes, lengths, dtypes, ids and layouts of memory that Hypothesis chooses.

What fits gives finite numbers of the right shapes, the same whatever stands at padding and however the arrays lie, and the same
on both sets of kernels; what does not fit is a TypeError, a ValueError or an IndexError, and leaves the layer as it was. The
search is the same at every run; `--slow` makes it deeper.
"""

import numpy as np
import pytest
from helpers import CASES, outcome, shape_of, skip_without_compiled_kernels

import fastattn

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

QUICK = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)
DEEP = settings(QUICK, max_examples=400)
DEPTHS = pytest.mark.parametrize("how", [QUICK, pytest.param(DEEP, marks=pytest.mark.slow)], ids=["quick", "deep"])
LAYERS = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
DTYPES = (np.float32, np.float64)


@st.composite
def all_sizes(draw):
    """Mostly small; all that can be 1 is 1 at times, and some are beyond a vector of the compiled kernels."""
    size = st.one_of(st.integers(1, 5), st.just(1), st.integers(1, 19))
    sizes = {letter: draw(size) for letter in "NTUDHKVEA"}
    return {**sizes, "G": 2 * sizes["H"], "X": sizes["E"] + sizes["H"]}


def lengths_of(draw, case, sizes):
    """Some are None: no padding."""
    drawn = {
        keyword: draw(st.one_of(st.none(), st.lists(st.integers(1, sizes[axis]), min_size=sizes["N"], max_size=sizes["N"])))
        for axis, keyword in case.lengths.items()
    }
    return {keyword: None if lengths is None else np.array(lengths) for keyword, lengths in drawn.items()}


def laid_out(array, layout):
    """The same numbers in another place or order of memory, or of another kind."""
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed":
        return array[::-1].copy()[::-1]
    if layout == "unaligned":
        raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
        moved = raw.view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
        return array
    if layout == "small" and array.dtype.kind == "i":
        return array.astype(np.int16)
    return array


LAYOUTS = ("as it is", "fortran", "strided", "reversed", "unaligned", "read-only", "small")


def with_padding(case, inputs, axes_of, sizes, lengths):
    """Copies of the inputs with NaN, or no token, wherever there is padding."""
    spoilt = []
    for array, axes in zip(inputs, axes_of, strict=True):
        array = array.copy()
        for axis, keyword in case.lengths.items():
            if lengths[keyword] is None or axis not in axes:
                continue
            padding = np.arange(sizes[axis]) >= lengths[keyword][:, None]
            assert axes.startswith("N" + axis)
            array[padding] = np.nan if array.dtype.kind == "f" else -1
        spoilt.append(array)
    return spoilt


@LAYERS
@DEPTHS
def test_what_fits_is_computed(case, how, backend):
    @how
    @given(st.data())
    def check(data):
        draw, sizes = data.draw, data.draw(all_sizes())
        dtype = draw(st.sampled_from(DTYPES)) if backend == "reference" else np.float32
        seed = draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)
        layer = case.layer(rng, sizes, dtype)
        inputs, dout = case.draw_inputs(rng, sizes, dtype), case.draw_dout(rng, sizes, dtype)
        lengths = lengths_of(draw, case, sizes)
        first = [np.copy(part) for part in outcome(layer, inputs, dout, lengths)]
        axes_of = [axes.removeprefix("ids ") for axes in case.inputs]
        assert np.shape(first[0]) == shape_of(case.output, sizes)
        floats = [array.shape for array in inputs if array.dtype.kind == "f"]
        gradients = [part.shape for part in first[1:]]
        assert gradients == [*floats, *(grad.shape for grad in layer.grads)]
        for part in first:
            assert np.isfinite(part).all()
        spoilt = with_padding(case, inputs, axes_of, sizes, lengths)
        layouts = [draw(st.sampled_from(LAYOUTS)) for _ in inputs]
        moved = [laid_out(array, layout) for array, layout in zip(spoilt, layouts, strict=True)]
        for part, again in zip(first, outcome(layer, moved, dout, lengths), strict=True):
            np.testing.assert_array_equal(again, part)

    check()


@LAYERS
@DEPTHS
def test_both_sets_give_the_same(case, how):
    skip_without_compiled_kernels()

    @how
    @given(st.data())
    def check(data):
        sizes, seed = data.draw(all_sizes()), data.draw(st.integers(0, 2**32 - 1))
        lengths = lengths_of(data.draw, case, sizes)
        found = []
        for name in ("reference", "compiled"):
            rng = np.random.default_rng(seed)
            layer = case.layer(rng, sizes, np.float64)
            inputs, dout = case.draw_inputs(rng, sizes, np.float64), case.draw_dout(rng, sizes, np.float64)
            with fastattn.use_backend(name):
                found.append([np.copy(part) for part in outcome(layer, inputs, dout, lengths)])
        for part, other in zip(*found, strict=True):
            np.testing.assert_allclose(other, part, rtol=1e-7, atol=1e-7 * (1 + abs(part).max()))

    check()


def changed(draw, array):
    """What the layer cannot be given in the place of an array, and how it was made."""
    ways = ["no array", "another number of axes", "empty"]
    ways += ["a wider last axis", "a dtype"] if array.dtype.kind == "f" else ["a fraction", "a large id", "a negative id"]
    way = draw(st.sampled_from(ways))
    array = array.copy()
    if way == "no array":
        return draw(st.sampled_from([None, "text", {}, [[1, 2], [3]], object()])), way
    if way == "another number of axes":
        return array[draw(st.sampled_from([0, None]))], way
    if way == "empty":
        return array[:0], way
    if way == "a wider last axis":
        return np.concatenate((array, array[..., :1]), axis=-1), way
    if way == "a dtype":
        return array.astype(draw(st.sampled_from(["f2", "i8", "c16", "O", "U3"]))), way
    if way == "a fraction":
        return array + 0.5, way
    array.flat[draw(st.integers(0, array.size - 1))] = (
        -(2**40) if way == "a negative id" else draw(st.sampled_from([10**6, 2**62]))
    )
    return array, way


def bad_lengths(draw, N, T):
    good = [1] * N
    return draw(
        st.sampled_from(
            [[0] * N, [T + 1] * N, [-1] * N, [2**62] * N, [*good, 1], [good], [1.0] * N, ["1"] * N, "1", 1, [None] * N, []]
        )
    )


@LAYERS
@DEPTHS
def test_what_does_not_fit_is_refused(case, how, backend):
    @how
    @given(st.data())
    def check(data):
        draw, sizes = data.draw, {**data.draw(all_sizes()), "T": 3, "U": 3}  # a vector must not fit by being as wide as another
        rng = np.random.default_rng(0)
        layer = case.layer(rng, sizes, np.float32)
        inputs, dout = case.draw_inputs(rng, sizes, np.float32), case.draw_dout(rng, sizes, np.float32)
        lengths = lengths_of(draw, case, sizes)
        expected = [np.copy(part) for part in outcome(layer, inputs, dout, lengths)]
        place = draw(st.integers(0, len(inputs) - 1 + len(lengths)))
        given_inputs, given_lengths, may_fit = list(inputs), dict(lengths), False
        if place < len(inputs):
            given_inputs[place], way = changed(draw, inputs[place])
            # Ids at padding may be any; a width that the layer does not know is that of what it is given.
            may_fit = way in ("a large id", "a negative id", "a wider last axis", "a dtype")
        else:
            axis, keyword = list(case.lengths.items())[place - len(inputs)]
            given_lengths[keyword] = bad_lengths(draw, sizes["N"], sizes[axis])
        try:
            layer.forward(*given_inputs, **given_lengths)
        except (TypeError, ValueError, IndexError):
            pass
        else:
            assert may_fit
        if np.ndim(dout):
            layer.forward(*inputs, **lengths)
            wrong = draw(st.sampled_from([dout[..., :0], dout[None], dout.astype("f8"), dout.astype("i8"), None, "text"]))
            with pytest.raises((TypeError, ValueError)):
                layer.backward(wrong)
        for part, again in zip(expected, outcome(layer, inputs, dout, lengths), strict=True):
            np.testing.assert_array_equal(again, part)

    check()
