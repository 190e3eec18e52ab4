"""Image files beside mask files: listing, loading, values of masks."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.slices import Place
from lvseg.sources import PairItem, discover, load

ENDO = ConvertConfig()
BOTH = ConvertConfig(structures="endo+myo")


@pytest.fixture
def pair(pairs) -> tuple[Path, PairItem]:
    return pairs, discover(pairs).items[0]


def reasons(folder: Path) -> dict[str, str]:
    return {skip.file: skip.reason for skip in discover(folder).skipped}


def refused(folder: Path, item: PairItem, *words: str, config: ConvertConfig = ENDO) -> None:
    """The message is one line that names the file and the words; nothing else is printed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SourceError) as caught:
            load(folder, item, config)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert str(folder) not in str(caught.value), "records name files relative to the source"


def write_numpy_pair(folder: Path, stem: str, image: np.ndarray, mask: np.ndarray) -> None:
    for part, array in (("images", image), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        np.save(folder / part / f"{stem}.npy", array)


def test_two_parts(pairs):
    listing = discover(pairs)
    assert [item.name for item in listing.items] == [
        "SC-N-2-IM-0001-0009",
        "SC-N-2-IM-0001-0010",
        "SC-N-3-IM-0001-0009",
        "SC-N-3-IM-0001-0010",
    ]
    stem = "SC-N-02-IM-0001-0009.png"
    assert listing.items[0] == PairItem(
        name="SC-N-2-IM-0001-0009",
        case_id="SC-N-2",
        group="N",
        image=f"part1/images/{stem}",
        mask=f"part1/masks/{stem}",
    )
    assert len(discover(pairs / "part2").items) == 2


def test_numbers_sort_as_numbers(tmp_path, image):
    for number in (10, 9, 100):
        for part in ("images", "masks"):
            image(tmp_path / part / f"anna_{number}.png", np.zeros((4, 4), np.uint8))
    assert [item.name for item in discover(tmp_path).items] == ["anna_9", "anna_10", "anna_100"]


@pytest.mark.parametrize(
    ("image_name", "mask_name"),
    [
        ("images/anna_1.png", "labels/anna_1.tif"),
        ("imagesTr/anna_1_0000.png", "labelsTr/anna_1.png"),
        ("a/b/imagesTs/anna_1_0000.png", "a/b/labelsTs/anna_1.png"),
    ],
)
def test_other_names_of_folders(tmp_path, image, image_name, mask_name):
    for name in (image_name, mask_name):
        image(tmp_path / name, np.ones((4, 4), np.uint8))
    (item,) = discover(tmp_path).items
    assert (item.name, item.case_id, item.image, item.mask) == ("anna_1", "anna", image_name, mask_name)


def test_other_channels_have_no_mask(tmp_path, image):
    for name in ("imagesTr/anna_1_0000.png", "imagesTr/anna_1_0001.png", "labelsTr/anna_1.png"):
        image(tmp_path / name, np.ones((4, 4), np.uint8))
    assert reasons(tmp_path) == {"imagesTr/anna_1_0001.png": "image without mask"}


def test_clutter_is_ignored(pairs):
    for name in (".DS_Store", "._SC-N-02-IM-0001-0009.png", "Thumbs.db"):
        (pairs / "part1/images" / name).write_bytes(b"clutter")
        (pairs / "part1/masks" / name).write_bytes(b"clutter")
    assert discover(pairs).skipped == ()


def test_what_has_no_partner(pairs):
    (pairs / "part1/masks/SC-N-02-IM-0001-0009.png").unlink()
    (pairs / "part2/images/SC-N-03-IM-0001-0010.png").unlink()
    (pairs / "part2/images/notes.txt").write_text("hello")
    (pairs / "part2/masks/old").mkdir()
    expected = "not an image file, expected .png, .tif, .tiff, .npy, .npz, .nii, .nii.gz"
    assert reasons(pairs) == {
        "part1/images/SC-N-02-IM-0001-0009.png": "image without mask",
        "part2/masks/SC-N-03-IM-0001-0010.png": "mask without image",
        "part2/images/notes.txt": expected,
        "part2/masks/old": "a folder, expected image files here",
    }
    assert len(discover(pairs).items) == 2


def test_the_same_name_in_two_parts(pairs):
    for part in ("images", "masks"):
        shutil.copy(pairs / f"part1/{part}/SC-N-02-IM-0001-0009.png", pairs / f"part2/{part}/SC-N-2-IM-0001-0009.png")
    other = "part1/images/SC-N-02-IM-0001-0009.png"
    assert reasons(pairs) == {"part2/images/SC-N-2-IM-0001-0009.png": f"same name SC-N-2-IM-0001-0009 as {other}"}


def test_load(pair):
    loaded = load(*pair, ENDO)
    assert (loaded.name, loaded.case_id, loaded.group) == ("SC-N-2-IM-0001-0009", "SC-N-2", "N")
    assert loaded.place == Place(instance_number=9)
    assert (loaded.image.dtype, loaded.mask.dtype) == (np.uint16, np.uint8)
    np.testing.assert_array_equal(loaded.image, np.arange(320).reshape(16, 20))
    expected = np.zeros((16, 20))
    expected[4:9, 3:8] = 1
    np.testing.assert_array_equal(loaded.mask, expected)
    assert not list(loaded.contours.named())


def test_the_hash_covers_both_files(pair, image):
    folder, item = pair
    hashes = {load(*pair, ENDO).source_sha256}
    image(folder / item.mask, np.ones((16, 20), np.uint8))
    hashes.add(load(*pair, ENDO).source_sha256)
    image(folder / item.image, np.ones((16, 20), np.uint8))
    hashes.add(load(*pair, ENDO).source_sha256)
    assert len(hashes) == 3


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 0), (1, 1), (255, 255)])
def test_mask_of_the_cavity(pair, image, values):
    folder, item = pair
    pixels = np.full((16, 20), values[0], np.uint8)
    pixels[2:4, 5:9] = values[1]
    image(folder / item.mask, pixels)
    np.testing.assert_array_equal(load(folder, item, ENDO).mask, pixels > 0)


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        ({"cavity_value": 3}, [0, 0, 0, 1]),
        ({"cavity_value": 3, "structures": "endo+myo"}, [0, 0, 2, 1]),
        ({"cavity_value": 3, "myocardium_value": 1, "structures": "endo+myo"}, [0, 2, 0, 1]),
        ({"myocardium_value": 3, "structures": "endo+myo"}, [0, 1, 0, 2]),
    ],
)
def test_values_that_the_user_names(pair, image, settings, classes):
    """ACDC's masks: 1 right ventricle, 2 myocardium, 3 cavity."""
    folder, item = pair
    values = np.arange(320, dtype=np.uint8).reshape(16, 20) % 4
    image(folder / item.mask, values)
    np.testing.assert_array_equal(load(folder, item, ConvertConfig(**settings)).mask, np.array(classes)[values])


