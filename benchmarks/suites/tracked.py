"""Numbers that mean the same on any machine."""

from statistics import median
from time import perf_counter, sleep
from typing import Any

from fma_peak import FmaPeak
from shapes import NAMED

import fastattn
from fastattn.data import Vocabulary, date_pairs, encode_pairs, split_dates
from fastattn.training.schedule import linear

from . import cases
from .training import Step


def _seconds(step: Any, rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        began = perf_counter()
        step()
        times.append(perf_counter() - began)
    return median(times)


class FractionOfPeak:
    """Of a training step: its matrix products' operations a second, over those of a loop of multiply-adds beside it."""

    params = (list(NAMED),)
    param_names = ("shape",)
    unit = "of the FMA peak"
    timeout = 600

    def track_training_step(self, shape: str) -> float:
        step, peak = Step("compiled", shape, cases.THREADS[-1]), FmaPeak(cases.THREADS[-1])
        step()
        fractions = []
        for _ in range(5):
            sleep(0.3)  # the kernels' threads spin for a while after their work
            peak.work(10)
            began = perf_counter()
            rate = peak.work(100) / (perf_counter() - began)
            fractions.append(NAMED[shape].step_flop / _seconds(step, 3) / rate)
        return median(fractions)


class SpeedUp:
    """Of a training step: the time of the reference kernels over that of the compiled ones, taken in turns."""

    params = (["tiny", "date", "g2p"],)
    param_names = ("shape",)
    unit = "times"
    timeout = 600

    def track_training_step(self, shape: str) -> float:
        steps = {kernels: Step(kernels, shape, cases.THREADS[-1]) for kernels in cases.KERNEL_SETS}
        ratios = []
        for _ in range(6):
            times = {}
            for kernels, step in steps.items():
                fastattn.set_backend(kernels)
                times[kernels] = _seconds(step, 2)
            ratios.append(times["reference"] / times["compiled"])
        return median(ratios[1:])


class Quality:
    """Held-out exact match after a fixed small training on the built-in dates: what speed must not cost."""

    unit = "of held-out dates"
    timeout = 900

    def track_exact_match(self) -> float:
        train, held_out = split_dates(date_pairs(6_000))
        source = Vocabulary.from_texts(pair[0] for pair in train)
        target = Vocabulary.from_texts(pair[1] for pair in train)
        x, source_lengths, t, target_lengths = encode_pairs(train, source, target)
        fastattn.set_backend("compiled")
        fastattn.set_num_threads(cases.THREADS[-1])
        model = fastattn.AttentionSeq2seq(len(source), 32, 128, target_vocabulary=len(target), seed=0)
        records = fastattn.Trainer(model, fastattn.Adam(0.005)).fit(
            x,
            t,
            max_epoch=6,
            batch_size=64,
            max_grad=5.0,
            source_lengths=source_lengths,
            target_lengths=target_lengths,
            validation_data=encode_pairs(held_out, source, target),
            schedule=linear,
            seed=0,
            progress=False,
        )
        return records[-1].valid_exact_match
