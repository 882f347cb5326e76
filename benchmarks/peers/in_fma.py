"""No model at all, but the rate of the FMA units, asked for in the same rounds as the peers."""

from benchmarks.fma_peak import FmaPeak

from .peer import Peer, Task


class Peak(Peer):
    """A step is a unit of the FMA loop; returns how many floating-point operations all steps together had."""

    def __init__(self, task: Task) -> None:
        self.peak = FmaPeak(task.threads)

    def train(self, steps: int) -> float:
        return self.peak.work(steps)

    def generate(self, times: int) -> float:
        return self.train(times)
