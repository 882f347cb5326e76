"""Numbers that mean the same on any machine."""

from statistics import median
from time import perf_counter, sleep
from typing import Any

import fastattn
from benchmarks.fma_peak import FmaPeak
from benchmarks.models import MODELS
from benchmarks.shapes import NAMED
from fastattn.data import Vocabulary, date_pairs, encode_pairs, split_dates
from fastattn.training.schedule import linear

from . import cases
from .training import FAMILY, FAMILY_SHAPES, training_step


def _seconds(call: Any, rounds: int) -> float:
    """The median of some calls, together at least a twentieth of a second long, so that the cores are awake."""
    times: list[float] = []
    while len(times) < rounds or sum(times) < 0.05:
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return median(times)


def _fraction_of_peak(call: Any, flop: int) -> float:
    """The call's operations a second, over those of a loop of multiply-adds that runs before and after it."""
    peak, fractions = FmaPeak(cases.ALL_THREADS), []

    def rate() -> float:
        sleep(0.3)  # the kernels' threads spin for a while after their work
        peak.work(10)
        began = perf_counter()
        return peak.work(40) / (perf_counter() - began)

    before = rate()
    for _ in range(5):
        call()
        seconds = _seconds(call, 3)
        after = rate()
        fractions.append(flop / seconds / max(before, after))
        before = after
    return median(fractions)


class FractionOfPeak:
    """Of what the FMA units can do: the matrix products of a training step, and of the kernels' forwards."""

    _KERNELS = (cases.lstm, cases.attention, cases.affine)
    unit = "of the FMA peak"
    timeout = 600

    def track_training_step(self, shape: str) -> float:
        return _fraction_of_peak(training_step(cases.COMPILED, shape), NAMED[shape].step_flop)

    track_training_step.params = (list(NAMED),)  # type: ignore[attr-defined]
    track_training_step.param_names = ("shape",)  # type: ignore[attr-defined]

    def track_family_step(self, model: str, shape: str) -> float:
        return _fraction_of_peak(training_step(cases.COMPILED, shape, model=model), NAMED[shape].flop(MODELS[model]))

    track_family_step.params = (FAMILY, FAMILY_SHAPES)  # type: ignore[attr-defined]
    track_family_step.param_names = ("model", "shape")  # type: ignore[attr-defined]

    def track_forward(self, kernel: str, shape: str) -> float:
        case = cases.make(getattr(cases, kernel), cases.COMPILED, shape)
        return _fraction_of_peak(case.forward, case.flop)

    track_forward.params = ([case.__name__ for case in _KERNELS], ["date", "g2p", "mt", "long"])  # type: ignore[attr-defined]
    track_forward.param_names = ("kernel", "shape")  # type: ignore[attr-defined]


class SpeedUp:
    """Of a training step: the time of the reference kernels over that of the compiled ones, taken in turns."""

    params = (["tiny", "date"],)
    param_names = ("shape",)
    unit = "times as fast as the reference"
    timeout = 600

    def track_training_step(self, shape: str) -> float:
        steps = {kernels: training_step(kernels, shape) for kernels in (cases.COMPILED, cases.REFERENCE)}
        ratios = []
        for _ in range(4):
            times = {}
            for kernels, step in steps.items():
                cases.choose(kernels)
                sleep(0.3)  # the other's threads spin for a while after their work
                step()
                times[kernels] = _seconds(step, 2)
            ratios.append(times[cases.REFERENCE] / times[cases.COMPILED])
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
        cases.choose(cases.COMPILED)
        model = fastattn.AttentionSeq2seq(len(source), 32, 128, target_vocabulary=len(target), seed=0)
        records = fastattn.Trainer(model, fastattn.Adam(0.005)).fit(
            x,
            t,
            max_epoch=6,
            batch_size=32,
            max_grad=5.0,
            source_lengths=source_lengths,
            target_lengths=target_lengths,
            validation_data=encode_pairs(held_out, source, target),
            schedule=linear,
            seed=0,
            progress=False,
        )
        return records[-1].valid_exact_match
