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

__all__ = [
    "EXECUTION_FIELDS",
    "IMAGE_SIDE_MULTIPLE",
    "MODEL_NAMES",
    "ConvertConfig",
    "LabelConvention",
    "RasterConvention",
    "RecordFormat",
    "SplitMethod",
    "SplitName",
    "TrainConfig",
    "TuneConfig",
    "from_mapping",
    "read_yaml",
]

RasterConvention = Literal["centre", "course"]
LabelConvention = Literal["centre", "course", "given"]
SplitMethod = Literal["patient", "image", "official"]
RecordFormat = Literal["parquet", "tfrecord"]
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
class ConvertConfig(_Validated):
    """How source files become records."""

    source: Literal["auto", "linked", "pairs"] = "auto"
    """Layout of the source folder; auto looks at the files."""
    format: RecordFormat = "parquet"
    """Record format."""
    labels: RasterConvention | None = None
    """Label convention: centre (a pixel is inside when its centre is; the default) or course (cv2.fillPoly on
    truncated points). Masks of image-mask pairs stay as they are: say how they were made, or nothing (then: given)."""
    split: SplitMethod = "patient"
    """Split by patient, by image (parts share patients), or the challenge's official parts."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of patients or images for validation, above 0 and below 1; the official split ignores it."""
    seed: Annotated[int, Field(ge=0)] = 1234
    """Seed of the random split."""
    shard_images: Annotated[int, Field(ge=1, le=65536)] = 256
    """Images in one record file."""


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

    def __post_init__(self) -> None:
        if self.model not in MODEL_NAMES:
            raise ConfigError(f"model must be one of {', '.join(MODEL_NAMES)}, got {self.model!r}")
        if self.batch_size % self.workers:
            raise ConfigError(f"batch_size must be divisible by workers, got {self.batch_size} and {self.workers}")

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result; those that only say where it is computed are left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in EXECUTION_FIELDS}


EXECUTION_FIELDS = frozenset({"workers", "gpu", "cpus_per_worker", "steps_per_call", "picture_every", "max_failures"})
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


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: the file is missing, not YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
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
