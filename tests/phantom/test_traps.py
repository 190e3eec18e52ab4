"""Each trap does what it says to the files that truth.json names, and to no others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scipy.ndimage import binary_dilation
from skimage.measure import points_in_poly

from lvseg.errors import ConfigError
from lvseg.phantom import write_phantom
from lvseg.phantom.anatomy import polygon_area
from lvseg.phantom.traps import TRAPS
from lvseg.rasterize import rasterize

SLICES, PHASES, SIZE = 5, 5, 64
RENAMING = ("wrong-series-number", "missing-files")


class Trees:
    """The same challenge phantom without traps and with all of them."""

    def __init__(self, clean: Path, trapped: Path) -> None:
        self.clean, self.trapped = clean, trapped
        self.truth, self.clean_truth = (json.loads((out / "truth.json").read_text()) for out in (trapped, clean))
        self.entries: dict[str, dict[str, Any]] = {entry["trap"]: entry for entry in self.truth["traps"]}

    def files(self, trap: str) -> list[Path]:
        return [self.trapped / file for file in self.entries[trap]["files"]]

    def before(self, path: Path) -> Path:
        return self.clean / path.relative_to(self.trapped)

    def patient(self, trap: str, truth: dict[str, Any] | None = None) -> dict[str, Any]:
        case_id = self.entries[trap]["case_id"]
        (patient,) = (p for p in (truth or self.truth)["patients"] if p["original_id"] == case_id)
        return patient

    def image(self, trap: str, number: int, root: Path | None = None) -> Path:
        """The short-axis image of a trap's patient."""
        patient = self.patient(trap, self.clean_truth if root == self.clean else None)
        name = f"IM-{patient['series_number']:04d}-{number:04d}.dcm"
        (path,) = (root or self.trapped).glob(f"challenge_*/{patient['original_id']}/{name}")
        return path

    def contour(self, trap: str, kind: str, number: int) -> Path:
        (folder,) = {path.parent for path in self.trapped.rglob("*contour-manual.txt") if self.is_of(trap, path)}
        return folder / f"IM-0001-{number:04d}-{kind}contour-manual.txt"

    def is_of(self, trap: str, path: Path) -> bool:
        group, _, number = self.entries[trap]["case_id"].rpartition("-")
        return f"{group}-{int(number):02d}" in path.parts


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    out = tmp_path_factory.mktemp("traps")
    settings: dict[str, Any] = {"patients": 13, "size": SIZE, "slices": SLICES, "phases": PHASES}
    for name, traps in (("clean", ()), ("trapped", ("all",))):
        write_phantom(out / name, **settings, layout="challenge", labelled_only=True, traps=traps)
    return Trees(out / "clean", out / "trapped")


