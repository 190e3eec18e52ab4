"""Personal data is where the privacy test looks for it, and nowhere else."""

import json
from pathlib import Path

import pydicom
import pytest

from lvseg.phantom import planted_identifiers, write_phantom


def content(folder: Path) -> bytes:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "truth.json")
    return b"\n".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)


@pytest.fixture(scope="module", params=["linked", "challenge", "segmentation"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("identifiers") / request.param
    write_phantom(out, patients=2, seed=3, size=64, slices=2, phases=3, layout=request.param, identifiers=True)
    return out


def test_every_string_is_planted_for_every_patient(tree: Path) -> None:
    found = content(tree)
    strings = planted_identifiers(2, 3)
    assert len(strings) == 2 * len(planted_identifiers(1, 3))
    assert [string for string in strings if string.encode() not in found] == []


def test_every_header_and_every_uid_is_a_persons_own(tree: Path) -> None:
    roots = [string for string in planted_identifiers(2, 3) if string.startswith("1.2.")]
    assert len(roots) == 2
    for path in tree.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
        assert len({tuple(root for root in roots if header[name].value.startswith(root)) for name in names}) == 1
        assert header.SOPInstanceUID.is_valid
        assert header.PatientBirthDate in planted_identifiers(2, 3)
        assert header.PatientName.family_name in planted_identifiers(2, 3)


def test_truth_names_nobody(tree: Path) -> None:
    text = (tree / "truth.json").read_text()
    assert json.loads(text)["patients"][0]["original_id"].startswith(("PH-", "SC-"))
    assert [string for string in planted_identifiers(2, 3) if string in text] == []


def test_folders_of_the_segmentation_layout_are_named_after_persons(tree: Path) -> None:
    folders = [path.name for path in tree.iterdir() if path.is_dir()]
    named = [name for name in folders if any(string in name for string in planted_identifiers(2, 3))]
    assert named == (folders if tree.name == "segmentation" else [])


def test_without_the_flag_there_is_none(tmp_path: Path) -> None:
    write_phantom(tmp_path / "out", patients=1, seed=3, size=64, slices=2, phases=3)
    found = content(tmp_path / "out")
    assert [string for string in planted_identifiers(2, 3) if string.encode() in found] == []
