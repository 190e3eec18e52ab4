"""A beating disc of known radius, from probabilities to the tables; areas are computed by hand."""

import csv
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pyarrow.parquet as pq
import pytest

from lvseg.config import PredictConfig
from lvseg.errors import ConfigError
from lvseg.evaluation import contour_from_mask
from lvseg.inference.finish import Recipe, finish_study
from lvseg.inference.folder import PredictManifest, claim, close, finished_cases, read_notes, write_study
from lvseg.inference.prepare import Failure, PreparedStudy
from lvseg.inference.tables import StudyNote
from lvseg.outputs import PredictedStudy
from lvseg.slices import Place
from lvseg.sources.contours import parse_contour
from lvseg.sources.studies import LoadedImage
from lvseg.store import location

SIZE, SLICES, PHASES = 64, 3, 6
SPACING, GAP = (1.5, 1.25), 9.0
RADII = {0: 20.0, 1: 18.0, 2: 14.0, 3: 12.0, 4: 15.0, 5: 19.0}
RECIPE = Recipe(settings=PredictConfig(), labels="given", kinds=(0,))


def prepared(drop: tuple[tuple[int, int], ...] = ()) -> tuple[PreparedStudy, np.ndarray]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, discs = [], []
    for index in range(SLICES):
        for phase in range(PHASES):
            if (index, phase) in drop:
                continue
            place = Place(
                instance_number=1 + index * PHASES + phase,
                slice_index=index,
                phase_index=phase,
                trigger_time_ms=40.0 * phase,
                pixel_spacing=SPACING,
                image_position_patient=(0.0, 0.0, GAP * index),
                image_orientation_patient=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            )
            disc = (np.hypot(rows - 31, columns - 33) < RADII[phase]).astype(np.float32)
            images.append(LoadedImage(name=f"c-{index}-{phase}", pixels=disc, place=place, source=None))
            discs.append(disc)
    study = PreparedStudy(
        case_id="CASE-1",
        images=tuple(images),
        inputs=(),
        grids=((None,) * len(images),),
        unreadable=0,
        skipped=(),
        decisions=(),
    )
    return study, np.stack(discs)[..., None]


@pytest.fixture(scope="module")
def finished() -> tuple[PredictedStudy, StudyNote]:
    study, discs = prepared()
    return finish_study(study, [discs], RECIPE)


def pixels(phase: int) -> int:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return int((np.hypot(rows - 31, columns - 33) < RADII[phase]).sum())


def test_volumes_are_those_of_the_discs(finished: tuple[PredictedStudy, StudyNote]) -> None:
    _, note = finished
    # A contour encloses half a square pixel less than its mask has pixels.
    volumes = {p: SLICES * (pixels(p) - 0.5) * SPACING[0] * SPACING[1] * GAP / 1000 for p in range(PHASES)}
    assert note.curve_ml == pytest.approx(volumes)
    row = note.volumes
    assert (row.ed_phase, row.es_phase, row.slice_spacing_mm) == (0, 3, GAP)
    assert (row.edv_ml, row.esv_ml) == pytest.approx((volumes[0], volumes[3]))
    assert row.ejection_fraction == pytest.approx(1 - volumes[3] / volumes[0])
    assert (row.images, row.slices, row.phases, row.look_images) == (18, 3, 6, 0)
    assert note.doubt is None


def test_masks_and_probabilities_are_the_discs(finished: tuple[PredictedStudy, StudyNote]) -> None:
    study, _ = finished
    for image in study.images:
        assert (image.mask == image.image).all()
        assert (image.probability == image.image).all()
        assert image.uncertainty == pytest.approx(0, abs=1e-6)
        assert image.look is None


def test_models_are_averaged() -> None:
    study, discs = prepared()
    recipe = Recipe(settings=PredictConfig(), labels="given", kinds=(0, 0))
    averaged, _ = finish_study(study, [discs, 0.2 * discs], recipe)
    assert averaged.images[0].probability.max() == pytest.approx(0.6)
    assert (averaged.images[0].mask == discs[0, ..., 0]).all()
    assert averaged.images[0].uncertainty > 0.3


def test_a_phase_that_lacks_a_slice_has_no_volume() -> None:
    study, discs = prepared(drop=((1, 0),))
    _, note = finish_study(study, [discs], RECIPE)
    assert sorted(note.curve_ml) == [1, 2, 3, 4, 5]
    assert (note.volumes.ed_phase, note.volumes.left_out_phases) == (5, 1)


def test_a_missing_slice_puts_volumes_in_doubt() -> None:
    study, discs = prepared(drop=tuple((1, phase) for phase in range(PHASES)))
    _, note = finish_study(study, [discs], RECIPE)
    assert note.doubt == "1 slices are missing in the stack"


def manifest(fingerprint: str = "a") -> PredictManifest:
    return PredictManifest(status="running", fingerprint=fingerprint, runs=({"name": "one"},), settings={})


def test_the_folder(finished: tuple[PredictedStudy, StudyNote], tmp_path: Path) -> None:
    out = location(tmp_path / "out")
    assert claim(out, manifest()) == frozenset()
    note = write_study(out, *finished, kinds=("contours", "png"))
    assert [path for path in note.files if not (tmp_path / "out/CASE-1" / path).is_file()] == []
    assert next(read_notes(out, ["CASE-1"])) == note
    ended = close(out, manifest(), ["CASE-1"], [Failure("CASE-2", "no image")], [])
    assert ended.misleads
    assert (ended.studies, ended.images) == (1, 18)
    assert json.loads((tmp_path / "out/predict.json").read_text())["failures"][0]["reason"] == "no image"
    assert claim(out, manifest()) == {"CASE-1"}
    with pytest.raises(ConfigError, match="other runs, settings or files"):
        claim(out, manifest("b"))


def test_files_say_the_same(finished: tuple[PredictedStudy, StudyNote], tmp_path: Path) -> None:
    study, note = finished
    out = location(tmp_path)
    claim(out, manifest())
    write_study(out, study, note, kinds=("contours", "png"))
    close(out, manifest(), finished_cases(out), [], [])
    (row,) = pq.read_table(tmp_path / "volumes.parquet").to_pylist()
    (line,) = csv.DictReader((tmp_path / "volumes.csv").open())
    assert row["edv_ml"] == pytest.approx(note.volumes.edv_ml)
    assert float(line["edv_ml"]) == pytest.approx(note.volumes.edv_ml, rel=1e-5)
    images = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert float(images[3]["area_mm2"]) == pytest.approx((pixels(3) - 0.5) * SPACING[0] * SPACING[1], rel=1e-5)
    mask = (255 * matplotlib.image.imread(tmp_path / "CASE-1/masks/c-0-3.png")).round()
    assert (mask == study.images[3].mask).all()
    contour = parse_contour((tmp_path / "CASE-1/contours-auto/IM-0001-0004-icontour-auto.txt").read_bytes(), "contour")
    assert contour == pytest.approx(contour_from_mask(study.images[3].mask, "given"), abs=1e-3)


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        claim(location(tmp_path), manifest())
