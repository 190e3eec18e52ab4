"""Predicted studies → files, a function for each kind; no TensorFlow, no Ray.

``write_outputs`` writes the kinds that it is asked for. One that cannot be written, because a study has no geometry
or no DICOM source to refer to, costs none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lvseg.config import OutputKind
from lvseg.errors import ConfigError, LvsegError
from lvseg.outputs.contours import write_contours
from lvseg.outputs.gif import write_gif
from lvseg.outputs.nifti import write_nifti
from lvseg.outputs.notes import clear_note, write_note
from lvseg.outputs.overlay import write_overlay
from lvseg.outputs.png import write_png
from lvseg.outputs.seg import write_seg
from lvseg.outputs.sr import write_sr
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.store import UPath

__all__ = ["WRITERS", "OutputKind", "PredictedImage", "PredictedStudy", "write_outputs"]

WRITERS: Mapping[OutputKind, Callable[[PredictedStudy, UPath], list[str]]] = {
    "contours": write_contours,
    "png": write_png,
    "nifti": write_nifti,
    "seg": write_seg,
    "sr": write_sr,
    "overlay": write_overlay,
    "gif": write_gif,
}
"""Kind of file → the function that writes those of a study into its folder and names them, relative to it."""


def write_outputs(study: PredictedStudy, folder: UPath, kinds: frozenset[OutputKind]) -> list[str]:
    """Write the files of a study.

    Where a kind cannot be written, ``note-KIND.txt`` says why in its place; where it is not what one might expect, as
    with a cine that lacks images, beside it.

    Args:
        study: what was predicted.
        folder: the study's own folder.
        kinds: which files.

    Returns:
        Their names relative to the folder, notes too.

    Raises:
        ConfigError: a kind that cannot be written.
        OSError: a file cannot be written.
    """
    if unknown := kinds - WRITERS.keys():
        raise ConfigError(f"outputs must be among {', '.join(WRITERS)}, got {', '.join(sorted(unknown))}")
    names = []
    for kind, write in WRITERS.items():
        if kind in kinds:
            clear_note(folder, kind)
            try:
                names += write(study, folder)
            except LvsegError as error:
                names.append(write_note(folder, kind, f"not written: {error}"))
    return names
