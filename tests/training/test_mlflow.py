"""Logging to MLflow: into a store of files, and into nothing."""

import logging
import math
from pathlib import Path

import pytest

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.results import EpochRow
from lvseg.store import UPath
from lvseg.training.mlflow import MlflowListener, mlflow_listeners, require_mlflow

mlflow = pytest.importorskip("mlflow")


def row(epoch: int, **changes: float) -> EpochRow:
    numbers = {name: 0.5 for name in EpochRow.__dataclass_fields__ if name not in ("epoch", "val_dice_myocardium")}
    return EpochRow(epoch=epoch, **(numbers | {"val_dice": epoch / 10} | changes))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return uri


def log(folder: Path, rows: list[EpochRow], *, done: bool) -> None:
    (listener,) = mlflow_listeners(TrainConfig(mlflow="hearts", learning_rate=0.01), UPath(folder), UPath("records"))
    for one in rows:
        listener.epoch_done(one)
    listener.close(done=done)


def test_a_run_and_its_resumption_are_one_run_there(store: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs/one"
    folder.mkdir(parents=True)
    log(folder, [row(1), row(2, val_loss=math.nan)], done=False)
    log(folder, [row(3)], done=True)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("hearts").experiment_id])
    assert run.info.run_name == "one"
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.01"
    assert "workers" not in run.data.params, "only what decides the result"
    assert "mlflow" not in run.data.params
    assert run.data.tags["lvseg.folder"] == str(folder)
    history = client.get_metric_history(run.info.run_id, "val_dice")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")] == [1, 3]


def test_a_dead_server_costs_one_warning(tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING, "lvseg"):
        log(tmp_path, [row(1), row(2), row(3)], done=True)
    (warning,) = (record.getMessage() for record in caplog.records if record.name == "lvseg")
    assert "unwritten=mlflow" in warning


def test_epochs_that_the_server_missed_come_with_the_next_one(store: str, tmp_path: Path, monkeypatch) -> None:
    failures = iter([True, False, False])
    real = MlflowListener._open

    def open_or_fail(self: MlflowListener, client: object) -> str:
        if next(failures):
            raise OSError("away")
        return real(self, client)

    monkeypatch.setattr(MlflowListener, "_open", open_or_fail)
    log(tmp_path, [row(1), row(2)], done=True)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("hearts").experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "dice")) == 2


def test_it_is_off_unless_asked_for(tmp_path: Path, monkeypatch) -> None:
    assert mlflow_listeners(TrainConfig(), UPath(tmp_path), UPath("records")) == []
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    require_mlflow(TrainConfig())
    with pytest.raises(ConfigError, match=r"pip install 'lvseg\[mlflow\]'"):
        require_mlflow(TrainConfig(mlflow="hearts"))
