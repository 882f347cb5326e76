"""Peers that the comparison must cope with."""

import os
import time
from pathlib import Path

from benchmarks.peers.in_fastattn import Reference


class Wrong(Reference):
    """Begins with another weight."""

    def __init__(self, task):
        print("what a peer prints does not stand between its answers")
        super().__init__(task)
        self.step.model.params[-1][0] += 0.01


class WrongOptimizer(Reference):
    """Its first loss and gradient norm are right."""

    def __init__(self, task):
        super().__init__(task)
        self.step.optimizer.lr *= 1.5


class Dying(Reference):
    """Ends its process when it is to be warmed up."""

    steps = 0

    def train(self, steps):
        self.steps += steps
        if self.steps > 3:
            os._exit(7)
        return super().train(steps)


class Hanging(Reference):
    """Is never ready, but says which process it is in."""

    def __init__(self, task):
        Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
        time.sleep(1000)
