"""Ranks that are threads of one process, with what a training uses of mpi4py's communicators."""

import threading

import numpy as np


class Simulated:
    """One of ``size`` communicators that know one another. Whatever goes from one to another is copied."""

    def __init__(self, rank, size, slots, barrier):
        self.rank, self.size = rank, size
        self._slots, self._barrier = slots, barrier
        self.sent = 0  # bytes of arrays to other ranks

    @classmethod
    def world(cls, size):
        slots, barrier = [None] * size, threading.Barrier(size)
        return [cls(rank, size, slots, barrier) for rank in range(size)]

    def _exchanged(self, given, take):
        self._slots[self.rank] = given
        self._barrier.wait(60)
        taken = [take(rank, other) for rank, other in enumerate(self._slots)]
        self._barrier.wait(60)
        return taken

    def Allgather(self, sendbuf, recvbuf):
        parts = self._exchanged(sendbuf, lambda rank, other: other.copy())
        assert recvbuf.size == sum(part.size for part in parts)
        recvbuf.reshape(-1)[...] = np.concatenate([part.ravel() for part in parts])

    def Allgatherv(self, sendbuf, recvbuf):
        array, count = sendbuf
        assert array.size == count
        parts = self._exchanged(array, lambda rank, other: other.copy())
        assert recvbuf[1] == [part.size for part in parts]
        recvbuf[0].reshape(-1)[...] = np.concatenate([part.ravel() for part in parts])

    def Alltoallv(self, sendbuf, recvbuf):
        array, counts = sendbuf
        assert array.size == sum(counts)
        self.sent += (sum(counts) - counts[self.rank]) * array.itemsize
        cuts = np.cumsum(counts)[:-1]
        parts = self._exchanged(np.split(array.reshape(-1), cuts), lambda rank, other: other[self.rank].copy())
        assert recvbuf[1] == [part.size for part in parts]
        assert recvbuf[0].dtype == array.dtype
        recvbuf[0].reshape(-1)[...] = np.concatenate(parts)

    def allgather(self, sendobj):
        return self._exchanged(sendobj, lambda rank, other: other)

    def bcast(self, obj):
        return self.allgather(obj)[0]


def on_ranks(size, function):
    """What ``function(communicator)`` returns, or the exception that it raises, on each of so many ranks."""
    results = [None] * size

    def call(communicator):
        try:
            results[communicator.rank] = function(communicator)
        except BaseException as error:
            results[communicator.rank] = error

    threads = [threading.Thread(target=call, args=(each,)) for each in Simulated.world(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results
