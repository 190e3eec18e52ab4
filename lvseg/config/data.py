"""Settings of a conversion and of a check."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from lvseg.config.base import Validated, config
from lvseg.errors import ConfigError

RasterConvention = Literal["centre", "course"]
LabelConvention = Literal["centre", "course", "given"]
SourceLayout = Literal["challenge", "cap", "linked", "pairs", "course", "segmentation"]
Structures = Literal["endo", "endo+myo"]
SplitMethod = Literal["patient", "image", "official", "kfold", "file"]
SplitName = Literal["train", "val", "test"]
RecordFormat = Literal["parquet", "tfrecord", "course-tfrecord"]
Crop = Literal["none", "centre", "heart"]
Normalisation = Literal["none", "percentile", "zscore"]


@config
class PreprocessConfig(Validated):
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
class CheckConfig(Validated):
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
