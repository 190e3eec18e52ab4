import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.training.schedules import RateSchedule, make_schedule

TOTAL = 60
STEPS = range(0, TOTAL + 20, 3)
schedules = keras.optimizers.schedules


def make(**settings: object) -> RateSchedule:
    return make_schedule(TrainConfig(learning_rate=0.02, **settings), TOTAL)  # type: ignore[arg-type]


@pytest.mark.parametrize("staircase", [False, True])
def test_exponential_decay_is_keras_own_to_the_bit(staircase: bool) -> None:
    own = make(decay_rate=0.9, decay_steps=7, staircase=staircase)
    theirs = schedules.ExponentialDecay(0.02, 7, 0.9, staircase=staircase)
    assert [float(own(step)) for step in STEPS] == [float(theirs(step)) for step in STEPS]


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ({"schedule": "cosine"}, schedules.CosineDecay(0.02, TOTAL)),
        ({"schedule": "cosine", "final_rate": 0.1}, schedules.CosineDecay(0.02, TOTAL, alpha=0.1)),
        (
            {"schedule": "polynomial", "final_rate": 0.1, "decay_power": 0.9},
            schedules.PolynomialDecay(0.02, TOTAL, end_learning_rate=0.002, power=0.9),
        ),
        ({"schedule": "constant", "final_rate": 0.5}, lambda step: 0.02),
    ],
)
def test_without_warmup_a_schedule_is_keras_own(own: dict[str, object], theirs: schedules.LearningRateSchedule) -> None:
    schedule = make(**own)
    for step in STEPS:
        assert float(schedule(step)) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("kind", ["constant", "exponential", "cosine", "polynomial"])
def test_warmup_rises_in_a_line_to_the_highest_and_then_the_curve_begins(kind: str) -> None:
    settings = {"schedule": kind, "decay_rate": 0.5, "decay_steps": 10, "final_rate": 0.1}
    warm = make(warmup_steps=9, **settings)
    assert [warm.at(step) for step in range(10)] == pytest.approx([0.002 * (step + 1) for step in range(10)])
    plain = make_schedule(TrainConfig(learning_rate=0.02, **settings), TOTAL - 9)  # type: ignore[arg-type]
    assert [warm.at(9 + step) for step in STEPS] == pytest.approx([plain.at(step) for step in STEPS])


@pytest.mark.parametrize(("warmup", "peak"), [(0, TOTAL // 3), (12, 12)])
def test_one_cycle_rises_and_falls_in_half_cosines(warmup: int, peak: int) -> None:
    cycle = make(schedule="one-cycle", warmup_steps=warmup, final_rate=0.01)
    rates = [cycle.at(step) for step in range(TOTAL + 5)]
    assert rates[0] == pytest.approx(0.02 / 25)
    assert rates[peak] == max(rates) == pytest.approx(0.02)
    assert rates[peak // 2] == pytest.approx(0.02 * (1 + 1 / 25) / 2)
    assert rates[TOTAL:] == pytest.approx([0.0002] * 5)
    middle = (peak + TOTAL) // 2
    fallen = (1 - math.cos(math.pi * (middle - peak) / (TOTAL - peak))) / 2
    assert rates[middle] == pytest.approx(0.02 * (1 - 0.99 * fallen))


@pytest.mark.parametrize("kind", ["constant", "exponential", "cosine", "polynomial", "one-cycle"])
def test_the_rate_in_a_graph_as_a_number_and_from_its_config_is_the_same(kind: str) -> None:
    schedule = make(schedule=kind, warmup_steps=5, final_rate=0.05)
    in_graph = tf.function(schedule)
    again = schedules.deserialize(schedules.serialize(schedule))
    assert isinstance(again, RateSchedule)
    for step in (0, 3, 5, 17, TOTAL - 1, TOTAL, 10 * TOTAL):
        rate = float(in_graph(tf.constant(step, tf.int64)))
        assert schedule.at(step) == pytest.approx(rate, rel=1e-5, abs=1e-9)
        assert again.at(step) == schedule.at(step)


def test_the_scale_lowers_all_rates_from_now_on() -> None:
    schedule = make(schedule="cosine")
    in_graph = tf.function(schedule)
    before = float(in_graph(tf.constant(10)))
    schedule.scale.assign(0.25)
    assert float(in_graph(tf.constant(10))) == pytest.approx(before / 4)
    assert schedule.at(10) == pytest.approx(before / 4)


@pytest.mark.parametrize("kind", ["constant", "exponential", "cosine", "polynomial", "one-cycle"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_have_finite_rates_that_are_not_all_zero(kind: str, total: int) -> None:
    for warmup in (0, 1, 5):
        schedule = make_schedule(TrainConfig(schedule=kind, warmup_steps=warmup), total)  # type: ignore[arg-type]
        rates = [schedule.at(step) for step in range(total)]
        assert np.isfinite(rates).all()
        assert rates[0] > 0