def test_both_classes(pair, image):
    folder, item = pair
    values = np.arange(320, dtype=np.uint8).reshape(16, 20) % 3
    image(folder / item.mask, values)
    np.testing.assert_array_equal(load(folder, item, BOTH).mask, values)


@pytest.mark.parametrize(
    ("values", "config", "words"),
    [
        ([0, 1, 2], ENDO, ("values 0, 1, 2", "expected 0 and 1 or 0 and 255", "cavity_value")),
        (list(range(9)), ENDO, ("values 0, 1, 2, 3, 4, 5, …",)),
        ([0, 255], BOTH, ("values 0, 255", "1 (cavity) and 2 (myocardium)", "myocardium_value")),
        ([0, 1], BOTH, ("cavity without myocardium",)),
    ],
)
def test_other_mask_values(pair, image, values, config, words):
    folder, item = pair
    image(folder / item.mask, np.resize(np.array(values, np.uint8), (16, 20)))
    refused(folder, item, "part1/masks/SC-N-02-IM-0001-0009.png", *words, config=config)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (np.int8([-7]), np.int16),
        (np.int64([-7, 32767]), np.int16),
        (np.int32([0, 65535]), np.uint16),
        (np.array([1, 2], ">u2"), np.uint16),
        (np.float64([0.25, -3]), np.float32),
        (np.array([True]), np.uint8),
    ],
)
def test_types_of_pixels(tmp_path, stored, kept):
    pixels = np.resize(stored, (4, 5))
    write_numpy_pair(tmp_path, "anna_3", pixels, np.eye(4, 5, dtype=bool))
    loaded = load(tmp_path, discover(tmp_path).items[0], ENDO)
    assert (loaded.case_id, loaded.image.dtype, loaded.mask.sum()) == ("anna", np.dtype(kept), 4)
    np.testing.assert_array_equal(loaded.image, pixels)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.array([[-1, 65535]]), ("values -1 to 65535", "16 bits")),
        (np.array([[0.5, np.nan]]), ("NaN or infinite",)),
        (np.zeros((1, 2), complex), ("complex128",)),
        (np.zeros((0, 2)), ("0 pixels",)),
    ],
)
def test_pixels_that_cannot_be_kept(tmp_path, pixels, words):
    write_numpy_pair(tmp_path, "anna_3", pixels, np.ones(pixels.shape, np.uint8))
    refused(tmp_path, discover(tmp_path).items[0], "images/anna_3.npy", *words)


