"""The door: every array that a caller hands to a layer is checked here, once, before a kernel sees it.

Kernels check nothing, and the compiled ones would read past the end of an array that is too short. So every function
here either returns what is safe to hand on (an array of the right dtype and shape, C-contiguous, aligned and writeable;
copied only if it was not) or raises: ValueError for a shape, a length or a size, TypeError for a dtype or a type,
IndexError for a token id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

Array = np.ndarray[Any, np.dtype[Any]]
Axes = Sequence[int | str]  # a number must match; a letter names an axis of any size

FLOATS = (np.dtype("float32"), np.dtype("float64"))


def _described(axes: Axes) -> str:
    return "(" + ", ".join(map(str, axes)) + ("," if len(axes) == 1 else "") + ")"


def _check_shape(name: str, shape: tuple[int, ...], axes: Axes) -> None:
    matches = len(shape) == len(axes)
    for n, axis in zip(shape, axes):
        if n != axis and isinstance(axis, int):
            matches = False
    if not matches:
        raise ValueError(f"{name} has shape {shape}; expected {_described(axes)}")
    if 0 in shape:
        raise ValueError(f"{name} is empty, of shape {shape}; expected {_described(axes)}, every axis at least 1")


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu"  # a bool is no token id and no length


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """``dtype`` as NumPy names it. TypeError unless float32 or float64."""
    checked = np.dtype(dtype)
    if checked not in FLOATS:
        raise TypeError(f"dtype is {checked}; expected float32 or float64")
    return checked


def floats(name: str, x: ArrayLike, axes: Axes, dtype: np.dtype[Any] | None = None) -> Array:
    """``x`` as a floating-point array with the given axes; of ``dtype``, or of float32 or float64 if that is None."""
    array = np.asarray(x)
    if (array.dtype != dtype) if dtype is not None else (array.dtype not in FLOATS):
        raise TypeError(f"{name} has dtype {array.dtype}; expected {dtype or 'float32 or float64'}")
    _check_shape(name, array.shape, axes)
    return array if array.flags.carray else np.array(array, order="C")


def lengths(name: str, given: ArrayLike | None, N: int, T: int, lowest: int = 1) -> Array | None:
    """``given`` as int64 lengths (N,), each from ``lowest`` to T; None stays None."""
    if given is None:
        return None
    array = np.asarray(given)
    if not _is_integer(array.dtype):
        raise TypeError(f"{name} has dtype {array.dtype}; expected an integer dtype")
    _check_shape(name, array.shape, (N,))
    wrong = (array < lowest) | (array > T)
    if wrong.any():
        n = int(wrong.argmax())
        raise ValueError(f"{name}[{n}] is {array[n]}; expected a length from {lowest} to {T}")
    return np.array(array, dtype=np.int64, order="C")


def _out_of_range(name: str, token: int, V: int) -> IndexError:
    return IndexError(f"{name} is {token}; expected a token id from 0 to {V - 1} (the vocabulary's size is {V})")


def ids(
    name: str,
    given: ArrayLike,
    axes: Axes,
    V: int,
    given_lengths: ArrayLike | None,
    lengths_name: str = "lengths",
    lowest: int = 1,
    ignored: int | None = None,
) -> tuple[Array, Array | None]:
    """``given`` as int64 token ids (N, T), each from 0 to V - 1, and ``given_lengths`` as :func:`lengths` gives them.

    Any integer may stand at padding, -1 for instance; it is replaced by 0, so that no kernel can trip over it.
    ``ignored``: a number that may stand anywhere and is no token; it is replaced by -1.
    """
    array = np.asarray(given)
    _check_shape(name, array.shape, axes)  # before the dtype: an empty list has a floating-point dtype
    if not _is_integer(array.dtype):
        raise TypeError(f"{name} has dtype {array.dtype}; expected an integer dtype")
    N, T = array.shape
    if lowest > T:
        raise ValueError(f"{name} has shape {array.shape}; expected at least {lowest} columns")
    checked_lengths = lengths(lengths_name, given_lengths, N, T, lowest)
    if checked_lengths is not None:
        array = np.where(np.arange(T) < checked_lengths[:, None], array, array.dtype.type(0))
    is_ignored = None if ignored is None else array == ignored
    if is_ignored is not None:
        array = np.where(is_ignored, array.dtype.type(0), array)
    given_ids, array = array, np.array(array, dtype=np.int64, order="C")
    if array.view(np.uint64).max() >= V:  # a negative number is a large one there
        n, t = np.argwhere((array < 0) | (array >= V))[0]
        raise _out_of_range(f"{name}[{n}, {t}]", given_ids[n, t], V)
    if is_ignored is not None:
        array[is_ignored] = -1
    return array, checked_lengths


def token(name: str, given: int, V: int) -> int:
    """``given`` as one token id from 0 to V - 1."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"{name} is {given!r}; expected a token id, a whole number")
    if not 0 <= given < V:
        raise _out_of_range(name, given, V)
    return int(given)


def size(name: str, given: int, lowest: int = 1, highest: int | None = None) -> int:
    """``given`` as a whole number of at least ``lowest``, and at most ``highest`` if that is given."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"{name} is {given!r}; expected a whole number")
    if given < lowest:
        raise ValueError(f"{name} is {given}; expected at least {lowest}")
    if highest is not None and given > highest:
        raise ValueError(f"{name} is {given}; expected at most {highest}")
    return int(given)


def ratio(name: str, given: float) -> float:
    """``given`` as a number from 0 to less than 1."""
    if isinstance(given, bool) or not isinstance(given, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {given!r}; expected a number")
    if not 0 <= given < 1:
        raise ValueError(f"{name} is {given!r}; expected 0 <= {name} < 1")
    return float(given)


def at_least_zero(name: str, given: float) -> float:
    """``given`` as a finite number of at least 0."""
    if isinstance(given, bool) or not isinstance(given, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {given!r}; expected a number")
    if not 0 <= given < float("inf"):
        raise ValueError(f"{name} is {given!r}; expected a finite number of at least 0")
    return float(given)


def seed(name: str, given: int) -> int:
    """``given`` as a whole number from 0 to 2^64 - 1."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"{name} is {given!r}; expected a whole number")
    if not 0 <= given < 2**64:
        raise ValueError(f"{name} is {given}; expected a whole number from 0 to 2^64 - 1")
    return int(given)
