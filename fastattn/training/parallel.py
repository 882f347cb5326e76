"""A step that is divided: among fixed shards of its batch, and, where there is a communicator, among ranks.

The batch of a step is cut into S shards, S a power of two. Its gradient is the sum of theirs in one binary tree: neighbours are
added, then neighbouring sums, and so on. On R ranks each has S / R shards in a row, which are a whole subtree; the rest of the
tree is added for a slice of the weights on the rank that updates it. All additions have the order of the tree, whichever rank
makes them, and the weights are the same bits for any R. The communicator moves bytes, and adds nothing.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.metadata
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from fastattn import backend
from fastattn.layers.checks import Array

from .optimizer import Optimizer
from .state import State

SHARDS = 8  # of a batch, where there is a communicator and nobody has said how many
WIRES = ("dense", "sparse", "bfloat16")
_BLOCK = 16  # numbers that "sparse" leaves out together, and that no slice cuts


class Communicator(Protocol):
    """What a training uses of a communicator of mpi4py's: its ``MPI.COMM_WORLD`` is one. Buffers are [array, counts]."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def Allgather(self, sendbuf: Any, recvbuf: Any, /) -> Any:
        """All ranks' arrays, of one size, in order of rank."""

    def Allgatherv(self, sendbuf: Any, recvbuf: Any, /) -> Any:
        """The same of arrays of several sizes."""

    def Alltoallv(self, sendbuf: Any, recvbuf: Any, /) -> Any:
        """To each rank a part of an array, and from each rank one."""

    def allgather(self, sendobj: Any, /) -> list[Any]:
        """All ranks' objects, in order of rank."""

    def bcast(self, obj: Any, /) -> Any:
        """The object of rank 0."""


class Alone:
    """The communicator of one process, which has nobody to talk to."""

    rank, size = 0, 1

    def Allgather(self, sendbuf: Array, recvbuf: Array, /) -> None:
        recvbuf.reshape(sendbuf.shape)[...] = sendbuf

    def Allgatherv(self, sendbuf: Any, recvbuf: Any, /) -> None:
        recvbuf[0][...] = sendbuf[0]

    Alltoallv = Allgatherv

    def allgather(self, sendobj: Any, /) -> list[Any]:
        return [sendobj]

    def bcast(self, obj: Any, /) -> Any:
        return obj


class RankError(RuntimeError):
    """Something failed on another rank, so that this one cannot go on. ``rank``: which; ``words``: what it said."""

    def __init__(self, rank: int, words: str) -> None:
        super().__init__(f"rank {rank}: {words}")
        self.rank, self.words = rank, words


class RanksDifferError(ValueError):
    """The ranks of a training have not been given the same. The message names the first that differs from rank 0, and how."""


@contextmanager
def together(communicator: Communicator | None) -> Iterator[None]:
    """A block that every rank goes through, and that may fail on some: then no rank goes on.

    Who failed has its own error, the others a RankError.
    """
    if communicator is None or communicator.size == 1:
        yield
        return
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    tell_failures(communicator, failed)


def tell_failures(communicator: Communicator, failed: Exception | None) -> None:
    """Raises what failed here; or else a RankError if something failed elsewhere."""
    words = None if failed is None else f"{failed}" or type(failed).__name__
    everywhere = communicator.allgather(words)
    if failed is not None:
        raise failed
    for rank, said in enumerate(everywhere):
        if said is not None:
            raise RankError(rank, said)


def check_same(communicator: Communicator, facts: Mapping[str, Any]) -> None:
    """RanksDifferError, on all ranks, unless all have the same facts."""
    first, *others = communicator.allgather(dict(facts))
    for rank, other in enumerate(others, start=1):
        names = [name for name in dict.fromkeys([*first, *other]) if first.get(name) != other.get(name)]
        if names:
            said = "; ".join(f"{name} is {other.get(name)!r:.100}, and {first.get(name)!r:.100} on rank 0" for name in names)
            raise RanksDifferError(f"rank {rank} cannot train with rank 0: {said}")


def versions() -> dict[str, str]:
    """What computes: of different ones the ranks might not have the same weights."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return {
            "the kernels": backend.get_backend(),
            **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "fastattn")},
        }
    return {"the kernels": backend.get_backend()}


def digest_of_arrays(arrays: Sequence[Array]) -> str:
    """A SHA-256 of shapes, dtypes and numbers, cut short."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"SHA-256 {digest.hexdigest()[:16]}"


def digest_of_state(state: State) -> str:
    """The same of a state."""
    return f"{state.numbers!r} {digest_of_arrays([state.arrays[name] for name in sorted(state.arrays)])}"


