"""A run's own folder: claimed before the run, filled by it, closed with its result."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from lvseg import __version__
from lvseg.config import (
    EXECUTION_FIELDS,
    IMAGE_SIDE_MULTIPLE,
    LabelConvention,
    PreprocessConfig,
    SplitMethod,
    Structures,
    TrainConfig,
    from_mapping,
    read_yaml,
)
from lvseg.errors import ConfigError, RecordsError, RunError, StoppedError, TrainingError
from lvseg.ledger import report
from lvseg.records import Manifest
from lvseg.records.course_tfrecord import REFUSAL
from lvseg.records.folds import for_run
from lvseg.results import ORIGIN_FILE, RESULT_FILE, EpochRow, RunResult, read_result
from lvseg.slices import CLASSES
from lvseg.store import UPath, copy_file, write_text
from lvseg.training.order import training_rows
from lvseg.training.precision import with_precision
from lvseg.training.state import CHECKPOINT_WEIGHTS, Outcome, RunState
from lvseg.training.status import record_event
from lvseg.versions import versions

CONFIG_NAME = "config.yaml"
ORIGIN_NAME = ORIGIN_FILE
WEIGHTS_NAME = "best.weights.h5"
CHECKPOINTS_NAME = "checkpoints"
STOP_NAME = "stop"
"""While this file is in a run's folder, the run saves its state and stops."""

RECIPE = ("model", "epochs", "batch_size", "learning_rate", "decay_rate", "decay_steps")
"""Settings that a run's command always names, so that it means the same after a default has changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run and its folder."""

    folder: UPath
    """``RUNS/NAME``, or ``RUNS/SWEEP/TRIAL``; on storage that every worker sees."""
    config: TrainConfig
    """What it trains."""
    records: UPath
    """The record set."""
    manifest: Manifest
    """Its facts, as they are in its file."""
    sweep: str | None = None
    """The sweep it belongs to."""
    named: UPath | None = None
    """The record set as the user named it, where ``records`` says the same for other working folders."""

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def data(self) -> Manifest:
        """The manifest with the parts train and val, whatever the split.

        Raises:
            RecordsError: the configuration's fold does not fit the records.
        """
        return for_run(self.manifest, self.records, self.config.fold, self.config.folds)

    def check_fits(self) -> None:
        """Refuse before anything starts what cannot work.

        Raises:
            ConfigError: more workers than images, or a size that the model cannot take.
            RecordsError: an empty part, images of several sizes, no such fold, or records that are not for training.
        """
        if self.manifest.format == "course-tfrecord":
            raise RecordsError(f"{self.records}: {REFUSAL}")
        data, config = self.data, self.config
        shape = data.image_shape(self.records)
        data.part("val", self.records)
        training_rows(data.part("train", self.records).images, config.batch_size, max(1, config.workers), 0)
        if any(side % IMAGE_SIDE_MULTIPLE for side in shape):
            found = f"{self.records} has {shape[0]}x{shape[1]}"
            raise ConfigError(f"models need images whose sides are multiples of {IMAGE_SIDE_MULTIPLE}, {found}")
        if config.class_weights is not None and len(config.class_weights) != CLASSES[data.structures]:
            raise ConfigError(
                f"class_weights must be {CLASSES[data.structures]} numbers for records of {data.structures}, "
                f"got {len(config.class_weights)}"
            )

    def settled(self) -> Run:
        """The run with a definite precision: what it had so far, or what suits this machine."""
        before = read_yaml(self.folder / CONFIG_NAME).get("precision") if (self.folder / CONFIG_NAME).exists() else None
        return dataclasses.replace(self, config=with_precision(self.config, before))

    def command(self) -> str:
        """The shell command that makes this run again."""
        records = shlex.quote(str(self.named or self.records))
        return f"lvseg train {records} {' '.join(changed_flags(self.config))}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a run was trained on; the content of ``run.json``."""

    records: str
    """The record set."""
    records_sha256: str
    """Its identity."""
    labels: LabelConvention
    """Its label convention."""
    structures: Structures = "endo"
    """Its classes."""
    shape: tuple[int, int] | None = None
    """Rows and columns of its images; None of runs of earlier versions."""
    preprocessing: PreprocessConfig | None = None
    """What was done to them, to be repeated before a prediction; None of runs of earlier versions."""
    lvseg: str = __version__
    """The code that trained."""


