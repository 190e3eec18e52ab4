"""One run on Ray Train: a group of workers under MultiWorkerMirroredStrategy."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray.train
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from lvseg.config import TrainConfig
from lvseg.distributed.ingest import Tables, choose_ingest, read_shards, taken
from lvseg.distributed.lost_workers import LostWorkers
from lvseg.distributed.metrics import RunGauges
from lvseg.distributed.patience import patience
from lvseg.distributed.placement import live_nodes, require_place, share_of_cpus, wanted
from lvseg.distributed.session import is_private_cluster, worker_environment
from lvseg.distributed.storage import everywhere, ray_storage
from lvseg.distributed.tensorflow_backend import TensorflowBackendConfig
from lvseg.errors import TrainingError
from lvseg.ledger import run_path
from lvseg.quiet import import_keras
from lvseg.results import RunResult
from lvseg.run_folder import (
    CHECKPOINTS_NAME,
    Run,
    at_signal,
    close_run,
    fail_run,
    finish_run,
    open_run,
    request_stop,
    stop_is_requested,
)
from lvseg.slices import CLASSES
from lvseg.store import UPath, is_local, remove_tree
from lvseg.training.context import CHECKPOINT_PREFIX, checkpoint_name
from lvseg.training.order import even_bounds
from lvseg.training.portion import Mode, split_facts
from lvseg.training.state import Outcome

if TYPE_CHECKING:
    from lvseg.training.context import Shard
    from lvseg.training.monitor import Listener, Monitor

STOP_POLL_S, REMOTE_STOP_POLL_S = 1.0, 10.0
"""Time between two looks for a request to stop, in a folder and in an object store."""
NOTICE_POLL_S = 5.0
"""Time between two questions whether a node is about to be lost."""
START_ATTEMPTS = 90
"""How often Ray tries to place and start the workers, ``START_TIMEOUT_S`` each, before the run fails: half an hour."""


class TrainContext:
    """The loop's ``RunContext`` inside a Ray Train worker."""

    def __init__(self, folder: UPath) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self._folder = folder
        self._stop_poll = STOP_POLL_S if is_local(folder) else REMOTE_STOP_POLL_S
        self._looked = self._asked = time.monotonic()
        self._stop = False
        self._lost: set[str] = set()

    def must_stop(self) -> bool:
        """Whether the run's folder says so; rank 0 looks, now and then."""
        if self.rank == 0 and not self._stop and time.monotonic() - self._looked >= self._stop_poll:
            self._looked = time.monotonic()
            self._stop = stop_is_requested(self._folder)
        return self._stop

    def wants_look(self) -> bool:
        """Now and then, on rank 0: asking costs all workers a message."""
        due = self.rank == 0 and time.monotonic() - self._asked >= NOTICE_POLL_S
        self._asked = time.monotonic() if due else self._asked
        return due

    def must_save(self) -> bool:
        """Whether Ray has learnt of one more node that will be taken away: a spot node, or one that is drained."""
        info = ray.train.get_preemption_info()
        lost = set(info.preempted_node_ids) if info else set()
        more = bool(lost - self._lost)
        self._lost |= lost
        return more

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """The last registered checkpoint."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
        else:
            with checkpoint.as_directory() as folder:
                yield Path(folder)

    def report(self, metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        """Report to the controller."""
        kept = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
        ray.train.report(dict(metrics), checkpoint=kept, checkpoint_dir_name=checkpoint_name(metrics["epoch"]))


def _say_nothing(_: str) -> None:
    pass


def run_training(
    run: Run,
    callbacks: list[Any] | None = None,
    ingest: Mode | None = None,
    say: Callable[[str], None] = _say_nothing,
) -> RunResult:
    """Train a run to its end, or on from its last checkpoint; needs a Ray session.

    Args:
        run: Folder, settings and records.
        callbacks: Ray Train callbacks, such as a sweep's.
        ingest: Where workers keep their images, where that was chosen already.
        say: Called with a line about that choice.

    Raises:
        ConfigError: the workers cannot be had, or do not fit the data.
        RunError: the run's name belongs to another run.
        StoppedError: the run was told to stop; its state is saved.
        TrainingError: the training failed; the run's ``result.json`` says so too.
    """
    run.check_fits()
    run = run.settled()
    config = run.config
    nodes, want = live_nodes(), wanted(config)
    if is_private_cluster():  # one that may grow is asked later, by the placement itself
        require_place(nodes, replace(want, workers=config.min_workers or want.workers), config.cpus_per_worker or 1)
    finished = open_run(run)
    if finished is not None:
        return finished
    if ingest is None:
        plan = choose_ingest(config.ingest, run.data, run.records, config.min_workers or config.workers)
        ingest = plan.mode
        say(str(plan))
    cpus = config.cpus_per_worker or share_of_cpus(nodes, want)
    say(_described(config, cpus))
    try:
        with (
            at_signal(signal.SIGTERM, lambda: request_stop(run.folder)),
            patience(config.workers, config.collective_timeout_s),
        ):
            result = _fit(run, ingest, cpus, callbacks or [])
    except TrainingFailedError as error:
        message = one_line(error)
        fail_run(run, message)
        raise TrainingError(f"run {run.name} failed: {message}") from None
    if result.return_value is None:
        fail_run(run, "the workers ended without a result")
        raise TrainingError(f"run {run.name} failed: the workers ended without a result")
    outcome = Outcome(**result.return_value)

    def finish() -> RunResult:
        with _best_checkpoint(result, outcome) as folder:
            finished = finish_run(run, outcome, folder)
        _remove_orphans(run, result)
        return finished

    return close_run(run, outcome, finish)


def _described(config: TrainConfig, cpus: int) -> str:
    """How a run's work is shared out, one line."""
    workers = f"{config.min_workers} to {config.workers}" if config.min_workers else str(config.workers)
    share = even_bounds(config.batch_size, config.workers)
    each = "-".join(str(size) for size in sorted({int(size) for size in np.diff(share)}))
    device = f"{config.gpus_per_worker} GPU(s)" if config.gpu else f"{cpus} CPU(s)"
    return (
        f"workers {workers}, each with {device} and {each} of the batch's {config.batch_size} images; "
        f"{config.precision}, up to {config.steps_per_call} steps a call"
    )


