"""The linked layout: what is listed, what is left out and why."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import SourceError
from lvseg.sources import LinkedItem, PairItem, discover

NUMBERS = ["PH-2-IM-0001-0008", "PH-2-IM-0001-0021", "SC-HF-I-1-IM-0001-0008", "SC-HF-I-1-IM-0001-0021"]


def test_linked_folder(linked):
    listing = discover(linked)
    assert listing.layout == "linked"
    assert [item.name for item in listing.items] == NUMBERS
    assert listing.skipped == ()
    assert listing.unlabelled_images == 2
    assert listing.items[0] == LinkedItem(
        name="PH-2-IM-0001-0008",
        case_id="PH-2",
        dicom=linked / "dicoms/SCD2/8.dcm",
        contour=linked / "contourfiles/PH-2/i-contours/IM-0001-0008-icontour-manual.txt",
    )
    assert pickle.loads(pickle.dumps(listing)) == listing


def test_linked_folder_one_level_down(linked):
    listing = discover(linked.parent)
    assert [item.name for item in listing.items] == NUMBERS


def test_no_pixels_are_read(linked):
    for path in linked.rglob("*.dcm"):
        path.write_bytes(b"")
    assert len(discover(linked).items) == 4


def test_contour_without_image(linked):
    (linked / "dicoms/SCD1/8.dcm").unlink()
    name = "contourfiles/SC-HF-I-01/i-contours/IM-0001-0008-icontour-manual.txt"
    assert reasons(linked) == {name: "contour without image, no file numbered 8 in the patient's image folder"}
    assert len(discover(linked).items) == 3


def test_contour_folder_not_in_link(linked, contour):
    contour(linked / "contourfiles/SC-N-5/i-contours/IM-0001-0008-icontour-manual.txt")
    assert reasons(linked) == {"contourfiles/SC-N-5": "folder is not in link.csv"}


def test_skipped_files_are_relative_to_the_given_folder(linked, contour):
    contour(linked / "contourfiles/SC-N-5/i-contours/IM-0001-0008-icontour-manual.txt")
    assert list(reasons(linked.parent)) == ["linked/contourfiles/SC-N-5"]


def test_linked_patient_without_folder(linked):
    shutil.rmtree(linked / "dicoms/SCD1")
    assert reasons(linked) == {"dicoms/SCD1": "no such folder, but link.csv lists it for SC-HF-I-1"}
    assert len(discover(linked).items) == 2


def test_the_same_number_twice(linked, contour, dicom):
    contour(linked / "contourfiles/PH-2/i-contours/IM-0002-0008-icontour-manual.txt")
    dicom(linked / "dicoms/SCD2/IM-0003-0008.dcm", 8)
    contour(linked / "contourfiles/SC-HF-I-1/i-contours/IM-0001-0001-icontour-manual.txt")
    assert reasons(linked) == {
        "contourfiles/PH-2/i-contours/IM-0002-0008-icontour-manual.txt": "same image number as "
        "contourfiles/PH-2/i-contours/IM-0001-0008-icontour-manual.txt",
        "dicoms/SCD2/IM-0003-0008.dcm": "same image number as dicoms/SCD2/8.dcm",
        "contourfiles/SC-HF-I-1": "same case as contourfiles/SC-HF-I-01",
    }


def test_stray_files_are_listed(linked):
    for name in ("dicoms/readme.txt", "dicoms/SCD1/notes.txt", "contourfiles/PH-2/notes.txt"):
        (linked / name).write_text("hello")
    assert sorted(reasons(linked)) == ["contourfiles/PH-2/notes.txt", "dicoms/SCD1/notes.txt", "dicoms/readme.txt"]


def test_link_rows_that_cannot_be_used(linked):
    with (linked / "link.csv").open("a") as file:
        file.write("SCD3,\nSCD1,SC-N-9\n\n")
    assert [skip.reason for skip in discover(linked).skipped] == [
        "row 3: patient_id or original_id is empty",
        "row 4: SCD1 or SC-N-9 is listed twice",
    ]


def test_no_contours(linked):
    for path in linked.rglob("*icontour*"):
        path.unlink()
    with pytest.raises(SourceError, match="contourfiles: no endocardium contours"):
        discover(linked)
