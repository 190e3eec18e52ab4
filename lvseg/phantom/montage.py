"""A picture of the phantom: ``python -m lvseg.phantom.montage OUT.png``.

Rows are patients; columns are base, middle and apex at end-diastole (ED), then the same at end-systole (ES).
The last row is the first patient again, with the endocardium in red and the epicardium in yellow.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lvseg.phantom.anatomy import Anatomy, Floats, draw_anatomy, section
from lvseg.phantom.render import SliceRenderer
from lvseg.phantom.truth import find_truth

__all__ = ["write_montage"]

_SIZE, _SLICES, _PHASES = 256, 8, 20
_COLUMNS = ((1, "base"), (4, "middle"), (6, "apex"))
_CROP_PX = 76


def write_montage(path: Path, *, patients: int = 3, seed: int = 0) -> None:
    """Write the montage as PNG, under 400 KB for three patients."""
    rows = [(draw_anatomy(number, seed, _SLICES), False) for number in range(1, patients + 1)]
    rows.append((rows[0][0], True))
    figure = Figure(figsize=(9.0, 1.5 * len(rows) + 0.25), dpi=110, facecolor="black")
    grid = figure.subplots(len(rows), 2 * len(_COLUMNS), squeeze=False)
    for axes, (anatomy, with_contours) in zip(grid, rows, strict=True):
        _draw_row(axes, anatomy, seed, with_contours)
    for axis, (when, where) in zip(grid[0], [(w, name) for w in ("ED", "ES") for _, name in _COLUMNS], strict=True):
        axis.set_title(f"{where}, {when}", color="white", fontsize=8, pad=3)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.25 / figure.get_figheight(), wspace=0.01, hspace=0.01)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    Image.open(picture).convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE).save(path, optimize=True)


def _palette() -> Image.Image:
    """52 greys, 8 reds and 8 yellows: a third of the file's size in full colour."""
    colours = [(grey, grey, grey) for grey in range(0, 256, 5)]
    colours += [(red, red // 5, red // 5) for red in range(80, 256, 24)]
    colours += [(yellow, yellow, yellow // 5) for yellow in range(80, 256, 24)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in colours for channel in colour])
    return palette


def _draw_row(axes: list[Axes], anatomy: Anatomy, seed: int, with_contours: bool) -> None:
    truth = find_truth(anatomy, _SLICES, _PHASES)
    places = [(index, phase) for phase in (truth.ed_phase, truth.es_phase) for index, _ in _COLUMNS]
    for axis, (index, phase) in zip(axes, places, strict=True):
        pixels = SliceRenderer(anatomy, seed, index, _SIZE).render(phase, _PHASES)
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=float(np.percentile(pixels, 99.3)))
        state = section(anatomy, index, phase / _PHASES)
        if with_contours and state.endocardium_mm is not None:
            axis.plot(*_pixels(anatomy, state.outline(state.endocardium_mm)), color="red", linewidth=0.8)
        if with_contours and state.epicardium_mm is not None and phase == truth.ed_phase:
            axis.plot(*_pixels(anatomy, state.outline(state.epicardium_mm)), color="yellow", linewidth=0.8)
        x, y = _pixels(anatomy, state.centre_mm[None, :])
        axis.set_xlim(x[0] - _CROP_PX, x[0] + _CROP_PX)
        axis.set_ylim(y[0] + _CROP_PX, y[0] - _CROP_PX)
        axis.set_axis_off()


def _pixels(anatomy: Anatomy, points_mm: Floats) -> Floats:
    """Turn (N, 2) mm into 0-based pixels: (2, N), columns and rows."""
    return np.asarray((points_mm / anatomy.field_of_view_mm * _SIZE + (_SIZE - 1) / 2).T)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lvseg.phantom.montage OUT.png")
    write_montage(Path(sys.argv[1]))
