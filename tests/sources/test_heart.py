"""The heart's place in the items, where the conversion crops around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources import discover

HEART = ConvertConfig(crop="heart", crop_size=32)


@pytest.fixture
def folder(tmp_path, cine):
    """A challenge tree of one patient whose heart lies off the middle."""

    def write(**options) -> Path:
        heart = cine(size=96, centre=(60, 40))
        heart.write_images(tmp_path / "challenge_training/SC-HF-I-1", **options)
        heart.write_contours(tmp_path / "TrainingDataContours/SC-HF-I-01/contours-manual")
        return tmp_path

    return write


def test_one_place_for_all_images(folder):
    items = discover(folder(), HEART).items
    assert len(items) == 8
    [(column, row)] = {item.heart_xy_px for item in items}
    assert (column, row) == (pytest.approx(60, abs=4), pytest.approx(40, abs=4))


def test_only_where_it_is_asked_for(folder):
    assert {item.heart_xy_px for item in discover(folder()).items} == {None}


def test_a_missing_image_does_no_harm(folder):
    assert len(discover(folder(without=(14,)), HEART).items) == 8


def test_without_a_whole_cine(folder):
    with pytest.raises(SourceError, match=r"8 left out .*is no whole cine, so the heart's motion cannot be seen"):
        discover(folder(without=[n for n in range(1, 41) if n % 10 not in (1, 6)]), HEART)


def test_an_image_that_cannot_be_read(folder):
    root = folder()
    path = root / "challenge_training/SC-HF-I-1/IM-0004-0014.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    assert len(discover(root, HEART).items) == 8
