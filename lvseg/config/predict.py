"""Settings of a prediction."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from lvseg.config.base import Validated, config
from lvseg.config.data import SourceLayout
from lvseg.config.train import Precision

OutputKind = Literal["contours", "png", "nifti", "seg", "sr", "overlay", "gif"]
"""Files of every study: contour files, masks as PNG and NIfTI, DICOM SEG and SR, pictures, moving pictures."""
TestTimeAugmentation = Literal["none", "flips", "all"]


@config
class PredictConfig(Validated):
    """How images become masks, volumes and files."""

    source: Literal["auto", "dicom", "records"] | SourceLayout = "auto"
    """Layout of the source; auto looks at the files. dicom: any folder of DICOM images, patients and studies as the
    headers say."""
    outputs: tuple[OutputKind, ...] = ("contours", "png")
    """Files to write for every study, beside tables and the volume-time curve."""
    tta: TestTimeAugmentation = "none"
    """Test-time augmentation: average over the mirrored images (flips: 4), or over quarter turns too (all: 8)."""
    largest_component: bool = True
    """Keep the largest component of the heart in every image and fill its holes."""
    smooth_phases: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Smooth the probabilities of a slice over its phases, from the last to the first too; standard deviation of the
    weights, phases."""
    smooth_slices: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Smooth the probabilities of a phase over neighbouring slices; standard deviation of the weights, slices."""
    look_uncertainty: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Uncertainty from which on a person should look at the image."""
    look_area_jump: Annotated[float, Field(gt=0, le=10)] = 0.3
    """Difference of the cavity's area from the mean of the phases before and after from which on a person should look,
    as part of the slice's largest."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Images that the model takes at a time."""
    precision: Precision = "auto"
    """Arithmetic of the model; auto: bfloat16 where the hardware has units for it."""
    workers: Annotated[int, Field(ge=0, le=4096)] | None = None
    """Models that work side by side, a GPU each where there are GPUs; 0: in this process, without Ray. Default: one a
    GPU of the cluster, else one a node; on a machine of its own without GPU and with few cores 0."""
    gpu: bool | None = None
    """Use GPUs; default: where there are some."""


SETTINGS = ("tta", "largest_component", "smooth_phases", "smooth_slices", "look_uncertainty", "look_area_jump")
"""What changes masks and tables; the rest says how they are computed and which files are written."""


def settings_of(settings: PredictConfig) -> dict[str, Any]:
    """What the results depend on, for the manifest: two calls with the same may share a folder."""
    content = dataclasses.asdict(settings)
    return {name: content[name] for name in SETTINGS} | {"outputs": sorted(set(settings.outputs))}
