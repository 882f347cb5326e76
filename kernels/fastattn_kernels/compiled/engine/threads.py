"""The threads that run a kernel's shares: a few of Python's own, in compiled code, that claim shares one by one.

A launch writes down what is to be done, then a ticket: the number of the launch, how many shares it has, and the next one to
claim, in one number that only whole exchanges change. Whoever is there takes shares by moving the ticket on, the launching
thread too. So no launch waits for a thread that the system has put off its core, unless it already has a share.

A thread that finds nothing to do looks again for about a millisecond, for a training step launches at short intervals; then
it sleeps until a launch finds it asleep and wakes it.
"""

import atexit
import contextlib
import ctypes
import os
import sys
import threading
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import from_python, kernel
from .linking import call_entry, flush_denormals

_i64 = ir.IntType(64)
_LINE = 8  # numbers in a cache line: what different threads write stands in lines of its own
_TICKET, _FINISHED, _SLEEPING = 0, 2 * _LINE, 4 * _LINE
_ENTRY, _ARGUMENTS, _STOP = 6 * _LINE, 6 * _LINE + 1, 6 * _LINE + 2
_BITS = 20  # of a ticket: launch | shares | next share
MAX_SHARES = (1 << _BITS) - 1
_MASK = MAX_SHARES
_LOOKS = 2_000  # at most some 100 microseconds, before a thread that has nothing to do lets others have its core
_YIELDS = 2_000  # and so often, before it sleeps

_YIELD = "fastattn.yield"


def _publish_yield() -> None:
    """Make the system's way to let other threads have the core known to the linker."""
    function = ctypes.CDLL("kernel32").SwitchToThread if sys.platform == "win32" else ctypes.CDLL(None).sched_yield
    llvmlite.binding.add_symbol(_YIELD, ctypes.cast(function, ctypes.c_void_p).value)


_publish_yield()


def _pointer(builder: Any, address: Any, index: int) -> Any:
    return builder.gep(builder.inttoptr(address, _i64.as_pointer()), [_i64(index)])


@intrinsic(prefer_literal=True)
def _read(typingctx, state, index):
    """A number of the state; what was written before it is seen as well."""

    def emit(context, builder, signature, arguments):
        return builder.load_atomic(_pointer(builder, arguments[0], signature.args[1].literal_value), "acquire", 8)

    return types.int64(types.int64, index), emit


@intrinsic(prefer_literal=True)
def _write(typingctx, state, index, value):
    """Writes a number of the state, after all that stands before it."""

    def emit(context, builder, signature, arguments):
        builder.store_atomic(arguments[2], _pointer(builder, arguments[0], signature.args[1].literal_value), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, index, types.int64), emit


@intrinsic(prefer_literal=True)
def _add(typingctx, state, index, value):
    def emit(context, builder, signature, arguments):
        place = _pointer(builder, arguments[0], signature.args[1].literal_value)
        builder.atomic_rmw("add", place, arguments[2], "seq_cst")
        return context.get_dummy_value()

    return types.void(types.int64, index, types.int64), emit


@intrinsic
def _move_on(typingctx, state, ticket):
    """Take the ticket's next share; False if another thread was quicker."""

    def emit(context, builder, signature, arguments):
        state, ticket = arguments
        place = _pointer(builder, state, _TICKET)
        outcome = builder.cmpxchg(place, ticket, builder.add(ticket, _i64(1)), "seq_cst", "seq_cst")
        return builder.extract_value(outcome, 1)

    return types.boolean(types.int64, types.int64), emit


@intrinsic
def _pause(typingctx):
    """Tells the core that it is in a loop that waits."""

    def emit(context, builder, signature, arguments):
        triple = context.codegen().magic_tuple()[0]
        if triple.startswith(("x86_64", "i686")):
            function_type, name, hint = ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause", []
        elif triple.startswith(("aarch64", "arm64")):
            i32 = ir.IntType(32)
            function_type, name, hint = ir.FunctionType(ir.VoidType(), [i32]), "llvm.aarch64.hint", [i32(1)]
        else:
            return context.get_dummy_value()
        function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
        builder.call(function, hint)
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def _let_others(typingctx):
    """Lets other threads have the core, if there are any that wait for it."""

    def emit(context, builder, signature, arguments):
        function_type = ir.FunctionType(ir.IntType(32), [])
        function = builder.module.globals.get(_YIELD) or ir.Function(builder.module, function_type, _YIELD)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), emit


