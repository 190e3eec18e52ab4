"""The linked layout: what is listed, what is left out and why."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources import DicomItem, discover, open_source

NUMBERS = ["PH-N-2-IM-0001-0008", "PH-N-2-IM-0001-0021", "SC-HF-I-1-IM-0001-0008", "SC-HF-I-1-IM-0001-0021"]


def reasons(folder: Path) -> dict[str, str]:
    return {skip.file: skip.reason for skip in discover(folder).skipped}


def test_tree(linked):
    source = open_source(linked, ConvertConfig())
    assert source.layout == "linked"
    assert [(unit.case_id, unit.group) for unit in source.units()[0]] == [("PH-N-2", "N"), ("SC-HF-I-1", "HF-I")]
    listing = discover(linked)
    assert [item.name for item in listing.items] == NUMBERS
    assert (listing.skipped, listing.decisions) == ((), ())
    assert [finding.check for finding in listing.findings] == ["non-square-pixels"] * 2
    assert listing.unlabelled_images == 2
    assert listing.items[0] == DicomItem(
        name="PH-N-2-IM-0001-0008",
        case_id="PH-N-2",
        group="N",
        image="dicoms/SCD2/8.dcm",
        endocardium="contourfiles/PH-N-2/i-contours/IM-0001-0008-icontour-manual.txt",
        epicardium="contourfiles/PH-N-2/o-contours/IM-0001-0008-ocontour-manual.txt",
        instance_number=8,
    )
    assert pickle.loads(pickle.dumps((source, listing))) == (source, listing)


def test_slice_and_phase(linked, cine):
    for patient in ("SCD1", "SCD2"):
        shutil.rmtree(linked / "dicoms" / patient)
        cine().write_images(linked / "dicoms" / patient, 300, name="{number}.dcm")
    listing = discover(linked)
    places = {item.instance_number: (item.slice_index, item.phase_index) for item in listing.items}
    assert places == {8: (0, 7), 21: (2, 0)}
    assert listing.decisions == ()


def test_second_cine_in_the_folder(linked, cine):
    """The contours are the linked fixture's squares: both cines have their numbers, the table knows neither."""
    folder = linked / "dicoms/SCD2"
    shutil.rmtree(folder)
    cine(centre=(6, 7), slices=3).write_images(folder, 300, name="{number}.dcm")
    cine(centre=(30, 30), slices=3, noise=1).write_images(folder, 301, name="second-{number}.dcm")
    listing = discover(linked)
    assert [item.image for item in listing.items[:2]] == ["dicoms/SCD2/8.dcm", "dicoms/SCD2/21.dcm"]
    assert listing.skipped == ()
    [decision] = listing.decisions
    assert (decision.case_id, decision.decided) == ("PH-N-2", "series 300")


def test_one_or_two_levels_down(linked, tmp_path):
    assert [item.name for item in discover(linked.parent).items] == NUMBERS
    shutil.move(linked, tmp_path / "a/b")
    assert len(discover(tmp_path).items) == 4


def test_clutter_is_ignored(linked):
    for folder in (linked, linked / "dicoms", linked / "dicoms/SCD1", linked / "contourfiles/PH-N-2"):
        for name in (".DS_Store", "._8.dcm", "Thumbs.db"):
            (folder / name).write_bytes(b"clutter")
    assert discover(linked).skipped == ()


def test_contour_without_image(linked):
    (linked / "dicoms/SCD1/8.dcm").unlink()
    reason = "contour without image, no image numbered 8 in series unnumbered"
    assert reasons(linked) == {
        f"contourfiles/SC-HF-I-01/{kind}-contours/IM-0001-0008-{kind}contour-manual.txt": reason for kind in "io"
    }
    assert len(discover(linked).items) == 3


def test_damaged_image(linked):
    (linked / "dicoms/SCD1/8.dcm").write_bytes(b"hello")
    found = reasons(linked)
    assert found.pop("dicoms/SCD1/8.dcm") == "not a DICOM file"
    assert set(map(Path, found)) == {
        Path(f"contourfiles/SC-HF-I-01/{kind}-contours/IM-0001-0008-{kind}contour-manual.txt") for kind in "io"
    }


