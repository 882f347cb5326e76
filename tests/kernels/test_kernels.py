"""Both kernel sets: the same functions, the same results, the same bits for any number of threads, padding that is inert."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from fastattn_kernels import compiled, reference
from fastattn_kernels.compiled import affine
from fastattn_kernels.compiled.engine import jit
from kernels.cases import CASES, SIZES, Draw, lengths_for
from numba.core.runtime import _nrt_python, rtsys

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def _threads_as_before():
    yield
    compiled.set_num_threads(2)


def results(kernels, name, dtype, sizes, padded):
    N, T = sizes[:2]
    return CASES[name][0](kernels, Draw(dtype), *sizes, lengths_for(N, T, padded))


def test_both_sets_have_the_same_functions_in_the_same_files():
    assert compiled.__all__ == reference.__all__
    for name in reference.__all__:
        ours, oracle = getattr(compiled, name), getattr(reference, name)
        assert inspect.signature(ours) == inspect.signature(oracle), name
        assert Path(inspect.getfile(inspect.unwrap(ours))).name == Path(inspect.getfile(inspect.unwrap(oracle))).name, name


def test_every_public_function_of_a_kernel_file_is_exported():
    for file in Path(reference.__file__).parent.glob("*.py"):
        if file.stem in ("__init__", "padding"):
            continue
        module = getattr(reference, file.stem, None) or __import__(f"fastattn_kernels.reference.{file.stem}", fromlist=["_"])
        module = module if inspect.ismodule(module) else inspect.getmodule(module)
        defined = {n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
        assert {n for n in defined if not n.startswith("_") and n != "sigmoid"} <= set(reference.__all__)


def test_every_kernel_has_an_oracle_comparison():
    compared = {kernel for _, kernels in CASES.values() for kernel in kernels}
    assert compared == set(reference.__all__) - {"seq2seq_as_one"}  # which chooses between kernels, and is none


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_compiled_agrees_with_the_reference(name, dtype, sizes, padded):
    expected = results(reference, name, dtype, sizes, padded)
    given = results(compiled, name, dtype, sizes, padded)
    assert len(given) == len(expected)
    for ours, oracle in zip(given, expected):
        assert ours.shape == oracle.shape
        assert ours.dtype == oracle.dtype
        assert np.all(np.isfinite(oracle))
        scale = max(np.abs(oracle).max(), 1e-3)
        np.testing.assert_allclose(ours, oracle, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_large_affine_map_gives_the_same_bits(sizes, padded, dtype, monkeypatch):
    """Its backward transposes x first; with rows for one block, each gradient is still the same sum in the same order."""
    N, T = sizes[:2]
    expected = CASES["affine"][0](compiled, Draw(dtype), *sizes, lengths_for(N, T, padded))
    monkeypatch.setattr(affine, "_LARGE", 0)
    for threads in (1, 3):
        compiled.set_num_threads(threads)
        monkeypatch.setattr(jit, "SERIAL_BELOW", 0)
        given = CASES["affine"][0](compiled, Draw(dtype), *sizes, lengths_for(N, T, padded))
        for one, other in zip(expected, given):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("sizes", [(13, 4, 5, 67, 131), (2, 19, 16, 64, 64)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_threads_gives_the_same_bits(name, sizes, padded, monkeypatch):
    monkeypatch.setattr(jit, "SERIAL_BELOW", 0)  # divide even work as small as this
    sets = []
    for threads in (1, 2, 3, 5):
        compiled.set_num_threads(threads)
        sets.append(results(compiled, name, "float32", sizes, padded))
    for other in sets[1:]:
        for one, many in zip(sets[0], other):
            np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("K", "V"), [(1, 1), (1, 64), (2, 5), (37, 64), (37, 71), (700, 130), (37, 16), (600, 1000)])
def test_a_row_alone_has_the_bits_that_it_has_among_others(dtype, K, V, rng):
    # Few rows read the matrix where it stands, and more rows a packed copy of it.
    x, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((40, 1, K), (K, V), (V,)))
    together = compiled.affine_forward(x, W, b, None)
    for count in (1, 3):
        apart = [compiled.affine_forward(np.ascontiguousarray(x[n : n + count]), W, b, None) for n in range(0, 39, count)]
        np.testing.assert_array_equal(np.concatenate(apart), together[:39])


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_lets_go_of_all_arrays_that_it_makes(name):
    """A function that counts no references keeps an array for good if what it calls gives it one."""
    results(compiled, name, "float32", (13, 4, 5, 67, 131), True)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    results(compiled, name, "float32", (13, 4, 5, 67, 131), True)
    after = rtsys.get_allocation_stats()
    assert after.alloc - before.alloc == after.free - before.free


CHOOSING = ("best_successors", "draw_tokens", "mean_log_probability")
WITHOUT_PADDING = ("activation", "dropout", "norm", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", *CHOOSING)
PADDED_INPUTS = [name for name in CASES if name not in WITHOUT_PADDING]


class Wider(Draw):
    """Draws what Draw draws for (N, T), into a longer padding full of NaN, so that only the real steps are the same."""

    def __init__(self, dtype, N, T, extra):
        super().__init__(dtype)
        self.N, self.T, self.extra = N, T, extra

    def _widen(self, values, filler):
        shape = (values.shape[0], values.shape[1] + self.extra, *values.shape[2:])
        wide = np.full(shape, filler, values.dtype)
        wide[:, : values.shape[1]] = values
        return wide

    def __call__(self, *shape):
        if len(shape) >= 2 and shape[0] == self.N and shape[1] in (self.T + self.extra, self.T + self.extra + 2):
            return self._widen(super().__call__(shape[0], shape[1] - self.extra, *shape[2:]), np.nan)
        return super().__call__(*shape)

    def ids(self, V, *shape):
        return self._widen(super().ids(V, shape[0], shape[1] - self.extra), V - 1)


@pytest.mark.parametrize("set_name", ["compiled", "reference"])
@pytest.mark.parametrize("name", PADDED_INPUTS)
def test_padding_is_inert_whatever_stands_there(name, set_name):
    kernels = {"compiled": compiled, "reference": reference}[set_name]
    N, T, D, H, V, extra = 6, 23, 9, 19, 29, 4
    lengths = lengths_for(N, T, True)
    narrow = CASES[name][0](kernels, Draw("float32"), N, T, D, H, V, lengths)
    wide = CASES[name][0](kernels, Wider("float32", N, T, extra), N, T + extra, D, H, V, lengths)
    for a, b in zip(narrow, wide):
        assert np.all(np.isfinite(b))
        if a.shape != b.shape:  # (N, T, ...) or (N, T2, T1): the rest must be zero
            inside = tuple(slice(size) for size in a.shape)
            beyond = b.copy()
            beyond[inside] = 0
            assert not beyond.any()
            b = b[inside]
        if set_name == "compiled":
            np.testing.assert_array_equal(a, b)
        else:  # BLAS may add up in another order for another size
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(a).max(), 1e-3))


@pytest.mark.parametrize("set_name", ["compiled", "reference"])
def test_nothing_to_attend_to_yields_zeros(set_name):
    kernels = {"compiled": compiled, "reference": reference}[set_name]
    draw, lengths = Draw("float32"), np.array([0, 3])
    assert not kernels.softmax_forward(draw(2, 3), lengths)[0].any()
    hs_enc, hs_dec = draw(2, 3, 5), draw(2, 4, 5)
    for v in (None, draw(5)):
        read = hs_enc, hs_enc, hs_dec, None, v, 1
        cs, a = kernels.attention_forward(*read, lengths, None)
        assert not cs[0].any()
        assert not a[0].any()
        dv = None if v is None else draw.unwritten(5)
        dhs_enc, _, dhs_dec, _ = kernels.attention_backward(draw(2, 4, 5), *read, a, lengths, None, dv)
        assert not dhs_enc[0].any()
        assert not dhs_dec[0].any()
        assert np.isfinite(dhs_enc).all()
        assert dv is None or np.isfinite(dv).all()


def test_what_a_kernel_returned_is_not_changed_by_later_calls():
    draw = Draw("float32")
    xs, Wx, Wh, b = draw(40, 30, 20), draw(20, 200), draw(50, 200), draw(200)
    held = compiled.lstm_forward(xs, [Wx, Wh, b], None, None, None, None)[0]
    before = held.copy()
    views = [held[1:3], held.reshape(-1)[:10]]
    for _ in range(5):
        compiled.lstm_forward(draw(40, 30, 20), [Wx, Wh, b], None, None, None, None)
    np.testing.assert_array_equal(held, before)
    del held
    for _ in range(5):
        compiled.lstm_forward(draw(40, 30, 20), [Wx, Wh, b], None, None, None, None)
    np.testing.assert_array_equal(views[0], before[1:3])
    np.testing.assert_array_equal(views[1], before.reshape(-1)[:10])