def read_origin(folder: UPath) -> Origin:
    """What the run in a folder was trained on.

    Raises:
        RunError: the folder's ``run.json`` is missing or damaged.
    """
    path = folder / ORIGIN_NAME
    try:
        return TypeAdapter(Origin).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise RunError(f"{path}: damaged or missing, expected the run's records; choose another name") from None


def default_name(model: str) -> str:
    """A name for a run that was given none: model and UTC time."""
    return f"{model}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def changed_flags(config: TrainConfig) -> Iterable[str]:
    """The recipe, and the other settings that differ from the defaults, as command-line flags."""
    for field in dataclasses.fields(TrainConfig):
        value = getattr(config, field.name)
        if field.name not in RECIPE and value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield f"--{flag} {shlex.quote(str(value))}"


def read_config(run: UPath) -> TrainConfig:
    """The settings of the run in a folder.

    Raises:
        RunError: no run there.
        ConfigError: damaged settings.
    """
    if not (run / CONFIG_NAME).is_file():
        raise RunError(f"{run}: not a run folder: no {CONFIG_NAME} there")
    return from_mapping(TrainConfig, read_yaml(run / CONFIG_NAME))


def best_weights(run: UPath) -> UPath:
    """The file of a finished run's best weights.

    Raises:
        RunError: it is not there.
    """
    weights = run / WEIGHTS_NAME
    if not weights.is_file():
        raise RunError(f"{run}: has no {WEIGHTS_NAME}: the run has not finished")
    return weights


