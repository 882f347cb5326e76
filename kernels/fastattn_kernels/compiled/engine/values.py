"""Values with a name, made of what belongs together: a matrix with its start, rows and step, for instance.

Numba takes a NamedTuple apart where it is used, and hands its fields on in registers: it costs nothing. What a function that is
compiled by itself takes (`jit.separate`) stands in its annotations: ``int``, ``Indices``, ``Floats``, or one of these values.
"""

from typing import Annotated, Any, NamedTuple, get_type_hints

from numba import types

Indices = Annotated[Any, "a flat array of int64"]
Floats = Annotated[Any, "a flat array of the dtype in which a kernel works, float32 or float64"]


class Place(NamedTuple):
    """What begins at numbers[at]."""

    numbers: Floats
    at: int


class EvenRows(NamedTuple):
    """Row r begins at numbers[start + r step]."""

    numbers: Floats
    start: int
    step: int


class Matrix(NamedTuple):
    """Number k of row r is numbers[start + rows[first + r] + k step]."""

    numbers: Floats
    start: int
    rows: Indices
    first: int
    step: int


class Rows(NamedTuple):
    """Rows that stand anywhere in memory: row r begins ``start`` numbers beyond the address addresses[first + r]."""

    addresses: Indices
    first: int
    start: int


class Packed(NamedTuple):
    """A whole packed matrix of ``depth`` rows: panel after panel of its columns, from numbers[start] on."""

    numbers: Floats
    start: int
    depth: int
    columns: int


class Panels(NamedTuple):
    """A block of a packed matrix: row k of panel p begins at numbers[start + p panel_step + k row_step]."""

    numbers: Floats
    start: int
    row_step: int
    panel_step: int


class Ahead(NamedTuple):
    """Rows of a matrix that are read next, which the second-level cache fetches meanwhile, two beside each tile.

    address: where the matrix's start would be if they were spaced as its rows are; NOTHING_AHEAD for none. turn: 0 if rows 0
    and 1 are fetched beside the first tile, 1 if rows 2 and 3 are, ...
    """

    address: int
    turn: int


class Scratch(NamedTuple):
    """What a product writes into on its way: packed panels, and a tile, with the addresses of its rows, a panel's width apart.

    Each share has its own (see `product.scratch`).
    """

    panels: Floats
    tile: Floats
    tile_rows: Indices


def annotations(function: Any) -> list[Any]:
    """What stands at the parameters of a function, in their order; None where nothing does."""
    hints = get_type_hints(function, include_extras=True)
    return [hints.get(name) for name in function.__code__.co_varnames[: function.__code__.co_argcount]]


def _fields(annotation: Any) -> list[Any] | None:
    """The annotations of a value's fields; None for what is no such value."""
    if not hasattr(annotation, "_fields"):
        return None
    hints = get_type_hints(annotation, include_extras=True)
    return [hints[name] for name in annotation._fields]


def type_of(annotation: Any, dtype: Any) -> Any:
    """Numba's type for an annotation, in a kernel that works in dtype."""
    fields = _fields(annotation)
    if fields is not None:
        return types.BaseTuple.from_types([type_of(field, dtype) for field in fields], annotation)
    return {int: types.int64, Indices: types.int64[::1], Floats: dtype[::1]}[annotation]


def with_names(t: Any, annotation: Any) -> Any:
    """The type of a tuple without names, as Python hands it over, as that of the value that stands in the annotation."""
    fields = _fields(annotation)
    if fields is None:
        return t
    return types.BaseTuple.from_types([with_names(*each) for each in zip(t.types, fields, strict=True)], annotation)


def without_names(value: Any) -> Any:
    """A value as a tuple without names: those Numba knows at first sight, the others it looks at for long."""
    return tuple([without_names(field) if isinstance(field, tuple) else field for field in value])


def types_within(t: Any) -> Any:
    """A type, or those of a tuple's elements."""
    if isinstance(t, types.BaseTuple):
        for element in t.types:
            yield from types_within(element)
    else:
        yield t
