"""What Ray Tune does with a sweep's trials: search, early ends, resumption, exchange. The trials train nothing."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import ray

from lvseg.config import TrainConfig, TuneConfig, read_yaml
from lvseg.distributed.groups import GroupSweeper
from lvseg.distributed.tune import plan_resources, run_sweep
from lvseg.errors import TrainingError
from lvseg.leaderboard import build
from lvseg.records import Manifest
from lvseg.results import RunResult, read_history
from lvseg.run_folder import CONFIG_NAME, RESULT_FILE
from lvseg.space import Dimension
from lvseg.sweep import Sweep
from tests.distributed.places import groups_left
from tests.distributed.pretend import epochs_done, pretend
from tests.processes import SLOW_START

pytestmark = pytest.mark.ray

BASE = TrainConfig(epochs=9, picture_every=0, cpus_per_worker=1)
RATE = {"learning_rate": Dimension(kind="loguniform", values=(1e-5, 1.0))}
CONDITIONAL = {
    **RATE,
    "optimizer": Dimension(kind="choice", values=("adam", "sgd")),
    "momentum": Dimension(kind="uniform", values=(0.5, 0.9), when={"optimizer": ("sgd",)}),
}


@pytest.fixture
def sweep(cluster: None, made: tuple[Path, Manifest], tmp_path: Path) -> Sweep:
    return Sweep(folder=tmp_path / "runs" / "sweep", base=BASE, space=RATE, tune=TuneConfig(trials=6), records=made[0])


def run(sweep: Sweep, **tune: object) -> list[RunResult]:
    sweep = dataclasses.replace(sweep, tune=dataclasses.replace(sweep.tune, **tune))
    return run_sweep(sweep, plan_resources(sweep), trainable=pretend)


def done(sweep: Sweep) -> dict[str, list[int]]:
    return {path.parent.name: epochs_done(path.parent) for path in sorted(Path(str(sweep.folder)).glob("*/done.txt"))}


def test_a_cluster_that_does_not_grow_is_waited_for_so_long(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = plan_resources(sweep)
    nowhere = dataclasses.replace(sweep, base=dataclasses.replace(BASE, node_label=("kind=A100",)))
    monkeypatch.setattr("lvseg.distributed.tune.PLACE_WAIT_S", 3)
    with pytest.raises(TrainingError, match=r"has not grown: node_label: none of the 1 node\(s\) has kind=A100"):
        run_sweep(nowhere, resources, trainable=pretend)
    assert groups_left() == []


def test_an_interrupted_sweep_ends_wherever_the_signal_meets_it(sweep: Sweep) -> None:
    """Also where an exception would be lost, as in a destructor."""

    def interrupt(trial: str, epoch: int, dice: float) -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    sweep = dataclasses.replace(sweep, tune=TuneConfig(trials=3, concurrency=1))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, plan_resources(sweep), interrupt, trainable=pretend)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(done(sweep)) < 3
    assert [result.status for result in run(sweep)] == ["finished"] * 3


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_sweep_that_is_called_again_repeats_nothing_and_goes_on(sweep: Sweep, search: str) -> None:
    sweep = dataclasses.replace(sweep, space=CONDITIONAL)
    first = run(sweep, search=search, trials=5)
    assert [result.name for result in first] == [f"trial-{n:05d}" for n in range(5)]
    rates = [result.config["learning_rate"] for result in first]
    assert len(set(rates)) == 5
    before = done(sweep)
    # As if the driver had been killed: one trial has not ended, one has not begun.
    (sweep.folder / "trial-00003" / RESULT_FILE).unlink()
    again = run(sweep, search=search, trials=8)
    assert [result.config["learning_rate"] for result in again][:5] == rates
    assert len({result.config["learning_rate"] for result in again}) == 8
    assert {name: epochs for name, epochs in done(sweep).items() if name in before} == before
    for result in again:
        assert (result.config["momentum"] == BASE.momentum) == (result.config["optimizer"] == "adam")
        assert result.status == "finished"


def test_a_trial_that_asha_ends_is_final_and_ranked(sweep: Sweep) -> None:
    first = run(sweep, scheduler="asha", rung_epochs=1, trials=8, concurrency=1)
    early = [result for result in first if result.status == "stopped early"]
    assert early
    assert max(first, key=lambda result: result.val_dice).status == "finished"
    for result in early:
        folder = sweep.folder / result.name
        assert result.epochs == len(read_history(folder)) == epochs_done(Path(str(folder)))[-1] < BASE.epochs
        assert (folder / "best.weights.h5").read_text() == f"{result.name} {result.best_epoch}"
    (group,) = build(sweep.folder.parent).groups
    assert len(group.rows) == 8
    before = done(sweep)
    assert run(sweep, scheduler="asha", rung_epochs=1, trials=8, concurrency=1) == first
    assert done(sweep) == before
    # What ended before decides about new ones: more are ended at the first rung than would be without them.
    later = run(sweep, scheduler="asha", rung_epochs=1, trials=12, concurrency=1)[8:]
    assert {name: epochs for name, epochs in done(sweep).items() if name in before} == before
    bar = sorted(row.val_dice for result in first for row in read_history(sweep.folder / result.name)[:1])[5]
    for result in later:
        at_rung = read_history(sweep.folder / result.name)[0].val_dice
        assert result.epochs > 1 or at_rung < bar


def test_median_stopping_ends_weak_trials(sweep: Sweep) -> None:
    statuses = [result.status for result in run(sweep, scheduler="median", rung_epochs=2, trials=8, concurrency=1)]
    assert "stopped early" in statuses
    assert statuses[0] == "finished"


def test_population_based_training_copies_weights_and_changes_settings(sweep: Sweep) -> None:
    results = run(sweep, scheduler="pbt", rung_epochs=2, trials=4)
    assert [result.epochs for result in results] == [BASE.epochs] * 4
    events = {
        result.name: [
            json.loads(line)
            for line in (sweep.folder / result.name / "events.jsonl").read_text().splitlines()
            if '"exploit"' in line
        ]
        for result in results
    }
    taken = [(name, event) for name, found in events.items() for event in found]
    assert taken
    for name, event in taken:
        donor = read_history(sweep.folder / event["source"])
        own = read_history(sweep.folder / name)
        # Up to the exchange the history is the donor's, unless that has itself taken over another's since.
        if not any(other["epoch"] >= event["epoch"] for other in events[event["source"]]):
            assert own[: event["epoch"]] == donor[: event["epoch"]] or len(events[name]) > 1
    changed = [result for result in results if events[result.name]]
    for result in changed:
        written = read_yaml(sweep.folder / result.name / CONFIG_NAME)["learning_rate"]
        assert result.config["learning_rate"] == written
        assert 1e-5 <= written <= 1.0


def test_a_trial_that_hangs_or_dies_costs_itself_only(sweep: Sweep) -> None:
    space = {"momentum": Dimension(kind="grid", values=(0.9, 0.1, 0.2))}
    once = dataclasses.replace(sweep.base, max_failures=1)
    results = run(dataclasses.replace(sweep, space=space, base=once), trials=1, trial_timeout_s=1)
    assert [result.status for result in results] == ["finished", "failed", "failed"]
    assert results[1].error == "the trial made no step for 1 s, after 0 epochs"
    assert results[2].error == "the trial's process died after 0 epochs"
    assert (sweep.folder / "trial-00001" / "done.txt").read_text().count("started") == 2  # tried once more


def test_a_good_enough_trial_ends_the_sweep(sweep: Sweep) -> None:
    results = run(sweep, trials=40, target_dice=0.6, concurrency=1)
    assert len(results) < 40
    assert results[-1].val_dice >= 0.6
    assert all(result.val_dice < 0.6 for result in results[:-1])


def test_a_sweep_whose_time_is_over_goes_on_with_the_next_call(sweep: Sweep) -> None:
    assert run(sweep, trials=3, max_hours=1e-9) == []
    assert [result.status for result in run(sweep, trials=3)] == ["finished"] * 3


def test_the_leaderboard_shows_mean_and_spread_over_folds(sweep: Sweep) -> None:
    from lvseg.leaderboard import render
    from lvseg.leaderboard.folds import cross_validations

    one = dataclasses.replace(sweep, space={}, base=dataclasses.replace(BASE, folds=3, epochs=1))
    assert [result.name for result in run(one)] == ["fold-0", "fold-1", "fold-2"]
    board = build(sweep.folder.parent)
    (found,) = cross_validations([row for group in board.groups for row in group.rows])
    assert (found.name, found.complete, len(found.dice), found.sd) == ("sweep", True, 3, 0.0)
    assert f"{found.mean:.4f} ± 0.0000" in render(board, "table", 120)


def test_placement_groups_that_stay_behind_are_removed(cluster: None) -> None:
    """One that was there before the sweep is not its own."""
    mine = ray.util.placement_group([{"CPU": 1}])
    sweeper = GroupSweeper()
    left = ray.util.placement_group([{"CPU": 1}])
    ray.get([mine.ready(), left.ready()])
    sweeper.finish(patience_s=0.1)
    assert sweeper.removed == 1
    assert groups_left(1) == [mine.id.binary()]
    ray.util.remove_placement_group(mine)


@pytest.mark.cluster
def test_trials_fit_on_clusters_of_1_2_4_and_8_nodes(
    made: tuple[Path, Manifest], tmp_path: Path, repository: Path
) -> None:
    """A cluster of fake nodes that grows, with fake GPUs, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "tests.distributed.fake_nodes", made[0], tmp_path]
    done = subprocess.run(
        list(map(str, command)),
        cwd=repository,
        env=environment | SLOW_START | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert [each["nodes"] for each in found] == [1, 2, 4, 8]
    for each in found:
        nodes = each["nodes"]
        assert each["cpu"]["planned"] == min(3, 2 * nodes)
        assert each["gpu"]["planned"] == min(3, nodes)
        assert each["quarter"]["planned"] == min(3, 2 * nodes)  # two cores hold two of the four
        for kind in ("cpu", "gpu", "quarter"):
            assert each[kind]["finished"] == 3
            assert each[kind]["groups_left"] == 0
