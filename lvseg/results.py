"""The run folder: what a finished or failed run leaves behind, and how to read it.

::

    RUNS/NAME/                  a sweep's trials: RUNS/SWEEP/TRIAL/
    ├── config.yaml             settings of the run
    ├── run.json                what it is trained on
    ├── history.csv             one EpochRow an epoch
    ├── progress.json           RunProgress: how far it is
    ├── events.jsonl            start, resume, rollback …, one Event a line
    ├── result.json             RunResult; its presence says that the run has ended
    ├── pictures/epoch-0005.png rows of image | label | prediction; of an evaluation: evaluation-val-worst.png
    └── tensorboard/

Files are written whole or not at all, so a reader never meets half of one.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from lvseg.config import LabelConvention, SplitMethod
from lvseg.errors import RunError
from lvseg.store import UPath, write_text

__all__ = [
    "HISTORY_FILE",
    "ORIGIN_FILE",
    "RESULT_FILE",
    "TENSORBOARD_FOLDER",
    "CaseCounts",
    "EpochRow",
    "Number",
    "RunResult",
    "extremes_path",
    "last_picture",
    "picture_path",
    "read_history",
    "read_result",
    "write_history",
]

RESULT_FILE = "result.json"
HISTORY_FILE = "history.csv"
ORIGIN_FILE = "run.json"
"""What the run is trained on; there from its start."""
PICTURES_FOLDER = "pictures"
TENSORBOARD_FOLDER = "tensorboard"
ADDED_LATER = {"val_dice_myocardium", "val_counts_by_case", "weights_sha256"}
"""What files of earlier versions lack."""

logger = logging.getLogger(__name__)


def _nan_for_null(value: Any) -> Any:
    return math.nan if value is None else value


# JSON has no NaN: it is written as null and comes back as NaN.
Number = Annotated[float, BeforeValidator(_nan_for_null)]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseCounts:
    """Images and pixels of one case: with its mean Dice enough to compute every score over any set of cases."""

    images: int
    """Images whose Dice is defined; the mean over images weighs the case by them."""
    intersection: int
    """Pixels of the cavity in both prediction and label, over all images of the case."""
    predicted: int
    """Pixels of the cavity in the prediction."""
    labelled: int
    """Pixels of the cavity in the label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """How one run ended; the content of ``result.json``.

    A failed run keeps the defaults for what it never reached.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="null")

    schema: Literal[1] = 1
    """Version of this layout."""
    name: str
    """The run's name; the trial's name in a sweep."""
    status: Literal["finished", "failed", "stopped early"]
    """How the run ended; stopped early: a trial that its sweep has ended, as good as its best epoch."""
    error: str | None = None
    """Why a failed run failed, one line."""
    sweep: str | None = None
    """Name of the sweep that the run was a trial of."""
    model: str
    """Architecture."""
    parameters: int | None = None
    """Number of weights."""
    val_dice: Number = math.nan
    """Mean Dice over the validation images at the best epoch; images without label and prediction are left out."""
    val_dice_undefined: int = 0
    """Validation images left out of ``val_dice`` because label and prediction are both empty."""
    val_dice_pooled: Number = math.nan
    """Dice over all validation pixels together, at the best epoch."""
    val_dice_by_case: Mapping[str, Number] = dataclasses.field(default_factory=dict)
    """Mean Dice of every validation case, by case id."""
    val_counts_by_case: Mapping[str, CaseCounts] = dataclasses.field(default_factory=dict)
    """Images and pixels of every validation case at that epoch; empty in results of earlier versions."""
    val_dice_myocardium: float | None = None
    """Mean Dice of the myocardium at that epoch, where the records have it."""
    best_epoch: int | None = None
    """Epoch with the highest ``val_dice``, counted from 1."""
    epochs: int = 0
    """Epochs that were run."""
    workers: int
    """Training processes."""
    seconds: Number = math.nan
    """Wall-clock time of the run, s."""
    images_per_second: Number = math.nan
    """Training throughput over all workers, images/s."""
    train_images: int = 0
    """Images in the training part."""
    val_images: int = 0
    """Images in the validation part."""
    labels: LabelConvention
    """Label convention of the record set."""
    split: SplitMethod
    """How the record set was split."""
    records_sha256: str
    """Hash of the record set."""
    weights_sha256: str | None = None
    """Hash of the bytes of ``best.weights.h5``; None without weights, and in results of earlier versions."""
    config: Mapping[str, Any]
    """Settings of the run, as in ``config.yaml``."""
    command: str
    """Shell command that reproduces the run."""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Version of Python and of each package that matters."""
    finished_at: str
    """When the run ended, ISO 8601, UTC."""

    def to_json(self) -> str:
        """The content of ``result.json``; NaN becomes null."""
        return _RESULT.dump_json(self, indent=2, warnings="error").decode() + "\n"

    def write(self, folder: UPath) -> UPath:
        """Write ``result.json`` into the run's folder, which is made if it is not there; return its path."""
        path = folder / RESULT_FILE
        write_text(path, self.to_json())
        return path


