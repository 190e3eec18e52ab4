"""What can be set: name, unit, range and default of every option, in one place.

The same names serve Python, YAML files (``--config``) and flags (``--learning-rate``).
Every construction validates; a wrong value raises ``ConfigError`` and names field, value and range.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, dataclass_transform

import yaml
from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from lvseg.errors import ConfigError
from lvseg.store import UPath

__all__ = [
    "EXECUTION_FIELDS",
    "IMAGE_SIDE_MULTIPLE",
    "MODEL_NAMES",
    "CheckConfig",
    "ConvertConfig",
    "Crop",
    "Ingest",
    "LabelConvention",
    "Normalisation",
    "PreprocessConfig",
    "RasterConvention",
    "RecordFormat",
    "SourceLayout",
    "SplitMethod",
    "SplitName",
    "Structures",
    "TrainConfig",
    "TuneConfig",
    "from_mapping",
    "read_yaml",
]

RasterConvention = Literal["centre", "course"]
LabelConvention = Literal["centre", "course", "given"]
SourceLayout = Literal["challenge", "cap", "linked", "pairs", "course", "segmentation"]
Structures = Literal["endo", "endo+myo"]
SplitMethod = Literal["patient", "image", "official", "kfold", "file"]
RecordFormat = Literal["parquet", "tfrecord", "course-tfrecord"]
Crop = Literal["none", "centre", "heart"]
Normalisation = Literal["none", "percentile", "zscore"]
Ingest = Literal["auto", "memory", "disk", "stream"]
SplitName = Literal["train", "val", "test"]

T = TypeVar("T")

MODEL_NAMES = ("fc", "fcn", "unet")
IMAGE_SIDE_MULTIPLE = 16
"""Every architecture halves the image four times, or must fill it exactly."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field, Field))
def config(cls: type) -> Any:
    """Make a frozen, keyword-only dataclass whose values are validated at every construction."""
    return pydantic_dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))(cls)


class _Validated:
    """Turns pydantic's report into one line that names field, value and range."""

    __slots__ = ()

    @model_validator(mode="wrap")
    @classmethod
    def _one_line_errors(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            raise ConfigError(_describe(error, cls)) from None


def _describe(error: ValidationError, cls: type) -> str:
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"]) or cls.__name__
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = ", ".join(f.name for f in dataclasses.fields(cls))
            lines.append(f"unknown setting {field}; known: {known}")
        else:
            rule = item["msg"].replace("Input should be", "must be")
            lines.append(f"{field} {rule}, got {item['input']!r}")
    return "; ".join(lines)


@config
class PreprocessConfig(_Validated):
    """What is done to every image before it is stored, and again before a prediction; in this order."""

    spacing_mm: Annotated[float, Field(gt=0, le=20)] | None = None
    """Resample to square pixels of this side, mm; default: the pixels stay as they are."""
    crop: Crop = "none"
    """Cut out (or pad to) crop-size around the image's centre, or around the heart, found by its motion in the cine."""
    crop_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Rows and columns of the crop, pixels after resampling."""
    normalise: Normalisation = "none"
    """Store pixel values as they are, scaled to 0..1 between the image's percentiles 1 and 99, or as z-scores."""

    def __post_init__(self) -> None:
        if (self.crop == "none") != (self.crop_size is None):
            raise ConfigError(f"crop and crop_size belong together, got {self.crop!r} and {self.crop_size}")


@config
class ConvertConfig(PreprocessConfig):
    """How source files become records."""

    source: Literal["auto"] | SourceLayout = "auto"
    """Layout of the source folder; auto looks at the files."""
    format: RecordFormat = "parquet"
    """Record format; course-tfrecord writes the course's own two files, to be read by its notebooks."""
    labels: RasterConvention | None = None
    """Label convention: centre (a pixel is inside when its centre is; the default) or course (cv2.fillPoly on
    truncated points). Masks that come as files stay as they are: say how they were made, or nothing (then: given)."""
    structures: Structures = "endo"
    """Classes of the mask: the cavity, or cavity and myocardium (only images with both contours)."""
    cavity_value: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Value of the cavity in mask files; default: 1, or 255 in masks of 0 and 255."""
    myocardium_value: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Value of the myocardium in mask files; default: 2."""
    split: SplitMethod = "patient"
    """Split by patient (stratified by pathology), by image (parts share patients), the challenge's official parts,
    k folds by patient, or a table in a file."""
    split_file: str | None = None
    """CSV with the columns part (train, val, test) and name or case_id, for the split by file."""
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    """Folds of the k-fold split."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of patients or images for validation, above 0 and below 1, in the splits by patient and by image."""
    seed: Annotated[int, Field(ge=0)] = 1234
    """Seed of the random split."""
    shard_images: Annotated[int, Field(ge=1, le=65536)] = 256
    """Images in one record file."""
    quarantine: bool = True
    """Leave out what quality control finds wrong; otherwise it is listed only, as for a comparison with others."""
    strict: bool = False
    """Fail where quality control finds an error or a warning."""

    def __post_init__(self) -> None:
        PreprocessConfig.__post_init__(self)
        if (self.split == "file") != (self.split_file is not None):
            raise ConfigError(f"split 'file' and split_file belong together, got {self.split!r} and {self.split_file}")
        if self.format == "course-tfrecord" and self.split == "kfold":
            raise ConfigError("format course-tfrecord has no folds: choose another split")

    def preprocessing(self) -> PreprocessConfig:
        """The part that a prediction has to repeat."""
        return PreprocessConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(PreprocessConfig)})


