"""The Cardiac Atlas Project's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources import discover, load, open_source

TABLE = """PatientID,OriginalID,Gender,Age,Pathology
SCD0000101,SC-HF-I-1,Male,47,Heart failure with infarct
SCD0003701,SC-N-06,Female,53,Normal
SCD0009901,SC-N-99,Female,53,Normal
"""
LABELS = "SCD_ManualContours/{}/contours-manual/IRCCI-expert"


@pytest.fixture
def cap(tmp_path, cine) -> Path:
    root = tmp_path / "cap"
    for patient, padded in (("SCD_IMAGES_01/SCD0000101", "SC-HF-I-01"), ("SCD_IMAGES_04/SCD0003701", "SC-N-06")):
        cine().write_images(root / patient / "CINESAX_300", 300, name="IM-0003-{number:04d}.dcm")
        cine(slices=1, centre=(9, 9)).write_images(root / patient / "CINELAX_301", 301, name="IM-0004-{number:04d}.dcm")
        cine().write_contours(root / LABELS.format(padded))
    (root / "scd_patientdata.csv").write_text(TABLE, encoding="utf-8-sig")
    return root


def test_tree(cap):
    source = open_source(cap, ConvertConfig())
    assert source.layout == "cap"
    units, _ = source.units()
    assert [(unit.case_id, unit.group) for unit in units] == [("SC-HF-I-1", "HF-I"), ("SC-N-6", "N")]
    listing = discover(cap)
    assert (len(listing.items), listing.skipped, listing.decisions, listing.findings) == (16, (), (), ())
    item = listing.items[-1]
    assert item.image == "SCD_IMAGES_04/SCD0003701/CINESAX_300/IM-0003-0036.dcm"
    assert item.endocardium == f"{LABELS.format('SC-N-06')}/IM-0001-0036-icontour-manual.txt"
    assert (item.slice_index, item.phase_index) == (3, 5)
    assert load(cap, item, ConvertConfig()).name == "SC-N-6-IM-0001-0036"


def test_gender_and_age_are_not_kept(cap):
    units, listing = open_source(cap, ConvertConfig()).units()
    assert not any(word in repr((units, listing)) for word in ("Female", "Male", "47", "53"))


def test_several_short_axis_series(cap, cine):
    patient = cap / "SCD_IMAGES_01/SCD0000101"
    for series, noise in ((299, 1), (310, 2)):
        wrong = cine(centre=(20, 27), noise=noise)
        wrong.write_images(patient / f"CINESAX_{series}", series, name="IM-0003-{number:04d}.dcm")
    listing = discover(cap)
    assert {item.image.split("/")[2] for item in listing.items} == {"CINESAX_300"}
    [decision] = listing.decisions
    assert (decision.case_id, decision.decided) == ("SC-HF-I-1", "series 300")
    assert "series 299" in decision.reason
    assert "series 310" in decision.reason


def test_partners_missing(cap, cine):
    cine(slices=1).write_images(cap / "SCD_IMAGES_01/SCD0000201/CINESAX_300", 300)
    cine(slices=1).write_images(cap / "SCD_IMAGES_01/SCD0009901/CINESAX_300", 300)
    cine().write_contours(cap / LABELS.format("SC-HYP-01"))
    (cap / "SCD_ManualContours/readme.txt").write_text("hello")
    assert {skip.file: skip.reason for skip in discover(cap).skipped} == {
        "SCD_IMAGES_01/SCD0000201": "folder is not in scd_patientdata.csv",
        "SCD_IMAGES_01/SCD0009901": "images without contours, no contour folder of SC-N-99",
        "SCD_ManualContours/SC-HYP-01": "folder is not in scd_patientdata.csv",
        "SCD_ManualContours/readme.txt": "expected a folder here",
    }


def test_without_the_table(cap):
    (cap / "scd_patientdata.csv").unlink()
    with pytest.raises(SourceError, match=r"no scd_patientdata\.csv, which says whose"):
        discover(cap)


def test_table_without_its_columns(cap):
    (cap / "scd_patientdata.csv").write_text("PatientID,Gender\nSCD0000101,Male\n")
    with pytest.raises(SourceError, match=r"scd_patientdata\.csv: no column OriginalID, found PatientID, Gender"):
        discover(cap)


def test_images_without_series_folders(cap):
    for patient in cap.glob("SCD_IMAGES_*/SCD*"):
        for path in (patient / "CINESAX_300").iterdir():
            path.rename(patient / path.name)
        (patient / "CINESAX_300").rmdir()
    assert len(discover(cap).items) == 16