_RESULT = TypeAdapter(RunResult)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRow:
    """One line of ``history.csv``; ``val_*`` over the whole validation part, the others over the training images."""

    epoch: int
    """Counted from 1."""
    learning_rate: float
    """At the epoch's last step."""
    loss: float
    accuracy: float
    dice: float
    """Pooled over the epoch's training images."""
    val_loss: float
    val_accuracy: float
    val_dice: float
    """Mean over images."""
    val_dice_pooled: float
    images_per_second: float
    seconds: float
    """Wall-clock time of the epoch, validation included."""
    val_dice_myocardium: float | None = None
    """Mean over images, where the records have myocardium; the other scores are of the cavity."""


_COLUMNS = [field.name for field in dataclasses.fields(EpochRow)]


def read_result(path: UPath) -> RunResult:
    """Read a ``result.json``; ``path`` is the file or the run's folder.

    Raises:
        RunError: the file is missing, is no JSON, or lacks or adds a key.
    """
    path = path / RESULT_FILE if path.is_dir() else path
    try:
        content = path.read_bytes()
        result = _RESULT.validate_json(content)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise RunError(f"{path}: not a run's result: {_first_fault(error)}") from None
    known = {field.name for field in dataclasses.fields(RunResult)} - ADDED_LATER
    missing = [
        field.name for field in dataclasses.fields(RunResult) if field.name in known - json.loads(content).keys()
    ]
    if missing:
        raise RunError(f"{path}: not a run's result: lacks {', '.join(missing)}")
    return result


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    field = ".".join(str(part) for part in faults[0]["loc"])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{field + ': ' if field else ''}{faults[0]['msg']}{more}"


def write_history(folder: UPath, rows: Iterable[EpochRow]) -> UPath:
    """Write ``history.csv`` whole; floats read back to the same bits. Returns its path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    # float() first: the repr of a NumPy scalar is not a number.
    writer.writerows([int(row.epoch), *(_number(getattr(row, name)) for name in _COLUMNS[1:])] for row in rows)
    path = folder / HISTORY_FILE
    write_text(path, text.getvalue())
    return path


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def read_history(folder: UPath) -> list[EpochRow]:
    """Read a run's ``history.csv``.

    Raises:
        RunError: the file is missing, has other columns, or a line that is not made of numbers.
    """
    path = folder / HISTORY_FILE
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: not a CSV file: {error}") from None
    if not lines or lines[0] not in (_COLUMNS, [name for name in _COLUMNS if name not in ADDED_LATER]):
        raise RunError(
            f"{path}: expected the columns {','.join(_COLUMNS)}, found {','.join(lines[0] if lines else [])!r}"
        )
    return [_parse_line(lines[0], line, f"{path}, line {number}") for number, line in enumerate(lines[1:], start=2)]


def _parse_line(columns: list[str], line: list[str], place: str) -> EpochRow:
    if len(line) != len(columns):
        raise RunError(f"{place}: expected {len(columns)} values, found {len(line)}")
    values = dict(zip(columns, line, strict=True))
    try:
        epoch, myocardium = int(values.pop("epoch")), values.pop("val_dice_myocardium", "")
        numbers = {name: float(value) for name, value in values.items()}
        return EpochRow(epoch=epoch, **numbers, val_dice_myocardium=float(myocardium) if myocardium else None)
    except ValueError as error:
        raise RunError(f"{place}: {error}") from None


def picture_path(folder: UPath, epoch: int) -> UPath:
    """Where the pictures of an epoch (counted from 1) lie in a run's folder."""
    return folder / PICTURES_FOLDER / f"epoch-{epoch:04d}.png"


def extremes_path(folder: UPath, part: str, which: Literal["worst", "best"]) -> UPath:
    """Where the pictures of an evaluation's lowest or highest Dice lie in a run's folder."""
    return folder / PICTURES_FOLDER / f"evaluation-{part}-{which}.png"


def last_picture(folder: UPath) -> tuple[int, UPath] | None:
    """(epoch, path) of the newest pictures of a run, or None where there are none."""
    numbered = [(path.stem.removeprefix("epoch-"), path) for path in (folder / PICTURES_FOLDER).glob("epoch-*.png")]
    return max(((int(number), path) for number, path in numbered if number.isdecimal()), default=None)
