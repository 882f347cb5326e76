"""How inputs are changed, beside what libFuzzer does to bytes: values in JSON, and bytes that keep their number."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**24, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 10**4000),
    *(0.5, 1.0, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "a", "0", "none", "auto", "\ud800", "a\0b", "\t", "../a", "x" * 300, [], {}, [[]], [0], {"a": 0}, [None] * 40),
)


class Mutator:
    """Changes an input: as libFuzzer does, or a value of the JSON in it, or some bytes. Some begin from a seed again."""

    def __init__(self, seeds: list[bytes], words: tuple[str, ...], mutate: Callable[[bytes, int], bytes]) -> None:
        self.seeds, self.words, self.mutate = seeds, words, mutate

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.2:
            data = rng.choice(self.seeds)
        way = rng.random()
        if way < 0.4:
            return self.mutate(data, max_size)
        if way < 0.8:
            for begin in range(2):
                if data[begin : begin + 1] in (b"{", b"["):
                    for _ in range(rng.choice((1, 1, 2, 4))):
                        data = data[:begin] + self._changed_lines(data[begin:], rng)
                    return data[:max_size]
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 4, 8)) if changed else 0):
            place = rng.randrange(len(changed))
            changed[place] = rng.choice((changed[place] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 255))
        return bytes(changed[:max_size])

    def _changed_lines(self, data: bytes, rng: random.Random) -> bytes:
        """All of it is JSON, or a line of it."""
        try:
            return self._changed(data, rng)
        except (ValueError, RecursionError):
            lines = data.split(b"\n")
        place = rng.randrange(len(lines))
        try:
            lines[place] = self._changed(lines[place], rng)
        except (ValueError, RecursionError):
            return data
        return b"\n".join(lines)

    def _changed(self, data: bytes, rng: random.Random) -> bytes:
        root = [json.loads(data)]
        places = [(node, key) for node in _containers(root) for key in (node if isinstance(node, dict) else range(len(node)))]
        node, key = rng.choice(places)
        other, other_key = rng.choice(places)
        match rng.randrange(6):
            case 0 if node is not root:
                del node[key]
            case 1:
                node[key] = other[other_key] if other is not root else 0
            case 2 if isinstance(node, dict):
                node[rng.choice((*self.words, str(other_key)))] = node[key]
            case 3 if type(node[key]) is int:
                node[key] += rng.choice((-1, 1, 8, -8))
            case 4 if isinstance(node[key], list):
                node[key] = node[key] * 2 or [0]
            case _:
                node[key] = rng.choice(VALUES)
        return json.dumps(root[0]).encode()


def _containers(node: Any) -> list[Any]:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [*([node] if isinstance(node, dict | list) else ()), *(each for child in inner for each in _containers(child))]