def number_of(path: Path) -> int:
    return int(path.name.split("-")[2].removesuffix(".dcm"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_traps_are_planted(trees: Trees) -> None:
    assert set(trees.entries) == {name for name, trap in TRAPS.items() if "challenge" in trap.layouts}
    assert all(entry["files"] for entry in trees.truth["traps"])


def test_only_the_files_that_truth_names_are_changed(trees: Trees) -> None:
    clean, trapped = contents(trees.clean), contents(trees.trapped)
    changed = {path for path in clean.keys() | trapped.keys() if clean.get(path) != trapped.get(path)}
    named = {Path(file) for entry in trees.truth["traps"] for file in entry["files"]}
    renamed = {trees.entries[trap]["case_id"] for trap in RENAMING}
    renamed |= {f"{case_id.rpartition('-')[0]}-{int(case_id.rpartition('-')[2]):02d}" for case_id in renamed}
    unexpected = {path for path in changed - named if not renamed & set(path.parts)}
    assert unexpected == {Path("truth.json")}
    assert named - changed == {Path(trees.entries["duplicate-uid"]["files"][0])}  # the UID's first owner


def test_wrong_series_number(trees: Trees) -> None:
    for path in trees.files("wrong-series-number"):
        before = trees.image("wrong-series-number", number_of(path), trees.clean)
        headers = [pydicom.dcmread(each) for each in (path, before)]
        assert headers[0].SeriesNumber == headers[1].SeriesNumber + 1 == int(path.name.split("-")[1])
        assert headers[0].PixelData == headers[1].PixelData
        assert not trees.before(path).exists()


def test_second_cine(trees: Trees) -> None:
    second = trees.files("second-cine")
    for path in second:
        first = pydicom.dcmread(trees.image("second-cine", number_of(path)))
        other = pydicom.dcmread(path)
        assert first.SeriesInstanceUID != other.SeriesInstanceUID
        assert first.InstanceNumber == other.InstanceNumber
        assert first.ImagePositionPatient == other.ImagePositionPatient
        points = np.loadtxt(trees.contour("second-cine", "i", first.InstanceNumber))
        assert contrast(other.pixel_array, points) < contrast(first.pixel_array, points) / 2
    assert len(second) == len(list(second[0].parent.iterdir())) / 2


def contrast(pixels: np.ndarray, points: np.ndarray) -> float:
    inside = rasterize(points, pixels.shape, "centre").astype(bool)
    ring = binary_dilation(inside, iterations=2) & ~inside
    return float(pixels[inside].mean() - pixels[ring].mean())


def test_missing_files(trees: Trees) -> None:
    shifted = 0
    before = trees.patient("missing-files", trees.clean_truth)["images"]
    for old, new in zip(before, trees.patient("missing-files")["images"], strict=True):
        headers = [
            pydicom.dcmread(trees.image("missing-files", image["image_number"], root))
            for image, root in ((old, trees.clean), (new, trees.trapped))
        ]
        assert headers[0].ImagePositionPatient == headers[1].ImagePositionPatient
        assert headers[0].TriggerTime == headers[1].TriggerTime
        assert headers[0].PixelData == headers[1].PixelData
        assert headers[1].InstanceNumber == new["image_number"]
        assert trees.contour("missing-files", "i", new["image_number"]).exists()
        assert old["image_number"] - new["image_number"] in (0, 2)
        shifted += old["image_number"] != new["image_number"]
    assert shifted > len(before) / 2


def test_missing_files_are_two_of_a_whole_cine(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=1, size=64, slices=3, phases=5, traps=["missing-files"])
    numbers = sorted(int(path.stem) for path in tmp_path.rglob("*.dcm"))
    assert numbers == list(range(1, 3 * 5 - 1))


def test_copied_epicardium(trees: Trees) -> None:
    donor = trees.entries["copied-epicardium"]["note"].split()[-1]
    group, _, number = donor.rpartition("-")
    theirs = {
        path.name: path.read_bytes()
        for path in trees.trapped.rglob(f"{group}-{int(number):02d}/*/*/*-ocontour-manual.txt")
    }
    copied = trees.files("copied-epicardium")
    outside = []
    for path in copied:
        assert path.read_bytes() == theirs[path.name] != trees.before(path).read_bytes()
        inner = np.loadtxt(trees.contour("copied-epicardium", "i", number_of(path)))
        outside.append(1 - np.mean(points_in_poly(inner, np.loadtxt(path))))
    assert len(copied) == SLICES
    assert np.mean(outside) >= 0.2


def test_copied_image(trees: Trees) -> None:
    (path,) = trees.files("copied-image")
    copy, before = pydicom.dcmread(path), pydicom.dcmread(trees.before(path))
    twins = [other for other in trees.trapped.rglob("*.dcm") if other != path and copy.PixelData in other.read_bytes()]
    assert len(twins) == 1
    assert twins[0].parent.name in trees.entries["copied-image"]["note"]
    assert copy.PixelData != before.PixelData
    assert copy.SOPInstanceUID == before.SOPInstanceUID


def test_missing_phase(trees: Trees) -> None:
    patient = trees.patient("missing-phase")
    for image in patient["images"]:
        drawn = trees.contour("missing-phase", "i", image["image_number"]).exists()
        assert drawn == (image["phase_index"] == patient["ed_phase"])


def test_missing_es_slice(trees: Trees) -> None:
    patient = trees.patient("missing-es-slice")
    es = [image for image in patient["images"] if image["phase_index"] == patient["es_phase"]]
    drawn = [trees.contour("missing-es-slice", "i", image["image_number"]).exists() for image in es]
    assert drawn.count(False) == 1
    assert 0 < drawn.index(False) < len(drawn) - 1
    assert [es[drawn.index(False)]["name"]] == trees.entries["missing-es-slice"]["names"]


def test_spacings(trees: Trees) -> None:
    for path in trees.files("non-square-pixels"):
        row, column = pydicom.dcmread(path).PixelSpacing
        assert float(row) == pytest.approx(1.25 * float(column), abs=1e-5)
    patients = [trees.patient("non-square-pixels", truth) for truth in (trees.truth, trees.clean_truth)]
    assert patients[0]["edv_ml"] == pytest.approx(1.25 * patients[1]["edv_ml"], rel=1e-5)
    assert patients[0]["row_spacing_mm"] == pytest.approx(1.25 * patients[1]["row_spacing_mm"], rel=1e-5)
    wrong = {path.name for path in trees.files("mixed-spacing")}
    assert wrong
    for path in trees.files("mixed-spacing")[0].parent.iterdir():
        before, after = (pydicom.dcmread(each).PixelSpacing for each in (trees.before(path), path))
        assert float(after[0]) / float(before[0]) == pytest.approx(1.25 if path.name in wrong else 1, abs=1e-5)


def test_duplicate_uid(trees: Trees) -> None:
    first, second = (pydicom.dcmread(path) for path in trees.files("duplicate-uid"))
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.InstanceNumber != second.InstanceNumber
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in trees.trapped.rglob("IM-*.dcm")]
    assert len(uids) - len(set(uids)) == 1


def test_area_jump(trees: Trees) -> None:
    (path,) = trees.files("area-jump")
    after, before = np.loadtxt(path), np.loadtxt(trees.before(path))
    assert polygon_area(after) == pytest.approx(4 * polygon_area(before), rel=0.1)
    assert after.mean(axis=0) == pytest.approx(before.mean(axis=0), abs=0.5)


def test_endocardium_outside_epicardium(trees: Trees) -> None:
    (path,) = trees.files("endocardium-outside-epicardium")
    inner = np.loadtxt(trees.contour("endocardium-outside-epicardium", "i", number_of(path)))
    assert points_in_poly(inner, np.loadtxt(trees.before(path))).all()
    assert points_in_poly(inner, np.loadtxt(path)).mean() < 0.7


def test_contour_off_heart(trees: Trees) -> None:
    (path,) = trees.files("contour-off-heart")
    pixels = pydicom.dcmread(trees.image("contour-off-heart", number_of(path))).pixel_array
    assert contrast(pixels, np.loadtxt(path)) < 0 < contrast(pixels, np.loadtxt(trees.before(path)))


def test_contours_that_cannot_be_used(trees: Trees) -> None:
    (off_image,) = trees.files("contour-off-image")
    share = np.mean(np.loadtxt(off_image)[:, 0] > SIZE + 0.5)
    assert 0.2 < share < 0.8
    (short,) = trees.files("two-point-contour")
    assert len(np.loadtxt(short)) == 2
    (alone,) = trees.files("contour-without-image")
    assert number_of(alone) == SLICES * PHASES + 1
    assert not list(trees.trapped.rglob(f"*/IM-*-{number_of(alone):04d}.dcm"))


def test_image_contents(trees: Trees) -> None:
    (constant,) = trees.files("constant-image")
    assert np.ptp(pydicom.dcmread(constant).pixel_array) == 0
    (saturated,) = trees.files("saturated-image")
    pixels, before = (pydicom.dcmread(path).pixel_array for path in (saturated, trees.before(saturated)))
    assert 0.1 < (pixels == pixels.max()).mean() < 0.2
    assert np.array_equal(pixels, np.minimum(before, pixels.max()))


@pytest.mark.parametrize("trap", ["monochrome1", "signed-negative", "rescaled"])
def test_other_encodings_mean_the_same(trees: Trees, trap: str) -> None:
    (path,) = trees.files(trap)
    after, before = pydicom.dcmread(path), pydicom.dcmread(trees.before(path))
    stored, plain = after.pixel_array.astype(float), before.pixel_array.astype(float)
    assert not np.array_equal(stored, plain)
    if trap == "monochrome1":
        assert after.PhotometricInterpretation == "MONOCHROME1"
        assert np.array_equal(2**after.BitsStored - 1 - stored, plain)
    elif trap == "signed-negative":
        assert (stored < 0).mean() > 0.3
        assert np.array_equal(stored, plain + int(trees.entries[trap]["note"].split()[-1]))
    else:
        assert np.array_equal(stored * float(after.RescaleSlope) + float(after.RescaleIntercept), plain)


def test_compressed(trees: Trees) -> None:
    files = trees.files("compressed")
    syntaxes = {pydicom.dcmread(path).file_meta.TransferSyntaxUID.name for path in files}
    assert len(syntaxes) == len(files) == 3
    for path in files:
        after, before = pydicom.dcmread(path), pydicom.dcmread(trees.before(path))
        assert after.file_meta.TransferSyntaxUID.is_compressed
        assert np.array_equal(after.pixel_array, before.pixel_array)


def test_truncated(trees: Trees) -> None:
    (path,) = trees.files("truncated-dicom")
    data, before = path.read_bytes(), trees.before(path).read_bytes()
    assert before.startswith(data)
    assert len(before) - 2 * SIZE**2 < len(data) < len(before)


def test_stray_files(trees: Trees) -> None:
    names = {path.name for path in trees.files("stray-files")}
    assert names == {".DS_Store", "Thumbs.db", "notes.txt", "empty.dcm"}
    assert (trees.trapped / ".DS_Store").exists()
    (empty,) = trees.trapped.rglob("empty.dcm")
    assert empty.stat().st_size == 0


@pytest.mark.parametrize("layout", ["cap", "segmentation", "pairs"])
def test_other_layouts_hold_their_traps(tmp_path: Path, layout: str) -> None:
    write_phantom(tmp_path, patients=12, size=64, slices=5, phases=5, labelled_only=True, layout=layout, traps=["all"])
    entries = json.loads((tmp_path / "truth.json").read_text())["traps"]
    assert {entry["trap"] for entry in entries} == {name for name, trap in TRAPS.items() if layout in trap.layouts}
    for entry in entries:
        gone = entry["trap"] in ("missing-phase", "missing-es-slice")
        assert gone or all((tmp_path / file).is_file() for file in entry["files"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"traps": ["no-such"]}, r"traps must be all, or of missing-files, .* got 'no-such'"),
        ({"traps": ["second-cine"]}, "in the layout linked, got 'second-cine'"),
        ({"layout": "pairs", "pair_format": "nifti", "traps": ["stray-files"]}, "traps must be"),
        ({"traps": ["copied-image"], "patients": 1}, "traps: no room for copied-image in 1 patients"),
    ],
)
def test_traps_that_cannot_be_are_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_phantom(tmp_path / "out", size=64, slices=3, phases=3, **settings)
