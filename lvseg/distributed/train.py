"""One run on Ray Train: a group of workers under MultiWorkerMirroredStrategy."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train
from ray.train.v2.api.exceptions import TrainingFailedError

from lvseg.config import IMAGE_SIDE_MULTIPLE
from lvseg.distributed.ingest import RowsOfEachWorker, choose_ingest, read_shards
from lvseg.distributed.lost_workers import LostWorkers
from lvseg.distributed.session import cpus_for_each_worker, quiet_environment, require_resources
from lvseg.distributed.storage import everywhere, ray_storage
from lvseg.errors import ConfigError, RecordsError, TrainingError
from lvseg.quiet import import_quietly
from lvseg.records.course_tfrecord import REFUSAL
from lvseg.results import RunResult
from lvseg.run_folder import CHECKPOINTS_NAME, Run, fail_run, finish_run, open_run
from lvseg.slices import CLASSES
from lvseg.store import remove_tree
from lvseg.training.context import CHECKPOINT_PREFIX, checkpoint_name
from lvseg.training.order import training_rows
from lvseg.training.portion import Mode, split_facts
from lvseg.training.state import Outcome

if TYPE_CHECKING:
    import tensorflow as tf

    from lvseg.training.context import Shard

COLLECTIVE_TIMEOUT_S = 600
"""A worker that hears nothing from the others for so long gives up, and the group is restarted."""
START_ATTEMPTS = 30
"""How often Ray tries to place and start the workers, a minute each, before the run fails."""


class TrainContext:
    """The loop's ``RunContext`` inside a Ray Train worker."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()

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
        TrainingError: the training failed; the run's ``result.json`` says so too.
    """
    check_fits(run)
    require_resources(run.config.workers, run.config.cpus_per_worker or 1, int(run.config.gpu))
    finished = open_run(run)
    if finished is not None:
        return finished
    if ingest is None:
        plan = choose_ingest(run.config.ingest, run.data, run.records, run.config.workers)
        ingest = plan.mode
        say(str(plan))
    try:
        result = _fit(run, ingest, callbacks or [])
    except TrainingFailedError as error:
        message = one_line(error)
        fail_run(run, message)
        raise TrainingError(f"run {run.name} failed: {message}") from None
    if result.return_value is None:
        fail_run(run, "the workers ended without a result")
        raise TrainingError(f"run {run.name} failed: the workers ended without a result")
    outcome = Outcome(**result.return_value)
    with _best_checkpoint(result, outcome) as folder:
        finished = finish_run(run, outcome, folder)
    _remove_orphans(run, result)
    if outcome.error:
        raise TrainingError(f"run {run.name} failed: {outcome.error}")
    return finished


def _remove_orphans(run: Run, result: ray.train.Result) -> None:
    """Delete checkpoints that were uploaded but never registered, because a worker died in between."""
    kept = {Path(checkpoint.path).name for checkpoint, _ in result.best_checkpoints or []}
    with suppress(OSError):
        for folder in (run.folder / CHECKPOINTS_NAME).iterdir():
            if folder.name.startswith(CHECKPOINT_PREFIX) and folder.name not in kept:
                remove_tree(folder)


@contextmanager
def _best_checkpoint(result: ray.train.Result, outcome: Outcome) -> Iterator[Path | None]:
    kept = result.best_checkpoints or []
    best = next((checkpoint for checkpoint, metrics in kept if metrics["epoch"] == outcome.state.best_epoch), None)
    if best is None:
        yield None
    else:
        with best.as_directory() as folder:
            yield Path(folder)


def check_fits(run: Run) -> None:
    """Refuse before anything starts what cannot work; needs no Ray session.

    Raises:
        ConfigError: more workers than images, or a size that the model cannot take.
        RecordsError: an empty part, images of several sizes, no such fold, or records that are not for training.
    """
    if run.manifest.format == "course-tfrecord":
        raise RecordsError(f"{run.records}: {REFUSAL}")
    data = run.data
    shape = data.image_shape(run.records)
    data.part("val", run.records)
    training_rows(data.part("train", run.records).images, run.config.batch_size, run.config.workers, 0)
    if any(side % IMAGE_SIDE_MULTIPLE for side in shape):
        found = f"{run.records} has {shape[0]}x{shape[1]}"
        raise ConfigError(f"models need images whose sides are multiples of {IMAGE_SIDE_MULTIPLE}, {found}")


def _fit(run: Run, ingest: Mode, callbacks: list[Any]) -> ray.train.Result:
    import_quietly("ray.train.tensorflow")  # takes seconds: loads TensorFlow
    from ray.train.tensorflow import TensorflowTrainer

    config, data = run.config, run.data
    shards = read_shards(run.records, data, config.batch_size, config.workers) if ingest == "memory" else {}
    cpus = config.cpus_per_worker or cpus_for_each_worker(config.workers, config.gpu)
    loop_config = {
        "config": config,
        "records": everywhere(run.records),
        "manifest": data,
        "ingest": ingest,
        "folder": everywhere(run.folder),
        "facts": split_facts(run.records, data),
        "threads": cpus,
    }
    trainer = TensorflowTrainer(
        train_worker,
        train_loop_config=loop_config,
        # Only the names matter here: which rows go where is decided by RowsOfEachWorker.
        datasets={name: parts[0] for name, parts in shards.items()},
        dataset_config=RowsOfEachWorker(shards),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if config.gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            **ray_storage(run.folder),
            name=CHECKPOINTS_NAME,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="best_mark"),
            failure_config=ray.train.FailureConfig(
                max_failures=config.max_failures, controller_failure_limit=START_ATTEMPTS
            ),
            callbacks=[LostWorkers(everywhere(run.folder)), *callbacks],
            worker_runtime_env={"env_vars": quiet_environment()},
        ),
    )
    return _fit_interruptible(trainer)


def _fit_interruptible(trainer: Any) -> ray.train.Result:
    """Fit; Ctrl-C ends it as everywhere else in Python. Ray's own handler exits, and stays in place."""
    if threading.current_thread() is not threading.main_thread():
        return trainer.fit()
    handler = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, handler)


