"""No model at all, but the rate of the FMA units, asked for in the same rounds as the peers."""

from benchmarks.fma_peak import FmaPeak

from .peer import Outcome, Peer, Task


class Peak(Peer):
    """A step is a unit of the FMA loop; the outcome is how many floating-point operations all steps together had."""

    def __init__(self, task: Task) -> None:
        self.peak = FmaPeak(task.threads)

    def train(self, steps: int) -> Outcome:
        flop = self.peak.work(steps)
        return lambda: flop

    def generate(self, times: int) -> Outcome:
        return self.train(times)
