"""Files → Slice, and files that are refused."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import ContourError, LvsegError, SourceError
from lvseg.slices import Place, Slice
from lvseg.sources import LinkedItem, PairItem, discover, load


@pytest.fixture
def pair_item(pairs) -> PairItem:
    return discover(pairs).items[0]


def refused(item, *words: str, error: type[LvsegError] = SourceError) -> None:
    """The message is one line that names the file and the words; nothing else is printed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error) as caught:
            load(item, "centre")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_pair(pair_item):
    loaded = load(pair_item, "centre")
    assert isinstance(loaded, Slice)
    assert (loaded.name, loaded.case_id, loaded.place) == ("SC-N-2-IM-0001-0009", "SC-N-2", Place(instance_number=9))
    assert loaded.image.dtype == np.uint16
    np.testing.assert_array_equal(loaded.image, np.arange(320).reshape(16, 20))
    assert loaded.mask.dtype == np.uint8
    assert loaded.mask.sum() == 25
    assert loaded.mask[4, 3] == 1
    assert loaded.contour_xy_px is None
    files = pair_item.image.read_bytes() + pair_item.mask.read_bytes()
    assert loaded.source_sha256 == hashlib.sha256(files).hexdigest()


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 0), (1, 1)])
def test_mask_values(pair_item, image, values):
    pixels = np.full((16, 20), values[0], np.uint8)
    pixels[2:4, 5:9] = values[1]
    image(pair_item.mask, pixels)
    np.testing.assert_array_equal(load(pair_item, "centre").mask, pixels > 0)


def test_numpy_pair(tmp_path):
    for part, array in (("images", np.full((4, 5), -7, np.int16)), ("masks", np.eye(4, 5, dtype=bool))):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "anna_3.npy", array)
    loaded = load(discover(tmp_path).items[0], "centre")
    assert (loaded.case_id, loaded.image.dtype, loaded.image[0, 0], loaded.mask.sum()) == ("anna", np.int16, -7, 4)


def test_grey_stored_as_colour(pair_item, image):
    image(pair_item.image, np.full((16, 20, 3), 7, np.uint8))
    loaded = load(pair_item, "centre")
    assert loaded.image.shape == (16, 20)
    assert (loaded.image == 7).all()


def test_colour_image(pair_item, image):
    image(pair_item.image, np.full((16, 20, 3), (1, 2, 3), np.uint8))
    refused(pair_item, "images", "0009.png", "colour image")


def test_deep_colour_image_is_not_rounded(pair_item, image):
    image(pair_item.image, np.full((16, 20, 3), 1000, np.uint16))
    refused(pair_item, "0009.png", "colour of 16 bits")


def test_image_of_floats(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "anna_3.npy", np.zeros((4, 4)))
    refused(discover(tmp_path).items[0], "images/anna_3.npy", "float64", "expected integers")


def test_other_mask_values(pair_item, image):
    image(pair_item.mask, np.arange(320, dtype=np.uint8).reshape(16, 20))
    refused(pair_item, "masks", "0009.png", "values 0, 1, 2, 3, 4, 5, …", "expected 0 and 1 or 0 and 255")


def test_mask_of_another_size(pair_item, image):
    image(pair_item.mask, np.zeros((20, 16), np.uint8))
    refused(pair_item, "masks", "0009.png", "20x16", "16x20")


@pytest.mark.parametrize("part", ["image", "mask"])
def test_truncated_png(pair_item, part):
    path: Path = getattr(pair_item, part)
    path.write_bytes(path.read_bytes()[: -(path.stat().st_size // 2)])
    refused(pair_item, f"{part}s/{path.name}")


def test_not_a_png(pair_item):
    pair_item.image.write_text("hello")
    refused(pair_item, "0009.png: not a png file")
