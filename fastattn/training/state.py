"""Where a training stands, as a value: what is needed to go on from there, to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fastattn.layers.checks import Array


class StateError(ValueError):
    """A state that a training cannot go on from. The message says what differs, or what is wrong."""


@dataclass(frozen=True)
class State:
    """``numbers``: of JSON's types, all finite; ``arrays``: by name. A state may be made of states, its parts."""

    numbers: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    def with_parts(self, **parts: State | None) -> State:
        """This state with others in it, each by a name; None: there is none."""
        numbers, arrays = dict(self.numbers), dict(self.arrays)
        for name, part in parts.items():
            numbers[name] = None if part is None else part.numbers
            if part is not None:
                arrays |= {f"{name}/{key}": array for key, array in part.arrays.items()}
        return State(numbers, arrays)

    def part(self, name: str) -> State | None:
        """A part, by its name. ValueError if it was not said whether there is one."""
        numbers = self.number(name, dict, type(None))
        if numbers is None:
            return None
        prefix = f"{name}/"
        return State(numbers, {key.removeprefix(prefix): a for key, a in self.arrays.items() if key.startswith(prefix)})

    def number(self, name: str, *kinds: type) -> Any:
        """What stands there by that name. ValueError unless it is of one of these types."""
        if name not in self.numbers:
            raise StateError(f"the state has no {name!r}")
        value = self.numbers[name]
        if float in kinds and type(value) is int:
            value = float(value)
        if type(value) not in kinds:
            raise StateError(f"{name} is {value!r:.100}; expected {' or '.join(kind.__name__ for kind in kinds)}")
        return value

    def count(self, name: str) -> int:
        """A number of things that stands there by that name. ValueError unless it is one."""
        value = self.number(name, int)
        if not 0 <= value < 2**63:
            raise StateError(f"{name} is {value!r:.50}; expected at least 0")
        return value

    @classmethod
    def of_list(cls, arrays: Sequence[Array]) -> Self:
        """Copies of arrays, by their places."""
        return cls({"arrays": len(arrays)}, {str(i): array.copy() for i, array in enumerate(arrays)})

    def as_list(self, like: Sequence[Array]) -> list[Array]:
        """The arrays that `of_list` was given. ValueError unless they have the shapes and dtypes of these."""
        result = []
        for i, expected in enumerate(like):
            given = self.arrays.get(str(i))
            if given is None or (given.shape, given.dtype) != (expected.shape, expected.dtype):
                said = "absent" if given is None else f"{given.dtype} {given.shape}"
                raise StateError(f"array {i} is {said}; expected {expected.dtype} {expected.shape}")
            result.append(np.array(given, order="C"))
        if len(self.arrays) != len(like):
            raise StateError(f"there are {len(self.arrays)} arrays; expected {len(like)}")
        return result


def differences(given: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """In words, what differs between two sets of options."""
    return [
        f"{name} is {given.get(name)!r}, and was {expected.get(name)!r}"
        for name in dict.fromkeys([*expected, *given])
        if given.get(name) != expected.get(name)
    ]
