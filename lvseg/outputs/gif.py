"""A moving picture of every slice: the cine with its contours, at the pace of the heart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from io import BytesIO

import numpy as np

from lvseg.errors import SourceError
from lvseg.outputs.cine import contours_by_name, phase_step_ms
from lvseg.outputs.drawing import caption, draw, find_view, find_window, title_of, to_palette
from lvseg.outputs.notes import write_note
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.slices import Contours
from lvseg.store import UPath, write_bytes

__all__ = ["frame_times_ms", "write_gif"]

CINE_FOLDER = "cine"
USUAL_STEP_MS = 50.0
"""Where the trigger times do not say: a heart of 60 beats a minute in 20 phases."""
TICK_MS = 10
"""GIF counts hundredths of a second."""
SHORTEST_MS = 20
"""Viewers show a frame of less than this for a tenth of a second."""


def write_gif(study: PredictedStudy, folder: UPath) -> list[str]:
    """Write ``cine/slice-01.gif`` and so on, one for each slice with two phases or more.

    Returns:
        Names relative to the folder, that of a note too where a slice has only one phase.

    Raises:
        SourceError: no slice has two images whose phases are known.
    """
    cines: dict[int, list[PredictedImage]] = defaultdict(list)
    for image in study.images:
        if image.slice_index is not None and image.phase_index is not None:
            cines[image.slice_index].append(image)
    moving = {index: images for index, images in cines.items() if len({image.phase_index for image in images}) > 1}
    if not moving:
        raise SourceError(f"{study.case_id}: no slice has two images of known phases, expected a cine")
    step_ms, contours, names = phase_step_ms(study.images), contours_by_name(study), []
    for index, images in sorted(moving.items()):
        ordered = sorted(images, key=lambda image: image.phase_index or 0)
        names.append(f"{CINE_FOLDER}/slice-{index + 1:02d}.gif")
        write_bytes(folder / names[-1], _gif(ordered, contours, step_ms))
    if still := sorted(index + 1 for index in cines.keys() - moving.keys()):
        text = f"not of slices with one phase only: {', '.join(map(str, still))}, counted from 1"
        names.append(write_note(folder, "gif", text))
    return names


def frame_times_ms(phases: list[int], step_ms: float | None) -> list[int]:
    """How long each frame is shown, ms; the rounding to hundredths does not add up over a beat.

    A phase that is missing is bridged by the one before it.
    """
    step = max(step_ms or USUAL_STEP_MS, SHORTEST_MS)
    starts = np.array([*phases, phases[-1] + 1]) * step
    ticks = np.rint(starts / TICK_MS).astype(int)
    return [max(int(ticks_), SHORTEST_MS // TICK_MS) * TICK_MS for ticks_ in np.diff(ticks)]


def _gif(images: list[PredictedImage], contours: Mapping[str, Contours], step_ms: float | None) -> bytes:
    view = find_view(images[0], [contours[image.name] for image in images])
    window = find_window(images, view)
    frames = []
    for image in images:
        picture = draw(image, contours[image.name], view, window)
        picture = caption(picture, title_of(image), flag=image.look is not None)
        frames.append(to_palette(picture))
    file = BytesIO()
    frames[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=frame_times_ms([image.phase_index or 0 for image in images], step_ms),
        loop=0,
        optimize=False,
        disposal=1,
    )
    return file.getvalue()
