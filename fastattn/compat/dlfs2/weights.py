"""Weights in files: safetensors, and, to read only, pickles of a list of NumPy arrays.

A pickle is a program, and may do anything. Here one is read in which the few functions that NumPy's arrays are made with are
replaced by stand-ins, which hold what they are given and do nothing, and no other can be named. The arrays are then made here,
from bytes whose number fits the shape. What is expected bounds the file's size, the operations in it, and the bytes that they
make.
"""

from __future__ import annotations

import errno
import os
import pickle
import stat
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as safetensors_bytes

from fastattn.data import FileError, atomic_write
from fastattn.data.files import read_regular
from fastattn.layers.checks import Array

# Of a file that is read: what is beside the numbers, and how many bytes stand for one of a number in the oldest pickles.
MAX_HEADER, MAX_ESCAPED = 2**20, 6


def write_weights(path: str | os.PathLike[str], params: Sequence[Array]) -> None:
    """The arrays as safetensors, called "0", "1", ..., as precise as they are. OSError where the file cannot be written."""
    atomic_write(path, safetensors_bytes({str(i): np.ascontiguousarray(p) for i, p in enumerate(params)}))


def read_weights(path: str | os.PathLike[str], params: Sequence[Array]) -> list[Array]:
    """The arrays of a file, cast to the dtypes of ``params``.

    OSError for a file that cannot be read; ValueError unless it holds finite numbers in as many arrays, of the same shapes.
    """
    content = _content(path, MAX_HEADER + 8 * MAX_ESCAPED * sum(p.size for p in params))
    try:
        found = _from_safetensors(content) if _is_safetensors(content) else _from_pickle(content, len(params))
    except (ValueError, SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as weights: {error}") from error
    given, expected = ([array.shape for array in arrays] for arrays in (found, params))
    if not all(array.dtype.kind == "f" for array in found):
        raise ValueError(f"{os.fspath(path)} holds {', '.join(str(array.dtype) for array in found):.200}; expected floats")
    if given != expected:
        raise ValueError(f"{os.fspath(path)} holds arrays of shapes {given!s:.2000}; expected {expected}")
    with np.errstate(over="ignore"):
        weights = [array.astype(p.dtype) for array, p in zip(found, params, strict=True)]
    if not all(np.isfinite(array).all() for array in weights):
        raise ValueError(f"{os.fspath(path)} holds NaN or infinity")
    return weights


def _content(path: str | os.PathLike[str], limit: int) -> bytes:
    """Of a regular file of at most so many bytes. OSError as `open` raises it, ValueError for any other file."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    try:
        return read_regular(path, limit)
    except FileError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise ValueError(f"{os.fspath(path)} cannot be read as weights: it {error.reason}") from error


def _is_safetensors(content: bytes) -> bool:
    """Whether the file begins with the length of a JSON object, and that object."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def _from_safetensors(content: bytes) -> list[Array]:
    tensors = load_safetensors(content)
    return [tensors[str(i)] for i in range(len(tensors))]


def _from_pickle(content: bytes, count: int) -> list[Array]:
    """ValueError for anything but a list of arrays of floating-point numbers. count: how many are expected."""
    try:
        loaded = _Unpickler(content, count).load()
        if not isinstance(loaded, list | tuple) or not all(isinstance(item, _Contents) for item in loaded):
            raise pickle.UnpicklingError("it is not a list of arrays")
        return [contents.array() for contents in loaded]
    except Exception as error:  # what a file can make pickle raise has no limit
        raise ValueError(f"neither safetensors nor a pickle of NumPy arrays ({error or type(error).__name__})") from error


# What stands in a file is compared, never shown, hashed or copied: a few bytes can name a thing of any size by naming one part
# of it again and again.


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or code not in ("f2", "f4", "f8"):
            given = f"{code[:20]!r}" if isinstance(code, str) else f"a {type(code).__name__}"
            raise pickle.UnpicklingError(f"an array of dtype {given}; expected float16, float32 or float64")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if not isinstance(order, str) or order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("a dtype without a byte order")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Contents:
    """Stands for numpy.ndarray and what makes one: data, dtype, shape and order.

    Protocol 5 gives them at once; the others make an empty array first, and give them to its ``__setstate__``.
    """

    def __init__(self, data: Any = None, dtype: Any = None, shape: Any = None, order: Any = None) -> None:
        self.data, self.dtype, self.shape, self.order = data, dtype, shape, order

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, is_fortran, self.data = state
        self.order = "F" if is_fortran is True else "C"

    def array(self) -> Array:
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.data, bytes | bytearray):
            raise pickle.UnpicklingError("an array without numbers")
        shape, order = self.shape, self.order
        if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
            raise pickle.UnpicklingError("an array without a shape")
        if not isinstance(order, str) or order not in ("C", "F"):
            raise pickle.UnpicklingError("an array in no order")
        return np.frombuffer(self.data, self.dtype.dtype).reshape(shape, order=order)  # type: ignore[call-overload]


class _Encode:
    """Stands for _codecs.encode, by which protocols before 3 write bytes. budget: how many it makes, at most."""

    __slots__ = ("_budget",)

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"a {type(text).__name__} encoded; expected a str as 'latin1'")
        self._budget -= len(text)
        if self._budget < 0:
            raise pickle.UnpicklingError("more bytes in arrays than in the file")
        return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Contents,
    ("numpy", "dtype"): _Dtype,
    # NumPy 1 and NumPy 2, and what protocol 5 uses
    **{(f"{core}.multiarray", "_reconstruct"): _Contents for core in ("numpy.core", "numpy._core")},
    **{(f"{core}.numeric", "_frombuffer"): _Contents for core in ("numpy.core", "numpy._core")},
}

# The operations of a pickle of a list of arrays, by any protocol. No dictionaries or sets are among them: keys are hashed.
_OPERATIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
# How many operations a file may have: some thirty make an array.
_OF_EACH_ARRAY, _OF_ALL = 100, 10_000


class _Unpickler(pickle._Unpickler):
    """Knows the names that stand in a pickle of NumPy arrays, and nothing of what they are names of.

    It is the one in Python: the one in C takes as much memory as a file of ten bytes may ask for.
    """

    def __init__(self, content: bytes, count: int) -> None:
        """count: how many arrays are expected."""
        super().__init__(BytesIO(content))
        self._size = len(content)
        self._encode = _Encode(len(content))
        self.dispatch = _Dispatch(self.dispatch, _OF_ALL + _OF_EACH_ARRAY * count)  # type: ignore[misc, assignment]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module:.100}.{name:.100}, which is not run") from None

    def load_bytearray8(self: Any) -> None:
        size = int.from_bytes(self.read(8), "little")
        if size > self._size:
            raise pickle.UnpicklingError(f"a bytearray of {size} bytes in a file of {self._size}")
        self.append(bytearray(self.read(size)))


class _Dispatch:
    """Operation -> what it does, so many times, for those that there are."""

    def __init__(self, known: Mapping[int, Callable[[Any], None]], budget: int) -> None:
        self._known = {code[0]: known[code[0]] for code in (getattr(pickle, name) for name in _OPERATIONS)}
        self._known[pickle.BYTEARRAY8[0]] = _Unpickler.load_bytearray8
        self._budget = budget

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self._budget -= 1
        if self._budget < 0:
            raise pickle.UnpicklingError("it is longer than a list of so many arrays")
        if code not in self._known:
            raise pickle.UnpicklingError(f"an operation, {bytes([code])!r}, that no list of arrays needs")
        return self._known[code]
