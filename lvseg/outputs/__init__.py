"""Predictions as files that others read: NIfTI, DICOM SEG and SR, overlay pictures, cine GIFs; no TensorFlow, no Ray.

``write_outputs`` writes the kinds that it is asked for. One that cannot be written, because a study has no geometry
or no source to refer to, costs none of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lvseg.errors import LvsegError
from lvseg.outputs.gif import write_gif
from lvseg.outputs.nifti import write_nifti
from lvseg.outputs.overlay import write_overlay
from lvseg.outputs.seg import write_seg
from lvseg.outputs.sr import write_sr
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.store import UPath

__all__ = ["WRITERS", "OutputKind", "PredictedImage", "PredictedStudy", "write_outputs"]

OutputKind = Literal["nifti", "seg", "sr", "overlay", "gif"]

Writer = Callable[[PredictedStudy, UPath], list[str]]
"""Writes one kind below a folder; returns what a reader of these files should know, one line each, mostly nothing."""

WRITERS: dict[OutputKind, Writer] = {
    "nifti": write_nifti,
    "seg": write_seg,
    "sr": write_sr,
    "overlay": write_overlay,
    "gif": write_gif,
}


def write_outputs(study: PredictedStudy, folder: UPath, kinds: frozenset[OutputKind]) -> list[str]:
    """Write what was predicted on one patient's images.

    Args:
        study: his images and masks.
        folder: the patient's own, made where it is missing.
        kinds: what to write.

    Returns:
        What is missing or unusual, one line each, with the case id and the kind; empty where all is well.

    Raises:
        OSError: a file cannot be written.
    """
    notes = []
    for kind, write in WRITERS.items():
        if kind not in kinds:
            continue
        try:
            found = write(study, folder)
        except LvsegError as error:
            found = [f"not written: {error}"]
        notes += [f"{study.case_id}: {kind}: {note}" for note in found]
    return notes
