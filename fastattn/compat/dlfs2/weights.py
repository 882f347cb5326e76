"""Weights in files: safetensors, and, to read only, pickles of a list of NumPy arrays.

A pickle is a program, and may do anything. Here one is read in which the few functions that NumPy's arrays are made with
are replaced by stand-ins, which hold what they are given and do nothing, and no other can be named. The
arrays are then made here, from bytes whose number fits the shape.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as safetensors_bytes

from fastattn.data import atomic_write
from fastattn.layers.checks import Array


def write_weights(path: str | os.PathLike[str], params: Sequence[Array]) -> None:
    """The arrays as safetensors, called "0", "1", ..., as precise as they are. OSError where the file cannot be written."""
    atomic_write(path, safetensors_bytes({str(i): np.ascontiguousarray(p) for i, p in enumerate(params)}))


def read_weights(path: str | os.PathLike[str], params: Sequence[Array]) -> list[Array]:
    """The arrays of a file, cast to the dtypes of ``params``.

    OSError for a file that cannot be read; ValueError unless it holds finite numbers in as many arrays, of the same shapes.
    """
    content = Path(path).read_bytes()
    try:
        found = _from_safetensors(content) if _is_safetensors(content) else _from_pickle(content)
    except (ValueError, SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as weights: {error}") from error
    given, expected = ([array.shape for array in arrays] for arrays in (found, params))
    if not all(array.dtype.kind == "f" for array in found):
        raise ValueError(f"{os.fspath(path)} holds {', '.join(str(array.dtype) for array in found)}; expected floats")
    if given != expected:
        raise ValueError(f"{os.fspath(path)} holds arrays of shapes {given}; expected {expected}")
    with np.errstate(over="ignore"):
        weights = [array.astype(p.dtype) for array, p in zip(found, params, strict=True)]
    if not all(np.isfinite(array).all() for array in weights):
        raise ValueError(f"{os.fspath(path)} holds NaN or infinity")
    return weights


def _is_safetensors(content: bytes) -> bool:
    """Whether the file begins with the length of a JSON object, and that object."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def _from_safetensors(content: bytes) -> list[Array]:
    tensors = load_safetensors(content)
    return [tensors[str(i)] for i in range(len(tensors))]


def _from_pickle(content: bytes) -> list[Array]:
    """ValueError for anything but a list of arrays of floating-point numbers."""
    try:
        loaded = _Unpickler(BytesIO(content)).load()
        if not isinstance(loaded, list | tuple) or not all(isinstance(item, _Contents) for item in loaded):
            raise pickle.UnpicklingError("it is not a list of arrays")
        return [contents.array() for contents in loaded]
    except Exception as error:  # what a file can make pickle raise has no limit
        raise ValueError(f"neither safetensors nor a pickle of NumPy arrays ({error or type(error).__name__})") from error


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in ("f2", "f4", "f8"):
            raise pickle.UnpicklingError(f"an array of dtype {code!r}; expected float16, float32 or float64")
        self.dtype = np.dtype(str(code))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Contents:
    """Stands for numpy.ndarray and what makes one: data, dtype, shape and order.

    Protocol 5 gives them at once; the others make an empty array first, and give them to its ``__setstate__``.
    """

    def __init__(self, data: Any = None, dtype: Any = None, shape: Any = None, order: Any = None) -> None:
        self.data, self.dtype, self.shape, self.order = data, dtype, shape, order

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, is_fortran, self.data = state
        self.order = "F" if is_fortran else "C"

    def array(self) -> Array:
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.data, bytes | bytearray):
            raise pickle.UnpicklingError("an array without numbers")
        return np.frombuffer(self.data, self.dtype.dtype).reshape(self.shape, order=self.order)


class _Encode:
    """Stands for _codecs.encode, by which protocols before 3 write bytes."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"a {type(text).__name__} encoded as {encoding!r}; expected a str as 'latin1'")
        return text.encode("latin1")


_STAND_INS = {
    ("numpy", "ndarray"): _Contents,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode(),
    # NumPy 1 and NumPy 2, and what protocol 5 uses
    **{(f"{core}.multiarray", "_reconstruct"): _Contents for core in ("numpy.core", "numpy._core")},
    **{(f"{core}.numeric", "_frombuffer"): _Contents for core in ("numpy.core", "numpy._core")},
}


class _Unpickler(pickle._Unpickler):
    """Knows the names that stand in a pickle of NumPy arrays, and nothing of what they are names of.

    It is the one in Python: the one in C takes as much memory as a file of ten bytes may ask for.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run") from None