def test_folders_in_no_table(linked, contour, dicom):
    contour(linked / "contourfiles/SC-N-5/i-contours/IM-0001-0008-icontour-manual.txt")
    dicom(linked / "dicoms/SCD0000901/8.dcm", 8)
    assert reasons(linked) == {
        "contourfiles/SC-N-5": "folder is not in link.csv",
        "dicoms/SCD0000901": "folder is not in link.csv",
    }
    assert "linked/contourfiles/SC-N-5" in reasons(linked.parent)


def test_patient_without_images(linked):
    shutil.rmtree(linked / "dicoms/SCD1")
    assert reasons(linked) == {
        "dicoms/SCD1": "no such folder, but link.csv lists it for SC-HF-I-1",
        "contourfiles/SC-HF-I-01": "contours without images, no image folder of SC-HF-I-1",
    }
    assert len(discover(linked).items) == 2


def test_patient_without_contours(linked):
    shutil.rmtree(linked / "contourfiles/PH-N-2")
    assert reasons(linked) == {"dicoms/SCD2": "images without contours, no contour folder of PH-N-2"}


def test_the_same_number_twice(linked, contour, dicom):
    contour(linked / "contourfiles/PH-N-2/i-contours/IM-0002-0008-icontour-manual.txt")
    dicom(linked / "dicoms/SCD2/IM-0003-0008.dcm", 8)
    contour(linked / "contourfiles/SC-HF-I-1/i-contours/IM-0001-0001-icontour-manual.txt")
    found = reasons(linked)
    first = "contourfiles/PH-N-2/i-contours/IM-0001-0008-icontour-manual.txt"
    assert found["contourfiles/PH-N-2/i-contours/IM-0002-0008-icontour-manual.txt"] == f"same image number as {first}"
    assert found["contourfiles/SC-HF-I-1"] == "same case as contourfiles/SC-HF-I-01"


def test_stray_files_are_listed(linked):
    for name in ("dicoms/readme.txt", "dicoms/SCD1/notes.txt", "contourfiles/PH-N-2/notes.txt"):
        (linked / name).write_text("hello")
    assert sorted(reasons(linked)) == ["contourfiles/PH-N-2/notes.txt", "dicoms/SCD1/notes.txt", "dicoms/readme.txt"]


def test_link_rows_that_cannot_be_used(linked):
    with (linked / "link.csv").open("a") as file:
        file.write("SCD3,\nSCD1,SC-N-9\n\n")
    assert [skip.reason for skip in discover(linked).skipped] == [
        "row 3: patient_id or original_id is empty",
        "row 4: patient_id or original_id is listed twice",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("patient,original\nSCD1,SC-N-1\n", "no column patient_id or original_id, found patient, original"),
        ("", "found nothing"),
        ("\xff\xfe\x00", "cannot be read as CSV"),
    ],
)
def test_link_without_its_columns(linked, content, words):
    (linked / "link.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(SourceError) as caught:
        discover(linked)
    assert str(linked / "link.csv") in str(caught.value)
    assert words in str(caught.value)


def test_no_contour_has_an_image(linked):
    for path in linked.glob("dicoms/*/*.dcm"):
        path.unlink()
    with pytest.raises(SourceError, match="no labelled image, 6 left out"):
        discover(linked)


def test_original_names_are_not_shown(linked, cine, monkeypatch):
    monkeypatch.setenv("LVSEG_PSEUDONYM_KEY", "a secret of the test")
    for name in ("DOE-1", "ROE-2", "LOST-3"):
        cine(slices=1).write_images(linked / "dicoms" / name, without=(6,))
    for name in ("JOHN", "JANE"):
        cine().write_contours(linked / "contourfiles" / name)
    with (linked / "link.csv").open("a") as file:
        file.write("DOE-1,JOHN\nROE-2,NOBODY\nGONE-4,NOWHERE\n")
    listing = discover(linked)
    said = repr((listing.skipped, listing.decisions, listing.findings))
    assert not any(n in said for n in ("DOE", "JOHN", "ROE", "JANE", "LOST", "NOBODY", "NOWHERE", "GONE"))
    assert [item.instance_number for item in listing.items if item.case_id.startswith("P-")] == [1]