def train_worker(loop_config: dict[str, Any]) -> dict[str, Any] | None:
    """What each worker does; rank 0 gives back the fields of ``Outcome``."""
    from lvseg.training.loop import configure_threads, train
    from lvseg.training.monitor import FolderMonitor, Monitor
    from lvseg.training.shards import open_shard

    config, records, manifest = loop_config["config"], loop_config["records"], loop_config["manifest"]
    configure_threads(loop_config["threads"])
    strategy = _strategy()
    context = TrainContext()
    chief = context.rank == 0
    monitor = FolderMonitor(loop_config["folder"], config.epochs, config.picture_every) if chief else Monitor()

    def load_shard() -> Shard:
        return open_shard(
            loop_config["ingest"],
            records,
            manifest,
            config,
            loop_config["facts"],
            workers=context.world_size,
            rank=context.rank,
            tables=(_batches("train"), _batches("val")) if loop_config["ingest"] == "memory" else None,
        )

    classes = CLASSES[manifest.structures]
    outcome = train(config, manifest.image_shape(records), load_shard, context, monitor, strategy, classes)
    return {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__} if chief else None


def _strategy() -> tf.distribute.Strategy:
    import tensorflow as tf

    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=COLLECTIVE_TIMEOUT_S)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _batches(name: str) -> Any:
    return ray.train.get_dataset_shard(name).iter_batches(batch_size=None, batch_format="pyarrow")


def one_line(error: BaseException) -> str:
    """The last line of the first worker's error, or of the error itself."""
    failures = getattr(error, "worker_failures", None) or {}
    first = next(iter(failures.values()), error)
    lines = [line.strip() for line in str(first).splitlines() if line.strip()]
    return lines[-1] if lines else type(first).__name__
