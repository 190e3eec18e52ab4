"""DICOM SEG objects: their kinds, their segments, whose image a frame belongs to, and that no name is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources import discover, load, open_source
from lvseg.sources.pseudonym import KEY_VARIABLE, Pseudonyms

ENDO = ConvertConfig()
BOTH = ConvertConfig(structures="endo+myo")
SHAPE = (15, 17)  # 255 pixels: frames of one bit a pixel do not begin at whole bytes
LABELS = np.random.default_rng(0).integers(0, 3, (3, *SHAPE)).astype(np.uint8)
LABELS[2] = 0

CAVITY = ("Left ventricular cavity", codes.SCT.LeftVentricle)
WALL = ("Left ventricular myocardium", codes.SCT.LeftVentricleMyocardium)


@pytest.fixture(autouse=True)
def key(monkeypatch) -> bytes:
    monkeypatch.setenv(KEY_VARIABLE, "sesame")
    return b"sesame"


@pytest.fixture
def images(tmp_path, dicom) -> list[Path]:
    """Three images of one series of a patient, in a folder with his name."""
    common = {
        "SOPClassUID": pydicom.uid.MRImageStorage,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "Modality": "MR",
        "SeriesNumber": 3,
        "CardiacNumberOfImages": 1,
        "PixelSpacing": [1.25, 1.25],
        **dict.fromkeys(
            ("StudyTime", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName"), ""
        ),
        "PositionReferenceIndicator": "",
    }
    return [
        dicom(tmp_path / f"Doe_John/MR/{n:04d}.dcm", n, SHAPE, ImagePositionPatient=[0, 0, 8 * n], **common)
        for n in (1, 2, 3)
    ]


def write_seg(
    path: Path,
    images: list[Path],
    labels: np.ndarray = LABELS,
    kind: str = "BINARY",
    segments: tuple[tuple[str, Code], ...] = (CAVITY, WALL),
) -> Path:
    """Labels are 1 for the first segment, 2 for the second …; of a fractional one (images, rows, columns, segments)."""
    seg = Segmentation(
        source_images=[pydicom.dcmread(image) for image in images],
        pixel_array=labels,
        segmentation_type=kind,
        segment_descriptions=[
            SegmentDescription(number, label, codes.SCT.AnatomicalStructure, code, "MANUAL")
            for number, (label, code) in enumerate(segments, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="lvseg",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path)
    return path


@pytest.fixture
def tree(tmp_path, images) -> Path:
    write_seg(tmp_path / "Doe_John/labels.seg", images)
    return tmp_path


def masks(folder: Path, config: ConvertConfig = ENDO) -> list[np.ndarray]:
    return [load(folder, item, config).mask for item in discover(folder, config).items]


def test_listing(tree, key):
    assert open_source(tree, ENDO).layout == "segmentation"
    listing = discover(tree)
    case_id = Pseudonyms(key=key).case_id("SECRET-ID")
    assert [(item.name, item.case_id) for item in listing.items] == [
        (f"{case_id}-IM-0003-0001", case_id),
        (f"{case_id}-IM-0003-0002", case_id),
    ]
    assert (listing.items[0].image, listing.items[0].segmentation) == (
        "Doe_John/MR/0001.dcm",
        "Doe_John/labels.seg",
    )
    assert (listing.skipped, listing.findings, listing.unlabelled_images) == ((), (), 1)


def test_load(tree):
    loaded = load(tree, discover(tree).items[1], ENDO)
    np.testing.assert_array_equal(loaded.image, np.arange(255).reshape(SHAPE))
    np.testing.assert_array_equal(loaded.mask, LABELS[1] == 1)
    place = loaded.place
    assert (place.instance_number, place.slice_index, place.phase_index, place.pixel_spacing) == (2, 1, 0, (1.25, 1.25))
    assert place.image_position_patient == (0, 0, 16)
    assert loaded.instance_key
    assert not list(loaded.contours.named())


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_both_classes(tmp_path, images, kind):
    write_seg(tmp_path / "labels.dcm", images, kind=kind)
    np.testing.assert_array_equal(masks(tmp_path, BOTH), LABELS[:2])
    np.testing.assert_array_equal(masks(tmp_path), LABELS[:2] == 1)


def test_fractions_count_from_one_half(tmp_path, images):
    fractions = np.zeros((3, *SHAPE, 2))
    fractions[0, 2, 3:6, 0] = (0.4, 0.5, 0.9)
    write_seg(tmp_path / "labels.dcm", images, fractions, "FRACTIONAL")
    (mask,) = masks(tmp_path)
    assert np.argwhere(mask).tolist() == [[2, 4], [2, 5]]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ((WALL, CAVITY), {1: 2, 2: 1}),
        ((("Segment_1", codes.SCT.LeftVentricleMyocardium), ("Segment_2", codes.SCT.Lumen)), {1: 2, 2: 1}),
        ((("LV blood pool", codes.SCT.Heart), ("LV wall", codes.SCT.Heart)), {1: 1, 2: 2}),
        ((("myocardium", codes.SCT.LeftVentricle), ("cavity", codes.SCT.LeftVentricle)), {1: 2, 2: 1}),
        ((("a", Code("T-32600", "SRT", "Left ventricle")), ("RV cavity", codes.SCT.RightVentricle)), {1: 1, 2: 0}),
        ((("Right ventricle", codes.SCT.RightVentricle), ("left ventricle", codes.SCT.Heart)), {1: 0, 2: 1}),
    ],
)
def test_segments_are_told_by_code_and_label(tmp_path, images, segments, expected):
    write_seg(tmp_path / "labels.dcm", images, segments=segments)
    config = BOTH if 2 in expected.values() else ENDO
    lookup = np.array([0, expected[1], expected[2]])
    np.testing.assert_array_equal(masks(tmp_path, config), lookup[LABELS[:2]])


def test_the_only_segment_is_the_cavity(tmp_path, images):
    write_seg(tmp_path / "labels.dcm", images, (LABELS == 1).astype(np.uint8), segments=(("x", codes.SCT.Heart),))
    np.testing.assert_array_equal(masks(tmp_path), LABELS[:2] == 1)


def test_a_filled_epicardium_does_not_hide_the_cavity(tmp_path, images):
    overlapping = np.zeros((3, *SHAPE, 2), np.uint8)
    overlapping[0, 4:12, 4:12, 0] = 1
    overlapping[0, 6:9, 6:9, 1] = 1
    write_seg(
        tmp_path / "labels.dcm",
        images,
        overlapping,
        segments=(("epicardium", codes.SCT.Heart), ("endocardium", codes.SCT.Heart)),
    )
    (mask,) = masks(tmp_path, BOTH)
    assert [int((mask == value).sum()) for value in (1, 2)] == [9, 55]


def test_cavity_without_myocardium(tmp_path, images):
    labels = LABELS.copy()
    labels[1][labels[1] == 2] = 0
    write_seg(tmp_path / "Doe_John/labels.dcm", images, labels)
    first, second = discover(tmp_path, BOTH).items
    assert load(tmp_path, first, BOTH).mask.max() == 2
    with pytest.raises(SourceError, match=r"image 2: cavity without myocardium") as caught:
        load(tmp_path, second, BOTH)
    assert "Doe" not in str(caught.value)


def skips(folder: Path) -> dict[str, str]:
    """Reasons by the end of the file's name; the listing shows no name."""
    listing = discover(folder)
    assert "Doe" not in repr((listing.skipped, listing.findings, listing.decisions))
    return {skip.file.rpartition("/")[2]: skip.reason for skip in listing.skipped}


