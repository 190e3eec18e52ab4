"""How many steps a call makes: by the clock of rank 0, and without a trace in the results."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from lvseg.training import calls as module
from lvseg.training.calls import CALL_SECONDS, Calls
from lvseg.training.engine import Engine
from lvseg.training.feed import MemoryFeed
from lvseg.training.order import epoch_order
from tests.discs import make_images, make_shard
from tests.training.conftest import Trainer
from tests.training.test_loop import CONFIG, weights_in, without_timings

IMAGES = 40
MOST = 16


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the module takes for the time, in its only place."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def epoch(calls: Calls, clock: list[float], seconds: float, *, compiling: float = 0.0) -> list[int]:
    """Steps of each call of an epoch of 40 steps that take so long; all hear a call later what rank 0 measured."""
    order = epoch_order(IMAGES, 1, 1, 0, 0, 1)
    said, made, rows = None, [], []
    for call in calls.of(MemoryFeed(make_images(range(IMAGES))).chunks(order, MOST)):
        saying = calls.seconds_per_step
        clock[0] += seconds * call.steps + (0 if made else compiling)
        made.append(call.steps)
        rows.append(call.order.rows[: call.steps])
        assert len(call.order.rows) == MOST  # one shape, compiled once
        if said is not None:
            calls.agreed(said)
        said = saying
    calls.agreed(said or 0.0)
    np.testing.assert_array_equal(np.concatenate(rows), order.rows)
    return made


@pytest.mark.parametrize(
    ("seconds", "first", "later"),
    [
        (0.01, [1] * 4 + [12, 16, 8], [16, 16, 8]),
        (CALL_SECONDS / 5, [1] * 4 + [5, 5, 2, 5, 5, 5, 1, 5, 3], [5, 5, 5, 1] * 2 + [5, 3]),
        (CALL_SECONDS * 3, [1] * IMAGES, [1] * IMAGES),
    ],
)
def test_a_call_takes_no_longer_than_it_should(
    clock: list[float], seconds: float, first: list[int], later: list[int]
) -> None:
    calls = Calls()
    assert epoch(calls, clock, seconds * 0.999, compiling=60) == first
    assert epoch(calls, clock, seconds * 0.999) == later


def test_calls_follow_the_speed(clock: list[float]) -> None:
    calls = Calls()
    epoch(calls, clock, 0.01)
    epoch(calls, clock, 0.999 * CALL_SECONDS)
    assert epoch(calls, clock, 0.01)[:2] == [1, 1]


def test_where_the_calls_are_cut_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, batch_size=2, steps_per_call=16, epochs=2)
    found: dict[float, tuple[list[int], Trainer]] = {}
    plain = Engine.train_steps
    for seconds in (0.0, 1e9):
        steps: list[int] = []

        def noted(engine, chunk, *rest, steps=steps):  # type: ignore[no-untyped-def]
            steps.append(chunk.steps)
            return plain(engine, chunk, *rest)

        monkeypatch.setattr(Engine, "train_steps", noted)
        monkeypatch.setattr(module, "CALL_SECONDS", seconds)
        trainer = Trainer(tmp_path / str(seconds))
        trainer(config, make_shard(train=20))
        found[seconds] = steps, trainer
    assert [steps for steps, _ in found.values()] == [[1] * 20, [1] * 4 + [6, 10]]
    one, many = (trainer.context for _, trainer in found.values())
    assert without_timings(one.reports) == without_timings(many.reports)
    with one.latest_checkpoint() as ours, many.latest_checkpoint() as theirs:
        for a, b in itertools.zip_longest(weights_in(ours), weights_in(theirs)):
            np.testing.assert_array_equal(a, b)