def open_run(run: Run) -> RunResult | None:
    """Claim the folder: write the configuration, or check that the one there is the same.

    Returns:
        The result, where the run has finished already; None where there is work to do.

    Raises:
        RunError: the name is taken by a run with another configuration or other records, or
            the folder cannot be written.
    """
    origin = Origin(
        records=str(run.named or run.records),
        records_sha256=run.manifest.records_sha256,
        labels=run.manifest.labels,
        structures=run.manifest.structures,
        shape=run.manifest.image_shape(run.records) if len(run.manifest.shapes) == 1 else None,
        preprocessing=run.manifest.preprocessing,
    )
    try:
        if (run.folder / ORIGIN_NAME).exists():
            _require_same(run)
        elif run.folder.exists() and any(run.folder.iterdir()):
            raise RunError(f"{run.folder}: holds other files, not a run; choose another name")
        if (run.folder / RESULT_FILE).exists():
            result = read_result(run.folder)
            if result.status != "failed":
                return result
            (run.folder / RESULT_FILE).unlink()
        if (run.folder / STOP_NAME).exists():
            (run.folder / STOP_NAME).unlink()
        settings = yaml.safe_dump(dataclasses.asdict(run.config), sort_keys=False)
        write_text(run.folder / CONFIG_NAME, settings)
        write_text(run.folder / ORIGIN_NAME, json.dumps(dataclasses.asdict(origin), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{run.folder}: cannot be written: {error.strerror or error}") from None
    return None


def _require_same(run: Run) -> None:
    origin = read_origin(run.folder)
    if origin.records_sha256 != run.manifest.records_sha256:
        raise RunError(f"run {run.name} was trained on other records ({origin.records}); choose another name")
    before = read_yaml(run.folder / CONFIG_NAME)
    now = yaml.safe_load(yaml.safe_dump(dataclasses.asdict(run.config)))  # a tuple is a list in the file
    differing = [key for key in now if key not in EXECUTION_FIELDS and before.get(key) != now[key]]
    if differing:
        changes = ", ".join(f"{key} was {before.get(key)}, is {now[key]}" for key in differing)
        raise RunError(f"run name {run.name} is taken by another configuration ({changes}); choose another name")


def request_stop(folder: UPath) -> None:
    """Have the run in a folder save its state and stop, wherever its workers are."""
    write_text(folder / STOP_NAME, "")


@contextmanager
def at_signal(number: signal.Signals, call: Callable[[], None]) -> Iterator[None]:
    """For the length of the block a signal makes a call; only a main thread hears signals.

    SIGTERM comes from Slurm, Kubernetes or an operator, SIGINT from Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: call())
    try:
        yield
    finally:
        signal.signal(number, before)


def stop_is_requested(folder: UPath) -> bool:
    """Whether the run in a folder has been told to stop; an unreachable store says nothing."""
    try:
        return bool((folder / STOP_NAME).exists())
    except OSError:
        return False


def close_run(run: Run, outcome: Outcome, finish: Callable[[], RunResult]) -> RunResult:
    """Write the result of a run that has ended; one that was stopped has none.

    Raises:
        StoppedError: the run was told to stop.
        TrainingError: the run cannot go on.
    """
    if outcome.stopped:
        step = f", step {outcome.state.step}" if outcome.state.step else ""
        raise StoppedError(
            f"run {run.name} was told to stop: saved after epoch {outcome.state.epoch}{step}; "
            "the same command with the same --name goes on"
        )
    result = finish()
    if outcome.error:
        raise TrainingError(f"run {run.name} failed: {outcome.error}")
    return result


def finish_run(run: Run, outcome: Outcome, best_checkpoint: Path | UPath | None) -> RunResult:
    """Keep the best weights and write ``result.json``, of a finished or of a failed run."""
    sha256 = _keep_weights(run, best_checkpoint) if outcome.error is None else None
    return _end(run, dataclasses.replace(_result(run, outcome), weights_sha256=sha256))


def fail_run(run: Run, error: str) -> RunResult:
    """Write the ``result.json`` of a run that ended before it had anything to tell."""
    return _end(run, dataclasses.replace(_blank(run), status="failed", error=error))


def end_early(run: Run, state: RunState, best_checkpoint: UPath | None) -> RunResult:
    """Keep the best weights and write ``result.json`` of a trial that its sweep has ended before its last epoch."""
    sha256 = _keep_weights(run, best_checkpoint)
    outcome = Outcome(state=state)
    # A scheduler may have its say at the last epoch too.
    status: Literal["finished", "stopped early"] = "finished" if state.is_done(run.config) else "stopped early"
    return _end(run, dataclasses.replace(_result(run, outcome), status=status, weights_sha256=sha256))


def _keep_weights(run: Run, best_checkpoint: Path | UPath | None) -> str | None:
    """Copy the best weights to the run's folder; their hash."""
    if best_checkpoint is None:
        return None
    return copy_file(best_checkpoint / CHECKPOINT_WEIGHTS, run.folder / WEIGHTS_NAME)


def _end(run: Run, result: RunResult) -> RunResult:
    result.write(run.folder)
    report(run.folder, run.sweep, result=result)
    if result.status == "failed":
        record_event(run.folder, "failed", result.epochs, reason=result.error)
    else:
        best = {"val_dice": result.val_dice, "best_epoch": result.best_epoch, "seconds": result.seconds}
        record_event(run.folder, "finished", result.epochs, **best)
    return result


def _result(run: Run, outcome: Outcome) -> RunResult:
    rows = outcome.state.rows()
    best = rows[outcome.state.best_epoch - 1] if outcome.state.best_epoch else None
    return dataclasses.replace(
        _blank(run),
        status="failed" if outcome.error else "finished",
        error=outcome.error,
        parameters=outcome.state.parameters,
        val_dice=best.val_dice if best else float("nan"),
        val_dice_pooled=best.val_dice_pooled if best else float("nan"),
        val_dice_undefined=outcome.state.best_undefined,
        val_dice_by_case=outcome.state.best_by_case,
        val_counts_by_case=outcome.state.best_counts(),
        val_dice_myocardium=best.val_dice_myocardium if best else None,
        best_epoch=best.epoch if best else None,
        epochs=len(rows),
        seconds=sum(row.seconds for row in rows),
        images_per_second=typical_speed(rows),
    )


def typical_speed(rows: list[EpochRow]) -> float:
    """Median training images/s; the first epoch, which compiles, counts only if there is no other."""
    speeds = [row.images_per_second for row in rows]
    return statistics.median(speeds[1:] or speeds) if speeds else float("nan")


def _blank(run: Run) -> RunResult:
    return RunResult(
        name=run.name,
        sweep=run.sweep,
        status="finished",
        model=run.config.model,
        workers=run.config.workers,
        train_images=_images(run, "train"),
        val_images=_images(run, "val"),
        labels=run.manifest.labels,
        split=_split(run),
        records_sha256=run.manifest.records_sha256,
        config=json.loads(json.dumps(dataclasses.asdict(run.config))),  # as it reads from the file: a tuple is a list
        command=run.command(),
        versions=versions(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _split(run: Run) -> SplitMethod:
    """As the run was split: in folds by patient, whatever the records are."""
    return "kfold" if run.config.folds is not None else run.manifest.split


def _images(run: Run, split: str) -> int:
    try:
        return run.data.part(split, run.records).images
    except RecordsError:
        return 0  # of a run that failed because of it