def test_images_that_are_missing(tree, images):
    images[0].unlink()
    assert skips(tree) == {"….seg": "1 of the 2 images that it labels are not there"}
    np.testing.assert_array_equal(masks(tree), LABELS[1:2] == 1)


def test_two_labels_for_one_image(tree, images):
    write_seg(tree / "Doe_John/second.seg", images)
    assert skips(tree) == {"….seg": "2 of its images have a label in another file, which is used"}


def test_no_left_ventricle(tree, images):
    write_seg(tree / "Doe_John/0009.dcm", images, segments=(("RV", codes.SCT.Heart), ("RA", codes.SCT.Heart)))
    assert skips(tree) == {"0009.dcm": "none of its 2 segments is the left ventricle's cavity, by code or by label"}


def change(path: Path, how: Callable[[pydicom.Dataset], None]) -> None:
    dataset = pydicom.dcmread(path)
    how(dataset)
    dataset.save_as(path)


def test_frames_without_source(tree, images):
    def strip(dataset: pydicom.Dataset) -> None:
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            del frame.DerivationImageSequence

    change(write_seg(tree / "Doe_John/0009.dcm", images), strip)
    assert "do not say which images" in skips(tree)["0009.dcm"]


def test_frame_made_from_several_images(tmp_path, images):
    """Nobody knows on which of them it was drawn."""

    def add(dataset: pydicom.Dataset) -> None:
        for frame in dataset.PerFrameFunctionalGroupsSequence[::2]:
            sources = frame.DerivationImageSequence[0].SourceImageSequence
            sources.append(sources[0])

    change(write_seg(tmp_path / "labels.seg", images, (LABELS == 1).astype(np.uint8), segments=(CAVITY,)), add)
    assert len(discover(tmp_path).items) == 1