def share_of_cores(communicator: Communicator) -> int:
    """The threads for this rank, so that those of one host have a core each, by affinity and limits; at least 1."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    host = platform.node()
    sharing = sum(
        other == host and not set(cores).isdisjoint(others) for other, others in communicator.allgather((host, cores))
    )
    return max(1, min(backend.available_cores(), len(cores) // sharing))


def checked_shards(shards: int, ranks: int) -> int:
    """ValueError unless the shards are a power of two, and so are the ranks, no more than the shards."""
    if not _is_power_of_two(shards):
        raise ValueError(f"shards is {shards!r}; expected a power of two: 1, 2, 4, 8, ...")
    if not _is_power_of_two(ranks):
        raise ValueError(f"there are {ranks} ranks; expected a power of two, for each to have a whole subtree of the shards")
    if ranks > shards:
        raise ValueError(
            f"there are {ranks} ranks, and a batch has {shards} shard{'s' * (shards > 1)}; expected at most a rank a shard"
        )
    return int(shards)


def _is_power_of_two(number: int) -> bool:
    return number >= 1 and number & (number - 1) == 0


class Division:
    """How the steps of a fit are divided, and the part of this rank: its shards, its slice of the weights, of the optimizer.

    ``own``: the numbers of the shards whose gradients this rank adds up. All weights are one line of numbers, in the order of
    ``params``, cut into as many pieces as there are shards: these, and so all that is added up over them, are the same for any
    number of ranks. A rank's slice is that of its S / R pieces.
    """

    def __init__(
        self, communicator: Communicator, shards: int, wire: str, params: Sequence[Array], optimizer: Optimizer
    ) -> None:
        rank, ranks = communicator.rank, communicator.size
        each = shards // ranks
        self.communicator, self.shards, self.wire = communicator, shards, wire
        self.own = range(rank * each, (rank + 1) * each)
        self._shapes = [param.shape for param in params]
        self._dtype = params[0].dtype if params else np.dtype(np.float32)
        size = sum(param.size for param in params)
        piece = -(-size // (shards * _BLOCK)) * _BLOCK
        self._size = max(piece, _BLOCK) * shards  # with zeros at the end, so that all pieces are of one size
        self._bounds = [min(number * piece, size) for number in range(shards + 1)]
        self._spare: list[Array] = []
        self._weights = np.zeros(self._size, self._dtype)
        self._weights_of_params = self.by_param(self._weights)
        length = self._size // ranks
        self._slice = np.zeros(length, self._dtype)  # what the optimizer updates
        self._received = np.zeros((ranks, length), self._dtype)
        self._own_weights = self._pieces(self._slice)
        self._own_grads = self._pieces(self._received[0])
        self._whole = optimizer
        self._optimizer = self._divided(optimizer)

    def by_param(self, line: Array) -> list[Array]:
        """Views of a line of numbers, one for each parameter."""
        views, begin = [], 0
        for shape in self._shapes:
            end = begin + math.prod(shape)
            views.append(line[begin:end].reshape(shape))
            begin = end
        return views

    def _pieces(self, own: Array) -> list[Array]:
        """Views of this rank's slice, one for each piece in it that has weights."""
        lengths = (self._bounds[number + 1] - self._bounds[number] for number in self.own)
        step = self._size // self.shards
        return [own[i * step : i * step + length] for i, length in enumerate(lengths) if length]

    # The gradient of a step.

    def new_line(self) -> Array:
        """For the gradients of a shard, any numbers where they go, and zeros behind them."""
        return self._spare.pop() if self._spare else np.zeros(self._size, self._dtype)

    def add_up(self, lines: Iterator[Array]) -> Array:
        """The sum of the gradients of this rank's shards, in the order of the tree. The lines are used up."""
        sums: list[tuple[int, Array]] = []  # of 2^height shards each
        for line in lines:
            height = 0
            while sums and sums[-1][0] == height:
                _, left = sums.pop()
                left += line
                self._spare.append(line)
                line, height = left, height + 1
            sums.append((height, line))
        ((_, total),) = sums
        return total

    def meet(self, losses: Sequence[float], failed: Exception | None) -> list[float]:
        """All shards' losses, in order. Where something failed on a rank, no rank goes on: see `tell_failures`."""
        own = np.array([failed is not None, *losses, *[0.0] * (len(self.own) - len(losses))])
        everywhere = np.empty((self.communicator.size, own.size))
        self.communicator.Allgather(own, everywhere)
        if everywhere[:, 0].any():
            tell_failures(self.communicator, failed)
        return everywhere[:, 1:].ravel().tolist()

    def update(self, params: Sequence[Array], total: Array, max_norm: float | None, lr: float) -> float:
        """A step of the optimizer, in place: each rank's on its slice, by the sum of all ranks' gradients -> their norm.

        total: the sum of this rank's, which is used up. No step is made if the norm is NaN or infinite.
        """
        self._exchange(total)
        self._spare.append(total)
        kernels = backend.kernels()
        squares = np.array([kernels.squared_norm([grad]) for grad in self._own_grads] or [0.0])
        squares = np.concatenate([squares, np.zeros(len(self.own) - len(squares))])
        all_squares = np.empty(self.shards)
        self.communicator.Allgather(squares, all_squares)
        norm = math.sqrt(sum(all_squares.tolist()))
        if not math.isfinite(norm):
            return norm
        if max_norm is not None and norm > max_norm:
            kernels.scale(self._own_grads, max_norm / norm)
        for view, param in zip(self._weights_of_params, params, strict=True):
            view[...] = param
        length = len(self._slice)
        first = self.communicator.rank * length
        self._slice[...] = self._weights[first : first + length]
        self._optimizer.lr = lr
        self._optimizer.update(self._own_weights, self._own_grads)
        self._gather(self._slice, self._weights)
        for view, param in zip(self._weights_of_params, params, strict=True):
            param[...] = view
        return norm

    def _gather(self, own: Array, line: Array) -> None:
        """All ranks' slices, one after another."""
        ranks = self.communicator.size
        self.communicator.Allgatherv([own, len(own)], [line, [len(own)] * ranks])

    def _exchange(self, total: Array) -> None:
        """This rank's slice of the sum of all ranks' gradients, into the first of what is received."""
        ranks, received = self.communicator.size, self._received
        if ranks == 1:
            received[0] = total
            return
        if self.wire == "sparse":
            self._exchange_without_zeros(total)
        elif self.wire == "bfloat16":
            self._exchange_rounded(total)
        else:
            counts = [len(self._slice)] * ranks
            self.communicator.Alltoallv([total, counts], [received, counts])
        width = 1
        while width < ranks:
            for rank in range(0, ranks, 2 * width):
                received[rank] += received[rank + width]
            width *= 2

    def _exchange_without_zeros(self, total: Array) -> None:
        """Blocks of zeros, such as those of tokens that did not occur, are not sent. The numbers are the same."""
        ranks = self.communicator.size
        blocks = total.reshape(ranks, -1, _BLOCK)
        sent = blocks.view(f"u{total.itemsize}").any(axis=2)  # their bits: of -0.0 not all are zeros
        flags = np.packbits(sent, axis=1)
        all_flags = np.empty_like(flags)
        self.communicator.Alltoallv([flags, [flags.shape[1]] * ranks], [all_flags, [flags.shape[1]] * ranks])
        got = np.unpackbits(all_flags, axis=1, count=sent.shape[1]).astype(bool)
        outgoing, incoming = blocks[sent], np.empty((int(got.sum()), _BLOCK), total.dtype)
        counts = [(each.sum(axis=1) * _BLOCK).tolist() for each in (sent, got)]
        self.communicator.Alltoallv([outgoing, counts[0]], [incoming, counts[1]])
        self._received[...] = 0
        self._received.reshape(ranks, -1, _BLOCK)[got] = incoming

    def _exchange_rounded(self, total: Array) -> None:
        """What goes to other ranks is rounded to bfloat16."""
        ranks, rank, length = self.communicator.size, self.communicator.rank, len(self._slice)
        rounded, counts = to_bfloat16(total), [length] * ranks
        received = np.empty((ranks, length), np.uint16)
        self.communicator.Alltoallv([rounded, counts], [received, counts])
        self._received[...] = from_bfloat16(received)
        self._received[rank] = total[rank * length : (rank + 1) * length]

    # The state of the optimizer: arrays like the params outside, lines within.

    def _divided(self, optimizer: Optimizer) -> Optimizer:
        """One that has this rank's slice of the other's state."""
        state = optimizer.state()
        states = state.part("states")
        assert states is not None
        arrays = [states.arrays[str(i)] for i in range(len(states.arrays))]
        each, own = len(self._shapes), []
        for first in range(0, len(arrays), each or 1):
            line = np.zeros(self._size, self._dtype)
            for view, array in zip(self.by_param(line), arrays[first : first + each], strict=True):
                view[...] = array
            begin = self.communicator.rank * len(self._slice)
            own += self._pieces(line[begin : begin + len(self._slice)])
        divided = copy.copy(optimizer)
        divided.put(State(state.numbers, {}).with_parts(states=State.of_list(own)), self._own_weights)
        return divided

    def optimizer_state(self) -> State:
        """The optimizer's state as if it had not been divided. Every rank has a part in it."""
        state = self._optimizer.state()
        states = state.part("states")
        assert states is not None
        pieces = len(self._own_weights)
        kinds = self.communicator.bcast(len(states.arrays) // pieces if pieces else 0)  # rank 0 has some
        whole: list[Array] = []
        for kind in range(kinds):
            own, line = np.zeros_like(self._slice), np.zeros(self._size, self._dtype)
            for i, view in enumerate(self._pieces(own)):
                view[...] = states.arrays[str(kind * pieces + i)]
            self._gather(own, line)
            whole += self.by_param(line)
        numbers = self.communicator.bcast(state.numbers)
        return State(numbers).with_parts(states=State.of_list(whole))

    def leave(self, params: Sequence[Array]) -> None:
        """When all steps are done: the optimizer that was divided goes on from here."""
        lr = self._whole.lr
        self._whole.put(self.optimizer_state(), params)
        self._whole.lr = lr


def to_bfloat16(x: Array) -> Array:
    """The upper half of float32, rounded to nearest, of two equally near the even one."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    rounded[np.isnan(x)] = 0x7FC0
    return rounded


def from_bfloat16(x: Array) -> Array:
    """float32."""
    return (x.astype(np.uint32) << 16).view(np.float32)