def _remove_orphans(run: Run, result: ray.train.Result) -> None:
    """Delete checkpoints that were uploaded but never registered, because a worker died in between."""
    best = [checkpoint for checkpoint, _ in result.best_checkpoints or []]
    kept = {Path(checkpoint.path).name for checkpoint in (result.checkpoint, *best) if checkpoint is not None}
    with suppress(OSError):
        for folder in (run.folder / CHECKPOINTS_NAME).iterdir():
            if folder.name.startswith(CHECKPOINT_PREFIX) and folder.name not in kept:
                remove_tree(folder)


@contextmanager
def _best_checkpoint(result: ray.train.Result, outcome: Outcome) -> Iterator[Path | None]:
    kept = result.best_checkpoints or []
    best = next((checkpoint for checkpoint, metrics in kept if metrics["best_mark"] == outcome.state.best_epoch), None)
    if best is None:
        yield None
    else:
        with best.as_directory() as folder:
            yield Path(folder)


class _Trainer(DataParallelTrainer):  # type: ignore[misc]
    """Without helpers of Ray Train that a run has no use for: each starts a process beside the workers'."""

    def __init__(self, *args: Any, needless: tuple[type, ...], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._needless = needless
        self.interrupted = False
        """By Ctrl-C, which ends the controller."""

    def _create_default_callbacks(self) -> list[Any]:
        return [each for each in super()._create_default_callbacks() if not isinstance(each, self._needless)]

    def _register_sigint_handler(self, controller: Any) -> None:
        super()._register_sigint_handler(controller)
        abort = signal.getsignal(signal.SIGINT)

        def interrupt(*received: Any) -> None:
            self.interrupted = True
            abort(*received)  # type: ignore[misc, operator]

        signal.signal(signal.SIGINT, interrupt)


def _fit(run: Run, ingest: Mode, cpus: int, callbacks: list[Any]) -> ray.train.Result:
    config, data, want = run.config, run.data, wanted(run.config)
    # A group that may change its size is not known before it starts: its workers read for themselves.
    read_ahead = ingest == "memory" and config.min_workers is None
    tables = read_shards(run.records, data, config.batch_size, config.workers) if read_ahead else None
    loop_config = {
        "config": config,
        "records": everywhere(run.records),
        "manifest": data,
        "ingest": ingest,
        "folder": everywhere(run.folder),
        "run": run_path(run.folder, run.sweep),
        "facts": split_facts(run.records, data),
        "threads": cpus,
    }
    trainer = _Trainer(
        # Not in the loop's settings, which Ray may keep for its dashboard: what they name would stay in memory.
        partial(train_worker, tables),
        # In a cluster of this run alone no place is left behind.
        needless=(DatasetsCallback, PlacementGroupCleanerCallback) if is_private_cluster() else (DatasetsCallback,),
        backend_config=TensorflowBackendConfig(),
        train_loop_config=loop_config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=(config.min_workers, config.workers) if config.min_workers else config.workers,
            use_gpu=config.gpu,
            resources_per_worker=want.bundle(cpus),
            placement_strategy=want.strategy,
            label_selector=dict(want.labels) or None,
        ),
        run_config=ray.train.RunConfig(
            **ray_storage(run.folder),
            name=CHECKPOINTS_NAME,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="best_mark"),
            failure_config=ray.train.FailureConfig(
                max_failures=config.max_failures, controller_failure_limit=START_ATTEMPTS
            ),
            callbacks=[LostWorkers(everywhere(run.folder)), *callbacks],
            worker_runtime_env={"env_vars": worker_environment()},
        ),
    )
    return _fit_interruptible(trainer)