def test_other_files_cost_nothing(tree, images):
    (tree / "Doe_John/report.txt").write_text("John Doe")
    (tree / "Doe_John/0009.dcm").write_bytes(images[0].read_bytes()[:600])
    (tree / "Doe_John/0010.dcm").write_bytes((tree / "Doe_John/labels.seg").read_bytes()[:1200])
    (tree / "LICENSE").write_text("CC0")
    reasons = skips(tree)
    assert sorted(reasons) == ["0009.dcm", "0010.dcm", "….txt"]
    assert reasons["….txt"] == "not a DICOM file"
    assert len(discover(tree).items) == 2


def test_frame_of_another_size(tree, images):
    def cut(dataset: pydicom.Dataset) -> None:
        dataset.Rows, dataset.PixelData = 5, dataset.PixelData[: 5 * 17 * 2]

    change(images[0], cut)
    with pytest.raises(SourceError, match="is 15x17, but its image is 5x17") as caught:
        load(tree, discover(tree).items[0], ENDO)
    assert "Doe" not in str(caught.value)


def test_two_patients_in_one_folder(tree, tmp_path, images, dicom, key):
    """Whose a file is, its header says."""
    for path in [*images, tree / "Doe_John/labels.seg"]:
        other = tmp_path / "Doe_John/MR" / f"1{path.name}"
        other.write_bytes(path.read_bytes())
        change(other, lambda dataset: setattr(dataset, "PatientID", "SC-HF-I-01"))
    listing = discover(tree)
    assert {item.case_id for item in listing.items} == {"SC-HF-I-1", Pseudonyms(key=key).case_id("SECRET-ID")}
    assert {item.group for item in listing.items} == {"HF-I", None}
    assert len(listing.items) == 4


def test_patients_without_id_are_told_apart_by_study(tree, images):
    for path in [*images, tree / "Doe_John/labels.seg"]:
        other = tree / "second" / path.name
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes())
        change(path, lambda dataset: setattr(dataset, "PatientID", ""))
        change(other, lambda dataset: (setattr(dataset, "PatientID", ""), setattr(dataset, "StudyInstanceUID", "1.9")))
    assert len({item.case_id for item in discover(tree).items}) == 2


def test_two_series_of_one_number(tree, images):
    copies = []
    for path in images:
        other = tree / "Doe_John/again" / path.name
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes())

        def renew(dataset: pydicom.Dataset) -> None:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.SeriesInstanceUID = "1.2.3.9"

        change(other, renew)
        copies.append(other)
    write_seg(tree / "Doe_John/again.seg", copies)
    names = [item.name.partition("-IM-")[2] for item in discover(tree).items]
    assert sorted(names) == ["0003-0001", "0003-0002", "0003x2-0001", "0003x2-0002"]


def test_uids_stay_out_of_messages(tree, monkeypatch):
    item = discover(tree).items[0]

    def fail(self, frame: int) -> np.ndarray:
        raise ValueError("no frame for 1.2.840.113619.2.55")

    monkeypatch.setattr(highdicom.seg.Segmentation, "get_stored_frame", fail)
    with pytest.raises(SourceError, match=r"no frame for \(UID\)"):
        load(tree, item, ENDO)


def test_a_segmentation_is_read_once(tree, monkeypatch):
    real, read = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self.name) or real(self))
    for item in discover(tree).items:
        load(tree, item, ENDO)
    assert read.count("labels.seg") == 1
