"""Logs a run to MLflow as well, where that is asked for: settings, every epoch's numbers, where the run's folder is."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.logs import make_line
from lvseg.results import EpochRow
from lvseg.store import UPath, write_text
from lvseg.training.status import RunProgress

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MLFLOW_FILE", "MlflowListener", "mlflow_listeners", "require_mlflow"]

MLFLOW_FILE = "mlflow.json"
"""In the run's folder: the run's id at MLflow, so that a run that resumes goes on there."""
CLOSE_S = 20.0
"""The longest that the end of a run waits for the server."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow by itself tries for minutes."""
_LONGEST_PARAMETER = 500

logger = logging.getLogger("lvseg")


def require_mlflow(config: TrainConfig) -> None:
    """Refuse before anything starts.

    Raises:
        ConfigError: logging is asked for, and MLflow is not installed.
    """
    if config.mlflow is None:
        return
    try:
        import mlflow  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(f"mlflow {config.mlflow!r} needs MLflow: pip install 'lvseg[mlflow]'") from None


def mlflow_listeners(config: TrainConfig, folder: UPath, records: UPath) -> list[MlflowListener]:
    """One listener where the run is to be logged, none otherwise."""
    return [] if config.mlflow is None else [MlflowListener(config.mlflow, config, folder, records)]


class MlflowListener:
    """A ``Listener`` that never waits for the server and never fails: what it cannot log it warns of, once.

    A thread of its own does the talking. Epochs that the server missed are sent with the next one.
    """

    def __init__(self, experiment: str, config: TrainConfig, folder: UPath, records: UPath) -> None:
        self._experiment, self._config, self._folder, self._records = experiment, config, folder, records
        self._waiting: queue.SimpleQueue[EpochRow | str] = queue.SimpleQueue()
        self._unsent: list[EpochRow] = []
        self._run_id: str | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="lvseg-mlflow", daemon=True)
        self._thread.start()

    def heard(self, progress: RunProgress) -> None:
        """Nothing: epochs are enough."""

    def epoch_done(self, row: EpochRow) -> None:
        """Have it sent."""
        self._waiting.put(row)

    def close(self, *, done: bool) -> None:
        """Send what is left, and end the run there; it stays open where training will go on."""
        self._waiting.put("FINISHED" if done else "SCHEDULED")
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while True:
            item = self._waiting.get()
            if isinstance(item, EpochRow):
                self._unsent.append(item)
            try:
                self._send(item if isinstance(item, str) else None)
            except Exception as error:  # whatever a server or its client may think of
                self._warn(error)
            if isinstance(item, str):
                return

    def _send(self, status: str | None) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        client = MlflowClient()
        if self._run_id is None:
            self._run_id = self._open(client)
        if self._unsent:
            client.log_batch(self._run_id, metrics=[metric for row in self._unsent for metric in _metrics(row)])
            self._unsent.clear()
        if status is not None:
            client.set_terminated(self._run_id, status)

    def _open(self, client: MlflowClient) -> str:
        """The run's id there: that of before, or a new one with settings and tags."""
        path = self._folder / MLFLOW_FILE
        if path.exists():
            run_id = str(json.loads(path.read_bytes())["run_id"])
            client.update_run(run_id, status="RUNNING")
            return run_id
        found = client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else client.create_experiment(self._experiment)
        # By reference: weights, pictures and tables stay where they are.
        tags = {"lvseg.folder": str(self._folder), "lvseg.records": str(self._records)}
        run = client.create_run(experiment, tags=tags, run_name=self._folder.name)
        client.log_batch(run.info.run_id, params=_parameters(self._config))
        write_text(path, json.dumps({"experiment": self._experiment, "run_id": run.info.run_id}) + "\n")
        return str(run.info.run_id)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            logger.warning(make_line("warning", run=self._folder.name, unwritten="mlflow", reason=reason))


def _parameters(config: TrainConfig) -> list[Any]:
    from mlflow.entities import Param

    return [
        Param(key, str(value)[:_LONGEST_PARAMETER]) for key, value in config.identity().items() if value is not None
    ]


def _metrics(row: EpochRow) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    numbers = {key: value for key, value in dataclasses.asdict(row).items() if key != "epoch" and value is not None}
    return [Metric(key, float(value), now, row.epoch) for key, value in numbers.items() if math.isfinite(value)]
