"""Predicted studies → files, a function for each kind; no TensorFlow, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lvseg.config import OutputKind
from lvseg.errors import ConfigError
from lvseg.outputs.contours import write_contours
from lvseg.outputs.png import write_png
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.store import UPath

__all__ = ["WRITERS", "OutputKind", "PredictedImage", "PredictedStudy", "write_outputs"]

WRITERS: Mapping[OutputKind, Callable[[PredictedStudy, UPath], list[str]]] = {
    "contours": write_contours,
    "png": write_png,
}
"""Kind of file → the function that writes those of a study into its folder and names them, relative to it."""


def write_outputs(study: PredictedStudy, folder: UPath, kinds: frozenset[OutputKind]) -> list[str]:
    """Write the files of a study.

    Args:
        study: what was predicted.
        folder: the study's own folder.
        kinds: which files.

    Returns:
        Their names relative to the folder.

    Raises:
        ConfigError: a kind that cannot be written.
        OSError: a file cannot be written.
    """
    if unknown := kinds - WRITERS.keys():
        raise ConfigError(f"outputs must be among {', '.join(WRITERS)}, got {', '.join(sorted(unknown))}")
    return [name for kind, write in WRITERS.items() if kind in kinds for name in write(study, folder)]
