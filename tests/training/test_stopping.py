"""Patience and time."""

import math
from dataclasses import replace

import pytest

from fastattn.training import EpochRecord
from fastattn.training.stopping import Clock, Watch, rank_of, said, score_of

RECORD = EpochRecord(3, 1.5, 2.25, 0.5, 100.0, 1.0, 0.125)


def test_a_higher_score_is_better_whatever_the_metric():
    assert score_of(RECORD, "exact_match") == 0.5
    assert score_of(RECORD, "token_error_rate") == -0.125
    assert score_of(RECORD, "loss") == -2.25
    assert [said(RECORD, metric) for metric in ("exact_match", "token_error_rate", "loss")] == [
        "exact match 50.00%",
        "token error rate 12.50%",
        "validation loss 2.2500",
    ]


def test_of_equal_epochs_the_one_with_the_lower_loss_is_better():
    none_right = [replace(RECORD, valid_exact_match=0.0, valid_loss=loss) for loss in (3.0, 2.0, 2.5)]
    watch = Watch(None)
    assert [watch.see(rank_of(record, "exact_match")) for record in none_right] == [True, True, False]
    assert watch.see(rank_of(replace(RECORD, valid_loss=9.0), "exact_match"))


def test_patience_ends_after_so_many_scores_without_a_better_one():
    watch = Watch(2)
    seen = [(watch.see((score, 0.0)), watch.is_over) for score in [1, 1, 2, 2, 0, 3]]
    assert seen == [(True, False), (False, False), (True, False), (False, False), (False, True), (True, False)]
    endless = Watch(None)
    assert not any(endless.see((-n, 0.0)) and endless.is_over for n in range(99))
    assert not endless.is_over


def test_the_clock_leaves_time_for_what_comes_after_the_last_step():
    times = iter([100.0, 130.0, 160.0, 205.0, 205.0, 160.0])
    clock = Clock(2, now=lambda: next(times))
    assert clock.seconds == 30.0
    assert clock.part(30.0) == 0.25
    clock.reserve = 20.0
    assert clock.part(30.0) == 0.3
    assert not clock.is_up(next_step=39.0)  # 60 + 39 < 100
    assert clock.is_up()  # 105
    assert clock.part(105.0) == 1.0
    clock.reserve = 120.0
    assert clock.part(0.0) == 1.0
    assert clock.is_up()
    clock.reserve = 20.0
    assert clock.is_up(next_step=40.0)


def test_without_a_limit_the_time_is_never_up():
    clock = Clock(None)
    clock.reserve = 1e9
    assert clock.part(1e12) == 0
    assert not clock.is_up(1e12)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "5"])
def test_a_limit_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match=r"max_minutes is .*; expected a number more than 0 and finite"):
        Clock(bad)
