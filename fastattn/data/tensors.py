"""Tensors as a safetensors file has them, read with every size checked against the file's before anything is made of it.

The format (https://github.com/huggingface/safetensors, "Format"): eight bytes, the size of the header, little-endian; the
header, a JSON object; the tensors, one after another.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# Of the dtypes that models and states have; and the sizes of all.
DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
SIZES |= {"I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8}
MAX_HEADER = 100_000_000  # as the format's own library has it


class TensorsError(ValueError):
    """Bytes that are no whole safetensors file."""


@dataclass(frozen=True)
class _Place:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Tensors:
    """The tensors in the bytes of a file: ``described``, name -> (dtype as the file has it, shape), ``metadata``, and `get`.

    TensorsError, which says why, for bytes that are no whole safetensors file.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < 8:
            raise TensorsError(f"it has {len(data)} bytes")
        size = int.from_bytes(data[:8], "little")
        if size > min(len(data) - 8, MAX_HEADER):
            raise TensorsError(f"its header has {size} bytes, and the file {len(data)}")
        try:
            header = json.loads(data[8 : 8 + size])
        except (ValueError, RecursionError) as error:
            raise TensorsError("its header is not JSON") from error
        if not isinstance(header, dict):
            raise TensorsError("its header is no JSON object")
        metadata = header.pop("__metadata__", None)
        self.metadata: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
        self._data = memoryview(data)[8 + size :]
        self._places = {name: _place(name, told) for name, told in header.items()}
        end = 0
        for name, place in sorted(self._places.items(), key=lambda item: (item[1].begin, item[1].end)):
            if place.begin != end:
                raise TensorsError(f"{name[:100]!r} begins at {place.begin}; expected {end}")
            end = place.end
        if end != len(self._data):
            raise TensorsError(f"its tensors have {end} bytes, and the file {len(self._data)}")

    @property
    def described(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name -> dtype and shape."""
        return {name: (place.dtype, place.shape) for name, place in self._places.items()}

    def get(self, name: str) -> np.ndarray:
        """A tensor, of a dtype in `DTYPES`; read-only, and a view of the bytes where these are aligned."""
        place = self._places[name]
        array = np.frombuffer(self._data[place.begin : place.end], DTYPES[place.dtype]).reshape(place.shape)
        return array if array.flags.aligned else array.copy()


def _place(name: str, told: Any) -> _Place:
    """Of what the header tells of a tensor. TensorsError unless its shape and its bytes agree."""
    try:
        dtype, shape, (begin, end) = told["dtype"], told["shape"], told["data_offsets"]
        numbers = [*shape, begin, end]
        fits = dtype in SIZES and isinstance(shape, list) and len(shape) <= 32
    except (TypeError, KeyError, ValueError):
        raise TensorsError(f"its header does not describe {name[:100]!r}") from None
    if not fits or any(type(number) is not int or not 0 <= number < 2**63 for number in numbers):
        raise TensorsError(f"its header does not describe {name[:100]!r}")
    if math.prod(size or 1 for size in shape) * SIZES[dtype] >= 2**63:  # none of it need be there, if a size is 0
        raise TensorsError(f"{name[:100]!r} has a shape {shape}, larger than any memory")
    if begin + math.prod(shape) * SIZES[dtype] != end:
        raise TensorsError(f"{name[:100]!r} has a shape {shape} and {end - begin} bytes")
    return _Place(dtype, tuple(shape), begin, end)
