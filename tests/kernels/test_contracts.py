"""All that a kernel reads is measured: shapes, dtypes, how memory lies, ids and lengths, at every call."""

import inspect

import numpy as np
import pytest
from fastattn_kernels import compiled, contracts, reference
from fastattn_kernels.compiled.engine import lists
from kernels.cases import CASES, Draw, lengths_for

ERRORS = (ValueError, TypeError, IndexError)
OF_LISTS = ("squared_norm", "scale", *(name for name in compiled.__all__ if name.endswith("_update")))


def test_every_kernel_has_a_contract_with_its_parameters():
    for name in reference.__all__:
        contract = getattr(contracts, name)
        assert ["fit", *inspect.signature(getattr(reference, name)).parameters] == list(inspect.signature(contract).parameters)
        for kernels in (reference, compiled):
            is_guarded = hasattr(getattr(kernels, name), "__wrapped__")
            assert is_guarded or (kernels is compiled and name in OF_LISTS), name


class Recorder:
    """A kernel set that notes what each kernel is given."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        kernel = getattr(reference, name)

        def call(*given):
            self.calls.append((name, given))
            return kernel(*given)

        return call


def arrays_within(given, path=()):
    """The places of all arrays among what a kernel is given, in lists and tuples, too; but what is kept is its own."""
    for i, each in enumerate(given):
        if isinstance(each, np.ndarray):
            yield (*path, i)
        elif isinstance(each, list | tuple) and not isinstance(each, contracts.Kept):
            yield from arrays_within(each, (*path, i))


def at(given, path):
    return at(given[path[0]], path[1:]) if path else given


def replaced(given, path, array):
    if not path:
        return array
    changed = [*given]
    changed[path[0]] = replaced(given[path[0]], path[1:], array)
    return changed if isinstance(given, list) else tuple(changed)


def measured(name, given):
    if name in OF_LISTS:  # measured where they are read
        lists.line(*[each for each in given if isinstance(each, list)])
    else:
        getattr(contracts, name)(contracts._fit_as_lines, *given)


def fails(name, given):
    try:
        measured(name, given)
    except ERRORS:
        return True
    return False


def other_shapes(array):
    for axis in range(array.ndim):
        yield np.concatenate((array, array[(slice(None),) * axis + (slice(1),)]), axis=axis)
        if array.shape[axis] > 1:
            yield np.ascontiguousarray(array[(slice(None),) * axis + (slice(1),)])


def strided(array):
    wide = np.empty((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", CASES)
def test_every_array_is_measured(name, padded):
    N, T = 3, 5
    recorder = Recorder()
    CASES[name][0](recorder, Draw("float32"), N, T, 7, 11, 13, lengths_for(N, T, padded))
    for kernel, given in recorder.calls:
        if kernel == "seq2seq_as_one":
            continue
        measured(kernel, given)
        places = list(arrays_within(given))
        for path in places:
            array, what = at(given, path), f"{kernel}, argument {path}"
            dtype = np.float64 if array.dtype == np.float32 else np.float32 if array.dtype == np.float64 else np.int32
            if len(places) > 1 and kernel not in ("scale", "squared_norm"):  # alone, an array of another size is another batch
                # Ids without lengths, and what is forbidden: of any size.
                parameter = list(inspect.signature(getattr(reference, kernel)).parameters)[path[0]]
                alone = parameter == "forbidden" or (parameter == "ids" and given[-1] is None)
                assert alone or any(fails(kernel, replaced(given, path, other)) for other in other_shapes(array)), what
            alike = [other for other in places if at(given, other).dtype == array.dtype]
            if len(alike) > 1 or array.dtype != np.float32:
                assert fails(kernel, replaced(given, path, array.astype(dtype))), what
            assert fails(kernel, replaced(given, path, array[None])) or kernel in ("tanh_forward", "scale", "squared_norm"), (
                what
            )
            assert fails(kernel, replaced(given, path, array.astype(array.dtype.newbyteorder()))), what
            assert fails(kernel, replaced(given, path, array.astype(np.int16))), what
            assert fails(kernel, replaced(given, path, array.tolist())), what
            assert fails(kernel, replaced(given, path, frozen(array))), what
            assert fails(kernel, replaced(given, path, strided(array))) or array.size <= 1, what
            if array.dtype == np.int64 and array.size:
                for wrong in (-5, 2**40):
                    changed = array.copy()
                    changed.flat[-1] = wrong
                    assert fails(kernel, replaced(given, path, changed)), what


def test_addresses_are_read_as_numpy_says_them():
    assert lists._CAN_READ, "this version of NumPy lays arrays down in another way: the optimizers are slower, but right"
    arrays = [np.zeros((3, 5), np.float32), np.zeros(7, np.float32), np.zeros((), np.float32), np.zeros((0, 4), np.float32)]
    others = [np.ones_like(array) for array in arrays]
    addresses, table, size = lists.line(arrays, others)
    assert addresses.tolist() == [[a.__array_interface__["data"][0] for a in each] for each in (arrays, others)]
    assert size == 23
    assert table.tolist() == [[0, 0, 15], [1, 0, 7], [2, 0, 1]]


def test_lists_are_measured_without_reading_arrays_too(monkeypatch):
    arrays = [np.zeros((3, 5), np.float32), np.zeros(7, np.float32)]
    expected = lists.line(arrays, arrays)
    monkeypatch.setattr(lists, "_CAN_READ", False)
    for one, other in zip(expected, lists.line(arrays, arrays)):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"has shape \(7,\); expected \(3, 5\)"):
        lists.line(arrays, arrays[::-1])


def test_an_array_of_a_class_of_its_own_is_taken():
    class Mine(np.ndarray):
        pass

    params = [np.ones(5, np.float32).view(Mine)]
    compiled.sgd_update(params, [np.ones(5, np.float32)], 1.0, 0.5)
    np.testing.assert_array_equal(params[0], np.full(5, 0.5, np.float32))


@pytest.mark.parametrize(
    "lists_given", [([np.zeros(3)], [3]), ([np.zeros(3)], [None]), ([np.zeros(3)], ["abc"]), ([object()],)]
)
def test_what_is_no_array_is_not_read_as_one(lists_given):
    with pytest.raises(TypeError):
        lists.line(*lists_given)
