"""Schedules against their formulas."""

import math

import pytest

from fastattn.training import SCHEDULES, Constant, Cosine, Done, InverseSqrt, Linear, Plateau, constant, linear, make_schedule


def test_a_plain_number_is_enough_where_only_the_part_counts():
    assert [constant(part) for part in (0, 0.25, 1)] == [1, 1, 1]
    assert [linear(part) for part in (0, 0.25, 1)] == [1, 0.75, 0]
    assert Cosine()(0.5) == pytest.approx(0.5)


def test_a_schedule_that_goes_by_more_needs_more():
    with pytest.raises(TypeError, match=r"the schedule goes by the step; expected a Done, got 0.5"):
        Linear(warmup_steps=3)(0.5)
    with pytest.raises(TypeError, match="the schedule goes by the scores"):
        Plateau()(0.5)


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_held_schedule_falls_over_the_rest(kind):
    schedule = kind(hold=0.3)
    assert [schedule(Done(part)) for part in (0, 0.1, 0.3)] == [1, 1, 1]
    assert schedule(Done(0.65)) == pytest.approx(0.5)
    assert schedule(Done(1.0)) == pytest.approx(0, abs=1e-12)
    later = [schedule(Done(part / 100)) for part in range(30, 101)]
    assert later == sorted(later, reverse=True)


def test_cosine_is_half_a_wave():
    for part in (0.0, 0.2, 0.75, 1.0):
        assert Cosine()(Done(part)) == pytest.approx(0.5 + 0.5 * math.cos(math.pi * part))


def test_inverse_sqrt_is_that_of_the_paper_with_its_peak_at_one():
    model_width, warmup = 512, 40

    def paper(step):  # Vaswani et al. 2017, equation 3: its steps count from 1
        return model_width**-0.5 * min(step**-0.5, step * warmup**-1.5)

    schedule = InverseSqrt(warmup_steps=warmup)
    for step in (0, 1, 20, 39, 40, 400):
        assert schedule(Done(0.5, step)) == pytest.approx(paper(step + 1) / paper(warmup))
    assert schedule(Done(0.5, warmup - 1)) == 1


@pytest.mark.parametrize("kind", [Constant, Linear, Cosine, Plateau])
def test_every_schedule_rises_over_its_warm_up(kind):
    cold, warm = kind(), kind(warmup_steps=4)
    for step, part in enumerate((0.25, 0.5, 0.75, 1.0, 1.0, 1.0)):
        done = Done(step / 10, step)
        assert warm(done) == pytest.approx(part * cold(done))


def test_plateau_falls_when_validation_is_no_better_for_long():
    schedule = Plateau(factor=0.1, patience=2)
    scores = [0.2, 0.3, 0.3, 0.1, 0.2, 0.2, 0.2, 0.4, 0.1]
    factors = [schedule(Done(0.5, scores=scores[:n])) for n in range(len(scores) + 1)]
    # Two no better than .3, then two more; .4 is better, and one worse is not enough.
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01])


def test_of_equal_scores_the_loss_says_whether_a_plateau_is_reached():
    schedule = Plateau(patience=1)
    scores, losses = [0.0, 0.0, 0.0, 0.1, 0.1], [3.0, 2.5, 2.6, 2.7, 2.7]
    factors = [schedule(Done(0.5, scores=scores[:n], losses=losses[:n])) for n in range(len(scores) + 1)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25]


def test_schedules_are_made_by_name():
    assert make_schedule("constant") == Constant()
    assert make_schedule("linear", warmup_steps=5, hold=0.3) == Linear(5, hold=0.3)
    assert make_schedule("inverse_sqrt", warmup_steps=7) == InverseSqrt(7)
    assert make_schedule("cosine", hold=0.5) == Cosine(hold=0.5)
    assert make_schedule("plateau", plateau_factor=0.2, plateau_patience=3) == Plateau(factor=0.2, patience=3)
    # What is at its default asks for nothing.
    assert make_schedule("constant", warmup_steps=0, hold=0.0, plateau_factor=0.5, plateau_patience=1) == Constant()
    assert SCHEDULES["linear"] == linear
    assert list(SCHEDULES) == ["constant", "linear", "inverse_sqrt", "cosine", "plateau"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: make_schedule("line"), ValueError, "schedule is 'line'; expected one of constant, linear"),
        (
            lambda: make_schedule("constant", hold=0.3),
            ValueError,
            "hold is 0.3, but schedule 'constant' has none; .* linear or cosine",
        ),
        (
            lambda: make_schedule("linear", plateau_patience=2),
            ValueError,
            "plateau_patience is 2, .* expected schedule plateau",
        ),
        (lambda: Linear(hold=1), ValueError, "hold is 1; expected a number at least 0 and less than 1"),
        (lambda: Constant(warmup_steps=-1), ValueError, "warmup_steps is -1; expected at least 0"),
        (lambda: Cosine(warmup_steps=1.5), TypeError, "warmup_steps is 1.5"),
        (lambda: InverseSqrt(0), ValueError, "warmup_steps is 0; expected at least 1"),
        (lambda: Plateau(factor=0), ValueError, "factor is 0; expected a number more than 0"),
        (lambda: Plateau(factor=1.0), ValueError, "factor is 1.0; .* less than 1"),
        (lambda: Plateau(patience=0), ValueError, "patience is 0; expected at least 1"),
    ],
)
def test_bad_schedules_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
