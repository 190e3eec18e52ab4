"""The challenge's layout: trees, traps, what is left out."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from lvseg.config import ConvertConfig
from lvseg.sources import discover, load, open_source
from lvseg.sources.challenge import find_challenge
from lvseg.store import location

IMAGES = {"SC-HF-I-1": "challenge_training", "SC-N-6": "challenge_validation"}
CONTOURS = {
    "SC-HF-I-01": "Sunnybrook Cardiac MR Database ContoursPart3/TrainingDataContours",
    "SC-N-06": "Sunnybrook Cardiac MR Database ContoursPart2/ValidationDataContours",
}
SERIES = {"SC-HF-I-1": 4, "SC-N-6": 984}


def images(root: Path, case_id: str) -> Path:
    return root / IMAGES[case_id] / case_id


def contours(root: Path, padded: str) -> Path:
    return root / CONTOURS[padded] / padded / "contours-manual/IRCCI-expert"


@pytest.fixture
def challenge(tmp_path, cine) -> Path:
    """Two patients, each with a scout beside the cine."""
    root = tmp_path / "challenge"
    for case_id, padded in zip(IMAGES, CONTOURS, strict=True):
        cine().write_images(images(root, case_id), SERIES[case_id])
        cine(slices=1, phases=3).write_images(images(root, case_id), SERIES[case_id] - 1)
        cine().write_contours(contours(root, padded), kinds=("i", "o", "p1", "p2"))
    return root


def reasons(folder: Path) -> dict[str, str]:
    return {skip.file: skip.reason for skip in discover(folder).skipped}


def test_tree(challenge):
    source = open_source(challenge, ConvertConfig())
    assert source.layout == "challenge"
    units, listing = source.units()
    assert [(unit.case_id, unit.group) for unit in units] == [("SC-HF-I-1", "HF-I"), ("SC-N-6", "N")]
    assert listing.skipped == ()
    listing = discover(challenge)
    assert (len(listing.items), listing.skipped, listing.findings) == (16, (), ())
    assert listing.unlabelled_images == 2 * (40 + 3 - 8)
    item = listing.items[0]
    assert item.name == "SC-HF-I-1-IM-0001-0001"
    assert item.image == "challenge_training/SC-HF-I-1/IM-0004-0001.dcm"
    stem = "Sunnybrook Cardiac MR Database ContoursPart3/TrainingDataContours/SC-HF-I-01/contours-manual/IRCCI-expert"
    assert item.endocardium == f"{stem}/IM-0001-0001-icontour-manual.txt"
    assert item.epicardium == f"{stem}/IM-0001-0001-ocontour-manual.txt"
    assert len(item.papillaries) == 2
    assert [(item.slice_index, item.phase_index) for item in listing.items[:4]] == [(0, 0), (0, 5), (1, 0), (1, 5)]
    assert pickle.loads(pickle.dumps((source, listing))) == (source, listing)


def test_every_item_loads(challenge, cine):
    for item in discover(challenge).items:
        loaded = load(challenge, item, ConvertConfig())
        place = loaded.place
        expected = cine().pixels(place.slice_index, place.phase_index)
        assert (loaded.image == expected).all()


def test_folders_above_may_differ(challenge, tmp_path):
    deep = tmp_path / "deep/er"
    shutil.move(challenge / "challenge_training", deep / "Sunnybrook/images/training")
    shutil.move(challenge / CONTOURS["SC-HF-I-01"], deep / "Sunnybrook/Sunnybrook Cardiac MR Database/Contours/T")
    assert find_challenge(location(tmp_path / "deep")) == [deep / "Sunnybrook"]
    listing = discover(tmp_path / "deep")
    assert {item.case_id for item in listing.items} == {"SC-HF-I-1"}
    assert listing.items[0].image == "er/Sunnybrook/images/training/SC-HF-I-1/IM-0004-0001.dcm"


def test_a_folder_more_below_the_patient(challenge):
    folder = images(challenge, "SC-N-6")
    shutil.move(folder, challenge / "moved")
    shutil.move(challenge / "moved", folder / "DICOM")
    assert len(discover(challenge).items) == 16


def test_second_cine_of_the_same_size(challenge, cine):
    cine(centre=(20, 27), noise=1).write_images(images(challenge, "SC-N-6"), 981)
    shutil.move(images(challenge, "SC-HF-I-1"), challenge / "moved")
    cine(centre=(20, 27), noise=1).write_images(images(challenge, "SC-HF-I-1"), 4)  # the table's number, another cine
    cine().write_images(images(challenge, "SC-HF-I-1"), 11)
    listing = discover(challenge)
    used = {item.case_id: item.image[-16:-9] for item in listing.items}
    assert used == {"SC-HF-I-1": "IM-0011", "SC-N-6": "IM-0984"}
    decided = {decision.case_id: decision for decision in listing.decisions}
    assert decided["SC-HF-I-1"].decided == "series 0011"
    assert "the table of short-axis series says 0004" in decided["SC-HF-I-1"].reason


def test_files_missing_from_a_cine(challenge, cine):
    folder = images(challenge, "SC-N-6")
    shutil.rmtree(folder)
    cine().write_images(folder, 984, without=(15, 18), renumber=True)
    listing = discover(challenge)
    places = {item.instance_number: (item.slice_index, item.phase_index) for item in listing.items[8:]}
    # Numbers of the contours are those of the whole cine; after the gap, images with these numbers are later ones.
    assert (places[1], places[11], places[21], places[36]) == ((0, 0), (1, 0), (2, 2), (3, 7))
    [decision] = [each for each in listing.decisions if each.subject == "slice and phase"]
    assert decision.case_id == "SC-N-6"
    assert decision.reason == "counting in slices of 10 phases would be wrong for 24 of the 38 images of series 0984"
    [finding] = listing.findings
    assert (finding.check, finding.severity, finding.case_id) == ("incomplete-cine", "note", "SC-N-6")
    assert "38 images, expected 40 (4 slices of 10 phases)" in finding.reason


def test_missing_and_stray_files(challenge):
    (images(challenge, "SC-N-6") / "IM-0984-0011.dcm").unlink()
    (images(challenge, "SC-N-6") / "notes.txt").write_text("hello")
    (images(challenge, "SC-N-6") / ".DS_Store").write_bytes(b"clutter")
    (images(challenge, "SC-N-6") / "IM-0984-9999.dcm").write_bytes(b"hello")
    (contours(challenge, "SC-N-06") / "IM-0001-0021-icontour-manual.txt").unlink()
    shutil.rmtree(contours(challenge, "SC-HF-I-01"))
    found = reasons(challenge)
    base = "Sunnybrook Cardiac MR Database ContoursPart2/ValidationDataContours/SC-N-06/contours-manual/IRCCI-expert"
    without_image = "contour without image, no image numbered 11 in series 0984"
    alone = "no endocardium contour of the same image"
    assert found == {
        **{f"{base}/IM-0001-0011-{kind}contour-manual.txt": without_image for kind in ("i", "o", "p1", "p2")},
        **{f"{base}/IM-0001-0021-{kind}contour-manual.txt": alone for kind in ("o", "p1", "p2")},
        "challenge_validation/SC-N-6/notes.txt": "not a DICOM image, expected a name that ends in .dcm",
        "challenge_validation/SC-N-6/IM-0984-9999.dcm": "not a DICOM file",
        "Sunnybrook Cardiac MR Database ContoursPart3/TrainingDataContours/SC-HF-I-01": "no endocardium contour, "
        "expected IM-0001-0048-icontour-manual.txt",
    }


def test_folders_without_partner(challenge, cine):
    cine(slices=1).write_images(challenge / "challenge_training/SC-HYP-1", 550)
    cine().write_contours(challenge / CONTOURS["SC-N-06"] / "SC-HYP-06/contours-manual")
    assert reasons(challenge) == {
        "challenge_training/SC-HYP-1": "images without contours, no contour folder of this name",
        f"{CONTOURS['SC-N-06']}/SC-HYP-06": "contours without images, no image folder of this name",
    }


def test_original_names_are_not_shown(challenge, cine, monkeypatch):
    """Patients with other ids than the public ones get pseudonyms; no message shows a folder's name."""
    monkeypatch.setenv("LVSEG_PSEUDONYM_KEY", "a secret of the test")
    for name in ("DOE-JOHN", "ROE-JANE"):
        cine().write_images(challenge / f"challenge_training/{name}", 7, without=(11,))
    folder = challenge / CONTOURS["SC-HF-I-01"] / "DOE-JOHN/contours-manual"
    cine().write_contours(folder)
    (folder / "IM-0001-0021-icontour-manual.txt").write_text("1 1\n")
    (folder / "IM-0001-0031-icontour-manual.txt").unlink()
    (folder / "DOE-JOHN.txt").write_text("hello")
    (challenge / "challenge_training/DOE-JOHN/report DOE.pdf").write_text("hello")
    cine(centre=(20, 27), noise=1).write_images(challenge / "challenge_training/DOE-JOHN", 8)
    listing = discover(challenge)
    private = [item for item in listing.items if item.case_id.startswith("P-")]
    assert len({item.case_id for item in private}) == 1
    assert (len(private), private[0].group) == (6, None)
    said = repr((listing.skipped, listing.decisions, listing.findings))
    assert not any(name in said for name in ("DOE", "JOHN", "ROE", "JANE"))
    files = {skip.file for skip in listing.skipped}
    case_id = private[0].case_id
    assert {f"{case_id}/IM-0001-0011-icontour-manual.txt", f"{case_id}/….txt", f"{case_id}/…"} <= files