@config
class CheckConfig(_Validated):
    """How source files are checked: what of ``ConvertConfig`` says how they are read."""

    source: Literal["auto"] | SourceLayout = "auto"
    """Layout of the source folder; auto looks at the files."""
    labels: RasterConvention | None = None
    """Label convention of masks that are drawn from contours, as in convert."""
    cavity_value: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Value of the cavity in mask files; default: 1, or 255 in masks of 0 and 255."""
    myocardium_value: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Value of the myocardium in mask files; default: 2."""
    strict: bool = False
    """Exit with status 1 where there is an error or a warning."""

    def to_convert(self) -> ConvertConfig:
        """The same as settings of a conversion."""
        return ConvertConfig(**dataclasses.asdict(self))


@config
class TrainConfig(_Validated):
    """One training run."""

    model: str = "fcn"
    """Architecture: fc, fcn or unet."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 4
    """Images in one step, over all workers together."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Adam's learning rate at step 0."""
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.97
    """Factor on the learning rate every decay-steps steps; 1 keeps it constant."""
    decay_steps: Annotated[int, Field(ge=1)] = 200
    """Steps over which the learning rate falls by decay-rate."""
    staircase: bool = False
    """Lower the learning rate in stairs, not smoothly."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the layers; weights, logits and loss stay float32."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the weights' start values and of the order of images."""
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    """Training processes; the batch is shared out among them."""
    gpu: bool = False
    """One GPU for each worker."""
    cpus_per_worker: Annotated[int, Field(ge=1)] | None = None
    """CPU cores for each worker; default: the cores of a node, shared out."""
    steps_per_call: Annotated[int, Field(ge=1)] = 16
    """Steps run in one call of the compiled training function."""
    picture_every: Annotated[int, Field(ge=0)] = 5
    """Epochs between pictures of image, label and prediction; 0 for none."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a failed worker group is restarted from the last checkpoint."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Fold that validates, of records split into folds; the others train."""
    ingest: Ingest = "auto"
    """Where a worker keeps its images: in memory, on its node's disk, or nowhere (streamed from the store every
    epoch); auto takes the first that fits. The result does not depend on it."""

    def __post_init__(self) -> None:
        if self.model not in MODEL_NAMES:
            raise ConfigError(f"model must be one of {', '.join(MODEL_NAMES)}, got {self.model!r}")
        if self.batch_size % self.workers:
            raise ConfigError(f"batch_size must be divisible by workers, got {self.batch_size} and {self.workers}")

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result; those that only say where it is computed are left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in EXECUTION_FIELDS}


EXECUTION_FIELDS = frozenset(
    {"workers", "gpu", "cpus_per_worker", "steps_per_call", "picture_every", "max_failures", "ingest"}
)
"""Settings of ``TrainConfig`` that may change when a run resumes: the result does not depend on them."""


@config
class TuneConfig(_Validated):
    """One sweep over training settings."""

    trials: Annotated[int, Field(ge=1, le=100_000)] = 8
    """Trials to run; a grid in the space is run whole, this many times."""
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """Trials at the same time; default: as many as the cluster's CPUs or GPUs hold."""
    search_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the random search."""


def read_yaml(path: Path | UPath) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: the file is missing, not YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected a mapping of settings to values, found {type(content).__name__}")
    return dict(content)


def from_mapping(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Build and validate a config from a mapping; the keys may be written with dashes.

    Raises:
        ConfigError: an unknown setting or a wrong value.
    """
    return cls(**{key.replace("-", "_"): value for key, value in mapping.items()})
