"""Two replicas make the steps of one: sums, clipping, float16's skipped steps, the average of the weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
State = dict[str, list[float]]


@pytest.fixture(scope="module")
def results(repository: Path) -> dict[str, tuple[State, State]]:
    """Case → state after the steps on one replica, on two."""
    command = [sys.executable, "-m", "tests.training.replicas"]
    done = subprocess.run(
        command, cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", ["adam", "adam float16", "sgd float16"])
def test_two_replicas_have_the_state_of_one(results: dict[str, tuple[State, State]], case: str) -> None:
    one, two = results[case]
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-5, abs=1e-6), name
    assert one["kernel"] != pytest.approx([2, 2, 2], abs=1e-2)
    assert one["iteration"] == [4 if "float16" in case else 5]


@pytest.mark.parametrize("case", ["adam float16", "sgd float16"])
def test_one_replica_that_overflows_makes_both_skip(results: dict[str, tuple[State, State]], case: str) -> None:
    for state in results[case]:
        assert state["loss_scale"] == [2.0**14]
        assert state["good_steps"] == [2]


@pytest.mark.parametrize("case", ["adam", "sgd float16"])
def test_the_average_is_swapped_in_and_out(results: dict[str, tuple[State, State]], case: str) -> None:
    for state in results[case]:
        assert state["swapped in"] == state["average of kernel"] != state["kernel"]
        assert state["swapped out"] == state["kernel"]