def _fit_interruptible(trainer: _Trainer) -> ray.train.Result:
    """Fit; Ctrl-C ends it as everywhere else in Python.

    Ray's own handler ends the controller and exits, stays in place, and where the main thread waits inside of Ray what
    comes of it may be any error.
    """
    if threading.current_thread() is not threading.main_thread():
        return trainer.fit()
    handler = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    except BaseException:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


def train_worker(tables: list[tuple[Tables, Tables]] | None, loop_config: dict[str, Any]) -> dict[str, Any] | None:
    """What each worker does; rank 0 gives back the fields of ``Outcome``.

    Args:
        tables: Training and validation rows of every rank, where they were read already.
        loop_config: The rest.
    """
    import_keras()
    from lvseg.training.loop import configure_threads, train
    from lvseg.training.monitor import Monitor
    from lvseg.training.shards import open_shard
    from lvseg.training.strategy import make_strategy

    config, records, manifest = loop_config["config"], loop_config["records"], loop_config["manifest"]
    configure_threads(loop_config["threads"])
    context = TrainContext(loop_config["folder"])
    strategy = make_strategy(config, context.world_size)
    chief = context.rank == 0
    monitor = _monitor(loop_config) if chief else Monitor()

    def load_shard() -> Shard:
        return open_shard(
            loop_config["ingest"],
            records,
            manifest,
            config,
            loop_config["facts"],
            workers=context.world_size,
            rank=context.rank,
            tables=(taken(tables[context.rank][0]), taken(tables[context.rank][1])) if tables else None,
        )

    classes = CLASSES[manifest.structures]
    images = loop_config["facts"]["train_images"]
    outcome = train(config, manifest.image_shape(records), images, load_shard, context, monitor, strategy, classes)
    return {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__} if chief else None


def _monitor(loop_config: dict[str, Any]) -> Monitor:
    from lvseg.training.mlflow import mlflow_listeners
    from lvseg.training.monitor import FolderMonitor

    config, folder = loop_config["config"], loop_config["folder"]
    listeners: list[Listener] = [
        RunGauges(loop_config["run"]),
        *mlflow_listeners(config, folder, loop_config["records"]),
    ]
    return FolderMonitor(folder, config.epochs, config.picture_every, listeners)


def one_line(error: BaseException) -> str:
    """The last line of the first worker's error, or of the error itself."""
    failures = getattr(error, "worker_failures", None) or {}
    first = next(iter(failures.values()), error)
    lines = [line.strip() for line in str(first).splitlines() if line.strip()]
    return lines[-1] if lines else type(first).__name__
