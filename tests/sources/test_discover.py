"""What a folder holds: layouts found, files left out, folders refused."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import SourceError
from lvseg.sources import LinkedItem, PairItem, discover

NUMBERS = ["PH-2-IM-0001-0008", "PH-2-IM-0001-0021", "SC-HF-I-1-IM-0001-0008", "SC-HF-I-1-IM-0001-0021"]


def reasons(folder: Path, **options) -> dict[str, str]:
    return {skip.file: skip.reason for skip in discover(folder, **options).skipped}


def test_pairs_in_two_parts(pairs):
    listing = discover(pairs)
    assert listing.layout == "pairs"
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
        image=pairs / "part1/images" / stem,
        mask=pairs / "part1/masks" / stem,
    )
    assert len(discover(pairs / "part2").items) == 2


def test_numbers_sort_as_numbers(tmp_path, image):
    for number in (10, 9, 100):
        for part in ("images", "masks"):
            image(tmp_path / part / f"anna_{number}.png", np.zeros((4, 4), np.uint8))
    assert [item.name for item in discover(tmp_path).items] == ["anna_9", "anna_10", "anna_100"]


def test_clutter_is_ignored(linked, pairs):
    for folder in (linked, linked / "dicoms/SCD1", linked / "contourfiles/PH-2", pairs / "part1/images"):
        for name in (".DS_Store", "._8.dcm", "Thumbs.db"):
            (folder / name).write_bytes(b"clutter")
    (pairs / "part1/masks/._SC-N-02-IM-0001-0009.png").write_bytes(b"clutter")
    assert discover(linked).skipped == ()
    assert discover(pairs).skipped == ()


def test_image_without_mask_and_mask_without_image(pairs):
    (pairs / "part1/masks/SC-N-02-IM-0001-0009.png").unlink()
    (pairs / "part2/images/SC-N-03-IM-0001-0010.png").unlink()
    assert reasons(pairs) == {
        "part1/images/SC-N-02-IM-0001-0009.png": "image without mask",
        "part2/masks/SC-N-03-IM-0001-0010.png": "mask without image",
    }
    assert len(discover(pairs).items) == 2


def test_the_same_name_in_two_parts(pairs):
    for part in ("images", "masks"):
        shutil.copy(pairs / f"part1/{part}/SC-N-02-IM-0001-0009.png", pairs / f"part2/{part}/SC-N-2-IM-0001-0009.png")
    assert reasons(pairs) == {
        "part2/images/SC-N-2-IM-0001-0009.png": "same name SC-N-2-IM-0001-0009 as part1/images/SC-N-02-IM-0001-0009.png"
    }


def refused(folder: Path, *words: str, **options) -> None:
    with pytest.raises(SourceError) as caught:
        discover(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(folder), *words):
        assert word in message


def test_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", "no such folder")


def test_file_instead_of_folder(linked):
    refused(linked / "link.csv", "a file, expected a folder")


def test_empty_folder(tmp_path):
    (tmp_path / ".DS_Store").write_bytes(b"")
    refused(tmp_path, "empty")


def test_nothing_recognised(tmp_path):
    (tmp_path / "scans").mkdir()
    refused(tmp_path, "link.csv", "masks/", "found scans")


def test_part_of_the_linked_layout(linked):
    (linked / "link.csv").unlink()
    refused(linked, "link.csv", "found contourfiles, dicoms")


def test_no_contour_has_an_image(linked):
    for path in linked.rglob("*.dcm"):
        path.unlink()
    refused(linked, "no labelled image", "4 left out", "contour without image")


def test_no_image_has_a_mask(pairs):
    for path in pairs.rglob("masks/*.png"):
        path.unlink()
    refused(pairs, "no labelled image", "image without mask")


def test_link_without_its_columns(linked):
    (linked / "link.csv").write_text("patient,case\nSCD1,SC-HF-I-1\n")
    with pytest.raises(SourceError, match=r"link\.csv: no column patient_id or original_id, found patient, case"):
        discover(linked)


def test_two_layouts_at_once(linked, pairs):
    refused(linked.parent, "choose one", "linked", "part1")
    assert discover(linked.parent, "pairs").layout == "pairs"
    assert discover(linked.parent, "linked").layout == "linked"


def test_the_other_layout_was_asked_for(linked):
    refused(linked, "images/ beside masks/", layout="pairs")
