"""What a trial does with Ray Tune's answers; Ray Tune itself is played by a few lines, its schedulers are real."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

from lvseg.config import TrainConfig, TuneConfig, read_yaml
from lvseg.distributed import trial as room
from lvseg.distributed.capacity import Allotment
from lvseg.distributed.search import schedule
from lvseg.distributed.trial import TrialPlan
from lvseg.distributed.tune import Resources, Watch
from lvseg.records import read_manifest
from lvseg.results import RunResult, read_history, read_result
from lvseg.space import Dimension
from lvseg.sweep import Sweep, open_sweep
from lvseg.training.plan import IngestPlan
from lvseg.training.status import read_events
from tests.discs import write_records
from tests.distributed.pretend import epochs_done, pretend

EPOCHS = 9
RATES = [1e-2, 2e-2, 1.0, 1e-5, 5e-3, 0.5]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    write_records(tmp_path / "records", train=8, val=4)
    return Sweep(
        folder=tmp_path / "runs" / "sweep",
        base=TrainConfig(epochs=EPOCHS, precision="float32", picture_every=0),
        space={"learning_rate": Dimension(kind="loguniform", values=(1e-5, 1.0))},
        tune=TuneConfig(scheduler="asha", rung_epochs=1, reduction_factor=3),
        records=tmp_path / "records",
    )


class Player:
    """Runs trials one after the other, as Ray Tune with one place would."""

    def __init__(self, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sweep, self.scheduler = sweep, schedule(sweep)
        allotment, ingest = Allotment(cpus=1, gpus=0.0, concurrency=1), IngestPlan(mode="memory", reason="")
        resources = Resources(allotment=allotment, ingest=ingest)
        self.watch = Watch(sweep, open_sweep(sweep), lambda *_: None, resources, None)
        self.checkpoint: Path | None = None
        self.kept: Path | None = None
        monkeypatch.setattr(tune, "report", self.report)
        monkeypatch.setattr(tune, "get_checkpoint", lambda: self.checkpoint and _Held(self.checkpoint))
        monkeypatch.setattr(tune, "get_context", lambda: SimpleNamespace(get_trial_id=lambda: self.trial.trial_id))
        monkeypatch.setattr(tune.Checkpoint, "from_directory", self._keep)

    def _keep(self, folder: str) -> Path:
        self.kept = self.sweep.folder.parent / f"kept-{self.trial.trial_id}"
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(folder, self.kept)
        return self.kept

    def report(self, metrics: dict[str, Any], checkpoint: Any = None) -> None:
        self.trial.last_result = metrics
        answer = tune.schedulers.TrialScheduler.CONTINUE
        if self.sweep.tune.scheduler != "pbt":
            answer = self.scheduler.on_trial_result(None, self.trial, metrics)
        if answer == tune.schedulers.TrialScheduler.STOP:
            raise SystemExit

    def run(self, number: int, rate: float, started: str = "2000") -> RunResult:
        config = {"learning_rate": rate}
        self.trial = SimpleNamespace(trial_id=f"x_{number:05d}", config=config, last_result={})
        if self.sweep.tune.scheduler != "pbt":
            self.scheduler.on_trial_add(None, self.trial)
        plan = TrialPlan(sweep=self.sweep, named=self.sweep.records, cpus=1, ingest="memory", started=started)
        with suppress(SystemExit):
            pretend(config, plan=plan)
        self.watch.on_trial_complete(0, [], self.trial)
        return read_result(self.sweep.folder / f"trial-{number:05d}")


@dataclasses.dataclass
class _Held:
    folder: Path

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        yield str(self.folder)


def done(sweep: Sweep) -> dict[str, list[int]]:
    return {path.parent.name: epochs_done(path.parent) for path in sorted(Path(str(sweep.folder)).glob("*/done.txt"))}


def test_a_trial_that_asha_ends_is_final(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(sweep, monkeypatch)
    first = [player.run(number, rate) for number, rate in enumerate(RATES)]
    assert [result.status for result in first] == ["finished", *["stopped early"] * 5]
    for result in first:
        folder = sweep.folder / result.name
        assert result.epochs == len(read_history(folder)) == epochs_done(Path(str(folder)))[-1]
        assert (folder / "best.weights.h5").read_text() == f"{result.name} {result.best_epoch}"

    # The driver is called again: nothing is trained, and a new trial meets the rungs as they were.
    before = done(sweep)
    again = Player(sweep, monkeypatch)
    assert [again.run(number, rate) for number, rate in enumerate(RATES)] == first
    assert done(sweep) == before
    assert again.run(6, 1e-4).epochs == 1
    assert Player(sweep, monkeypatch).run(7, 1e-4).epochs == EPOCHS  # of rungs it does not know


def test_a_trial_that_was_killed_goes_on_where_it_was(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    player = Player(dataclasses.replace(sweep, tune=TuneConfig()), monkeypatch)
    monkeypatch.setattr(player.scheduler, "on_trial_result", lambda _, trial, metrics: killed_at(4, metrics))
    with pytest.raises(KeyboardInterrupt):
        player.run(0, 1e-2)
    assert not (sweep.folder / "trial-00000" / "result.json").exists()
    again = Player(dataclasses.replace(sweep, tune=TuneConfig()), monkeypatch)
    assert again.run(0, 1e-2).status == "finished"
    assert done(sweep)["trial-00000"] == list(range(1, EPOCHS + 1))


def killed_at(epoch: int, metrics: dict[str, Any]) -> str:
    if metrics["epoch"] == epoch:
        raise KeyboardInterrupt
    return str(tune.schedulers.TrialScheduler.CONTINUE)


def test_a_trial_takes_over_weights_history_and_settings(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = dataclasses.replace(sweep, tune=TuneConfig(scheduler="pbt", rung_epochs=2))
    player = Player(sweep, monkeypatch)
    # The weak trial has made two epochs when it is told to go on from the donor's fourth, with a changed rate.
    monkeypatch.setattr(tune, "report", lambda metrics, checkpoint=None: stop_after(2, metrics))
    with pytest.raises(SystemExit):
        trial_of(player, 1, 1.0)
    monkeypatch.setattr(tune, "report", lambda metrics, checkpoint=None: stop_after(4, metrics))
    with pytest.raises(SystemExit):
        trial_of(player, 2, 1e-2)
    player.checkpoint = player.kept
    monkeypatch.setattr(tune, "report", player.report)
    taken = player.run(1, 1.2e-2)
    folder = sweep.folder / "trial-00001"
    own, source = read_history(folder), read_history(sweep.folder / "trial-00002")
    assert [row.val_dice for row in own[:3]] == [row.val_dice for row in source[:3]]
    assert [row.epoch for row in own] == list(range(1, EPOCHS + 1))
    assert done(sweep)["trial-00001"] == [1, 2, *range(5, EPOCHS + 1)]
    assert taken.config["learning_rate"] == read_yaml(folder / "config.yaml")["learning_rate"] == 1.2e-2
    (event,) = [event for event in read_events(folder) if event.kind == "exploit"]
    assert (event.epoch, event.facts["source"], event.facts["learning_rate"]) == (4, "trial-00002", 1.2e-2)
    # The donor's fourth epoch is better than all that came after: its weights came along.
    assert (taken.best_epoch, (folder / "best.weights.h5").read_text()) == (4, "trial-00002 4")


def trial_of(player: Player, number: int, rate: float) -> None:
    player.trial = SimpleNamespace(trial_id=f"x_{number:05d}", config={"learning_rate": rate}, last_result={})
    pretend(
        player.trial.config,
        plan=TrialPlan(sweep=player.sweep, named=player.sweep.records, cpus=1, ingest="memory", started="2000"),
    )


def stop_after(epoch: int, metrics: dict[str, Any]) -> None:
    if metrics["epoch"] == epoch:
        raise SystemExit


def test_a_trial_that_failed_is_not_tried_again_by_the_same_call(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    from lvseg.errors import LvsegError, TrainingError

    player = Player(sweep, monkeypatch)

    def fail(*_: object) -> None:
        raise TrainingError("loss is not finite")

    plan = TrialPlan(sweep=sweep, named=sweep.records, cpus=1, ingest="memory", started="2000")
    player.trial = SimpleNamespace(trial_id="x_00000", config={"learning_rate": 0.1}, last_result={})
    with pytest.raises(TrainingError, match="not finite"):
        room.run_trial(player.trial.config, plan=plan, train=fail)
    with pytest.raises(LvsegError, match="not finite"):
        pretend(player.trial.config, plan=plan)
    assert read_result(sweep.folder / "trial-00000").error == "loss is not finite"
    assert read_manifest(sweep.records)
    assert player.run(0, 0.1, started="2999").epochs >= 1  # a later call tries it again
