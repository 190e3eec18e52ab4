"""Speed and time left, on a clock that is set by hand."""

import pytest

from lvseg.training.pace import Pace

EPOCHS, STEPS = 4, 10


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def train(pace: Pace, clock: Clock, epoch: int, compiling: float = 0.0) -> None:
    """Two steps a call, a second a step, three seconds of validation."""
    pace.begin(epoch)
    clock.now += compiling
    for step in range(2, STEPS + 1, 2):
        clock.now += 2
        pace.made(step, STEPS)
    clock.now += 3
    pace.end()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_known_before_the_second_call(clock: Clock) -> None:
    pace = Pace(EPOCHS, clock)
    assert pace.seconds_left() is None
    pace.begin(1)
    clock.now += 60
    pace.made(2, STEPS)
    assert pace.seconds_left() is None
    assert pace.steps_per_second() is None


def test_compiling_does_not_count_in_the_first_epoch(clock: Clock) -> None:
    pace = Pace(EPOCHS, clock)
    pace.begin(1)
    clock.now += 62
    pace.made(2, STEPS)
    clock.now += 2
    pace.made(4, STEPS)
    assert pace.steps_per_second(times=8) == pytest.approx(8)
    assert pace.seconds_left() == pytest.approx(6 + 3 * 10), "without validation, which has not been seen"


def test_compiling_does_not_count_for_the_epochs_to_come(clock: Clock) -> None:
    pace = Pace(EPOCHS, clock)
    train(pace, clock, 1, compiling=60)
    assert pace.seconds_left() == pytest.approx(3 * 13)
    pace.begin(2)
    clock.now += 5
    assert pace.seconds_left() == pytest.approx(8 + 2 * 13)
    clock.now += 100
    assert pace.seconds_left() == pytest.approx(2 * 13), "never less than nothing for the running one"


def test_a_run_that_resumes_counts_only_what_is_to_come(clock: Clock) -> None:
    pace = Pace(EPOCHS, clock)
    train(pace, clock, 3, compiling=60)
    assert pace.seconds_left() == pytest.approx(13)
    train(pace, clock, 4)
    assert pace.seconds_left() == 0


def test_an_epoch_that_resumes_in_its_middle(clock: Clock) -> None:
    pace = Pace(EPOCHS, clock)
    pace.begin(2)
    for step in (8, 10):
        clock.now += 2
        pace.made(step, STEPS)
    clock.now += 3
    pace.end()
    assert pace.seconds_left() == pytest.approx(2 * 13)


def test_an_epoch_of_one_call(clock: Clock) -> None:
    pace = Pace(EPOCHS, clock)
    for epoch in (1, 2):
        pace.begin(epoch)
        clock.now += 30 if epoch == 1 else 10
        pace.made(STEPS, STEPS)
        pace.end()
    assert pace.seconds_left() == pytest.approx(2 * 10)
    assert pace.steps_per_second() == pytest.approx(1)
