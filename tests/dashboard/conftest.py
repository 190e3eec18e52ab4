"""Run folders as training leaves them: finished, running and failed ones."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from lvseg.config import TrainConfig
from lvseg.results import RunResult, write_history
from lvseg.training.status import RunProgress, write_progress
from tests.report.conftest import RunFolders, _epoch

SHA = "5d41402abc4b2a76b9719d911017c592" * 2


class SweepFolders(RunFolders):
    """A sweep's trials, in ``RUNS/SWEEP/TRIAL``."""

    def trial(self, number: int, state: str = "finished", *, sweep: str = "rates", epochs: int = 6, **settings) -> Path:
        rate = 10.0 ** (-4 + number % 7 / 2)
        changed = {"learning_rate": rate, "optimizer": "sgd" if number % 2 else "adam"} | settings
        config = dataclasses.asdict(TrainConfig(epochs=epochs, **changed))
        name = f"trial-{number:05d}"
        place = RunFolders(self.runs / sweep)
        if state == "running":
            return self._running(self.runs / sweep / name, config)
        made = (
            place.add(name, dice=0.9 - number / 50, epochs=epochs, sweep=sweep, config=config)
            if state == "finished"
            else place.add_failed(name, "out of memory")
        )
        result = dataclasses.replace(_read(made), config=config, sweep=sweep)
        result.write(made)
        return made.rename(made.with_name(name))

    def _running(self, folder: Path, config: dict[str, object]) -> Path:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        origin = {"records": "records", "records_sha256": SHA, "labels": "centre"}
        (folder / "run.json").write_text(json.dumps(origin))
        self.go_on(folder, 2)
        return folder

    @staticmethod
    def go_on(folder: Path, epochs: int) -> None:
        write_history(folder, [_epoch(epoch, 0.7) for epoch in range(1, epochs + 1)])
        write_progress(folder, RunProgress(phase="training", epochs=6, epochs_done=epochs, images_per_second=20.0))


def _read(folder: Path) -> RunResult:
    from lvseg.results import read_result

    return read_result(folder)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolders:
    """Eight finished trials, one that runs, one that failed."""
    runs = tmp_path / "runs"
    runs.mkdir()
    folders = SweepFolders(runs)
    for number in range(8):
        folders.trial(number)
    folders.trial(8, "running")
    folders.trial(9, "failed")
    return folders
