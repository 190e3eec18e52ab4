"""Overlays and cine GIFs: the lines are where the mask ends, the heart beats at its own pace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lvseg.errors import SourceError
from lvseg.outputs.drawing import COLOURS, SIDE, draw, find_view
from lvseg.outputs.gif import frame_times_ms, write_gif
from lvseg.outputs.outline import draw_contours
from lvseg.outputs.overlay import write_overlay
from lvseg.store import location
from tests.outputs.studies import CASE, PHASES, SLICES, change


@pytest.mark.parametrize("spacing", [(1.3, 1.3), (2.0, 1.0), None])
def test_lines_run_where_the_mask_ends(cine, spacing):
    image = replace(cine.images[0], pixel_spacing=spacing, image=np.zeros_like(cine.images[0].image))
    contours = draw_contours(image.mask, "given")
    view = find_view(image, [contours])
    picture = draw(image, contours, view, (0.0, 1.0)).astype(int)
    red = picture[..., 0] > picture[..., 1] + 100
    rows, columns = np.nonzero(red)
    points = np.stack([columns, rows], axis=1)
    # Back to the image: every drawn pixel is within a pixel of the edge between cavity and not cavity.
    column, row = ((points + 0.5) / view.zoom - 0.5 + [view.left, view.top]).T
    cavity = np.where(np.indices(image.mask.shape)[1] < 6, 0, image.mask == 1)
    edge = np.argwhere(
        (cavity == 1)
        & (np.roll(cavity, 1, 0) + np.roll(cavity, -1, 0) + np.roll(cavity, 1, 1) + np.roll(cavity, -1, 1) < 4)
    )
    distance = np.hypot(row[:, None] - edge[:, 0], column[:, None] - edge[:, 1]).min(axis=1)
    assert len(points) > 200
    assert distance.max() < 1.0
    # And the line goes all the way round.
    turned = np.arctan2(row - edge[:, 0].mean(), column - edge[:, 1].mean())
    assert np.diff(np.sort(turned)).max() < 0.1
    if spacing and spacing[0] != spacing[1]:
        assert view.zoom[1] / view.zoom[0] == pytest.approx(2.0)


def test_overlays_and_the_sheet(cine, tmp_path):
    study = change(cine, 3, look="small next to its neighbours")
    names = write_overlay(study, location(tmp_path))
    assert names == [*(f"overlay/{image.name}.png" for image in study.images), f"{CASE}-sheet.png"]
    assert all(Image.open(tmp_path / name).size == (SIDE, SIDE) for name in names[:-1])
    # Slices side by side, ED above ES.
    assert Image.open(tmp_path / names[-1]).size == (SLICES * SIDE, 2 * SIDE)
    title = np.asarray(Image.open(tmp_path / names[3]).convert("RGB")).astype(int)[:24]
    plain = np.asarray(Image.open(tmp_path / names[4]).convert("RGB")).astype(int)[:24]
    yellow = [((part[..., 0] > 200) & (part[..., 2] < 90)).any() for part in (title, plain)]
    assert yellow == [True, False]


def test_a_study_without_phases_or_findings_has_pictures_too(cine, tmp_path):
    blank = [replace(image, phase_index=None, mask=np.zeros_like(image.mask)) for image in cine.images[:4]]
    write_overlay(replace(cine, images=tuple(blank)), location(tmp_path))
    assert Image.open(tmp_path / f"{CASE}-sheet.png").size == (4 * SIDE, SIDE)


def test_gifs_move_at_the_pace_of_the_heart(cine, tmp_path):
    names = write_gif(cine, location(tmp_path))
    assert names == [f"cine/slice-{number:02d}.gif" for number in range(1, SLICES + 1)]
    gif = Image.open(tmp_path / names[1])
    assert gif.n_frames == PHASES
    times, inside = [], []
    for frame in range(PHASES):
        gif.seek(frame)
        times.append(gif.info["duration"])
        picture = np.asarray(gif.convert("RGB")).astype(int)
        inside.append(int((picture[..., 0] > picture[..., 1] + 60).sum()))
    step = cine.images[1].trigger_time_ms - cine.images[0].trigger_time_ms
    assert sum(times) == pytest.approx(PHASES * step, abs=10)
    # The line is longest at the largest ring, phase 0, and shortest at phases 2 and 3.
    assert max(inside) == inside[0]
    assert min(inside) in inside[2:4]


def test_frame_times_do_not_drift_and_bridge_what_is_missing():
    assert frame_times_ms([*range(20)], 37.5) == pytest.approx([37.5] * 20, abs=7.5)
    assert sum(frame_times_ms([*range(20)], 37.5)) == 750
    assert frame_times_ms([0, 1, 3], 40.0) == [40, 80, 40]
    assert frame_times_ms([0, 1], None) == [50, 50]
    assert min(frame_times_ms([*range(50)], 3.0)) == 20


def test_a_slice_with_one_phase_has_no_gif(cine, tmp_path):
    fewer = replace(cine, images=cine.images[: PHASES + 1])
    assert write_gif(fewer, location(tmp_path)) == ["cine/slice-01.gif", "note-gif.txt"]
    assert "one phase only: 2" in (tmp_path / "note-gif.txt").read_text()
    with pytest.raises(SourceError, match="expected a cine"):
        write_gif(replace(cine, images=cine.images[:1]), location(tmp_path))


def test_the_colours_are_the_segments(cine):
    from lvseg.outputs.seg import SEGMENTS

    assert [colour for _, _, colour in SEGMENTS.values()] == [*COLOURS.values()]