@kernel
def _run_shares(state):
    """Takes shares until there are none left to take; says how many it did."""
    done = 0
    while True:
        ticket = _read(state, _TICKET)
        share, shares = ticket & _MASK, (ticket >> _BITS) & _MASK
        if share >= shares:
            return done
        if _move_on(state, ticket):
            # The launch cannot end, and the next one not begin, before this share is finished: these are its own.
            call_entry(_read(state, _ENTRY), share, shares, _read(state, _ARGUMENTS))
            _add(state, _FINISHED, 1)
            done += 1


@kernel
def launch(state, shares, entry, arguments):
    """What a launch does; `linking.launch` calls it."""
    _write(state, _ENTRY, entry)
    _write(state, _ARGUMENTS, arguments)
    _write(state, _FINISHED, 0)
    number = (_read(state, _TICKET) >> (2 * _BITS)) + 1
    _write(state, _TICKET, (number << (2 * _BITS)) | (shares << _BITS))
    _run_shares(state)
    looks = 0
    while _read(state, _FINISHED) < shares:
        looks += 1
        if looks < _LOOKS:
            _pause()
        else:
            _let_others()


@from_python
def _work(state, was_asleep):
    """What a thread does until it has to sleep, or to end. was_asleep: whether it was just woken."""
    flush_denormals()
    if was_asleep:
        _add(state, _SLEEPING, -1)
    idle = 0
    while _read(state, _STOP) == 0:
        if _run_shares(state) > 0:
            idle = 0
        idle += 1
        if idle < _LOOKS:
            _pause()
        elif idle < _LOOKS + _YIELDS:
            _let_others()
        else:
            _add(state, _SLEEPING, 1)  # before the last look, so that a launch after it sees that somebody sleeps
            ticket = _read(state, _TICKET)
            if ticket & _MASK >= (ticket >> _BITS) & _MASK:
                return
            _add(state, _SLEEPING, -1)
            idle = 0


class Pool:
    """The threads beside the one that launches.

    ``address`` is where the state stands, for `linking.launch`. Only one thread at a time may call `prepare` and launch.
    """

    def __init__(self) -> None:
        _work.compile((types.int64, types.boolean))
        memory = np.zeros(9 * _LINE, np.int64)
        start = -memory.__array_interface__["data"][0] % 64 // 8
        self._state = memory[start : start + 8 * _LINE]
        self.address: int = self._state.__array_interface__["data"][0]
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._wakers: list[threading.Lock] = []
        self._threads: list[threading.Thread] = []
        atexit.register(self.stop)

    def prepare(self, threads: int) -> None:
        """Before a launch: start threads until there are so many with the launching one, and wake those that sleep.

        But no more than there are cores for: each takes another share when it has done one, and one that has to wait for a core
        only keeps others from theirs.
        """
        threads = min(threads, self._cores)
        while len(self._threads) < threads - 1 and not self._state[_STOP]:
            waker = threading.Lock()
            waker.acquire()
            thread = threading.Thread(target=self._run, args=(waker,), name="fastattn", daemon=True)
            self._wakers.append(waker)
            self._threads.append(thread)
            thread.start()
        if self._state[_SLEEPING]:
            self._wake()

    def _wake(self) -> None:
        for waker in self._wakers:
            if waker.locked():
                with contextlib.suppress(RuntimeError):  # a signal handler of this thread launched, and has woken it
                    waker.release()

    def _run(self, waker: threading.Lock) -> None:
        _work(self.address, False)
        while not self._state[_STOP]:
            waker.acquire()
            _work(self.address, True)

    def stop(self) -> None:
        """End all threads; launches from now on are done by the launching thread alone."""
        self._state[_STOP] = 1
        self._wake()
        for thread in self._threads:
            thread.join(5)