def test_mask_of_fractions(tmp_path):
    write_numpy_pair(tmp_path, "anna_3", np.zeros((2, 2)), np.full((2, 2), 0.5))
    refused(tmp_path, discover(tmp_path).items[0], "masks/anna_3.npy", "float64", "expected integers")


def test_archive_of_one_array(tmp_path):
    for part, arrays in (("images", {"a": np.full((4, 4), 7)}), ("masks", {"b": np.eye(4)})):
        (tmp_path / part).mkdir()
        np.savez(tmp_path / part / "anna_3.npz", **arrays)
    loaded = load(tmp_path, discover(tmp_path).items[0], ENDO)
    assert (loaded.image.min(), loaded.mask.sum()) == (7, 4)


def test_archive_of_two_arrays_costs_only_itself(tmp_path):
    write_numpy_pair(tmp_path, "anna_3", np.zeros((2, 2)), np.ones((2, 2)))
    for part in ("images", "masks"):
        np.savez(tmp_path / part / "otto_3.npz", x=np.zeros(3), y=np.zeros(3))
    assert [item.name for item in discover(tmp_path).items] == ["anna_3"]
    assert "expected one array, found 2" in reasons(tmp_path)["masks/otto_3.npz"]


def test_grey_stored_as_colour(pair, image):
    folder, item = pair
    image(folder / item.image, np.full((16, 20, 3), 7, np.uint8))
    image(folder / item.mask, np.full((16, 20, 3), 255, np.uint8))
    loaded = load(folder, item, ENDO)
    assert (loaded.image == 7).all()
    assert (loaded.mask == 1).all()
    assert loaded.image.shape == loaded.mask.shape == (16, 20)


@pytest.mark.parametrize(("dtype", "word"), [(np.uint8, "colour image"), (np.uint16, "colour of 16 bits")])
def test_colour(pair, image, dtype, word):
    folder, item = pair
    image(folder / item.image, np.full((16, 20, 3), (1, 2, 3), dtype))
    refused(folder, item, "part1/images/SC-N-02-IM-0001-0009.png", word)


def test_mask_of_another_size(pair, image):
    folder, item = pair
    image(folder / item.mask, np.zeros((20, 16), np.uint8))
    refused(folder, item, "part1/masks/SC-N-02-IM-0001-0009.png", "20x16", "16x20")


@pytest.mark.parametrize("part", ["image", "mask"])
def test_truncated_png(pair, part):
    folder, item = pair
    path: Path = folder / getattr(item, part)
    path.write_bytes(path.read_bytes()[: -(path.stat().st_size // 2)])
    refused(folder, item, getattr(item, part))


def test_not_a_png(pair):
    folder, item = pair
    (folder / item.image).write_text("hello")
    refused(folder, item, "0009.png: not a png file")


def test_missing_file(pair):
    folder, item = pair
    refused(folder, dataclasses.replace(item, mask="part1/masks/gone.png"), "gone.png: cannot be read")
