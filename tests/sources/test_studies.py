import shutil
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import SourceError
from lvseg.phantom import write_phantom
from lvseg.sources.headers import read_headers
from lvseg.sources.listing import Collector
from lvseg.sources.series import find_series
from lvseg.sources.studies import DicomStudy, ItemStudy, choose_cine, list_studies, load_study
from lvseg.store import location
from tests.sources.conftest import write_dicom

SHAPE = {"size": 64, "slices": 3, "phases": 6}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "linked"
    write_phantom(folder, patients=2, **SHAPE)
    return folder


def test_whole_cines_of_a_layout(linked: Path) -> None:
    studies, skipped = list_studies(location(linked), "auto")
    assert ([study.case_id for study in studies], skipped) == (["PH-HYP-2", "PH-N-1"], ())
    loaded = load_study(location(linked), studies[1])
    assert len(loaded.images) == 18
    places = [(image.place.slice_index, image.place.phase_index) for image in loaded.images]
    assert places == [(index, phase) for index in range(3) for phase in range(6)]


def test_slices_are_counted_along_the_normal(linked: Path) -> None:
    studies, _ = list_studies(location(linked), "auto")
    for study in studies:
        along = {}
        for image in load_study(location(linked), study).images:
            cosines = np.array(image.place.image_orientation_patient)
            position = np.array(image.place.image_position_patient)
            along[image.place.slice_index] = float(np.cross(cosines[:3], cosines[3:]) @ position)
        assert [along[index] for index in sorted(along)] == sorted(along.values())


def test_patients_without_contours_count_too(linked: Path, tmp_path: Path) -> None:
    shutil.copytree(linked, tmp_path / "linked")
    shutil.rmtree(tmp_path / "linked/contourfiles/PH-N-1")
    studies, skipped = list_studies(location(tmp_path / "linked"), "auto")
    assert [study.case_id for study in studies] == ["PH-HYP-2", "PHANTOM0001"]
    assert skipped == ()
    assert len(load_study(location(tmp_path / "linked"), studies[1]).images) == 18


def test_a_folder_of_dicom_alone(linked: Path) -> None:
    studies, _ = list_studies(location(linked / "dicoms"), "auto")
    assert all(isinstance(study, DicomStudy) and study.contours is None for study in studies)
    assert [len(load_study(location(linked / "dicoms"), study).images) for study in studies] == [18, 18]


def test_names_of_persons_stay_out(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_dicom(tmp_path / f"Secret Name/{number}.dcm", number)
    (tmp_path / "Secret Name/4.dcm").write_bytes(b"no DICOM")
    (study,), skipped = list_studies(location(tmp_path), "auto")
    loaded = load_study(location(tmp_path), study)
    assert study.case_id.startswith("P-")
    shown = [study.case_id, *(image.name for image in loaded.images), *map(str, (*skipped, *loaded.skipped))]
    assert not [text for text in shown if "ecret" in text or "SECRET" in text]


def test_a_second_study_of_a_patient_is_apart(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_dicom(tmp_path / f"a/{number}.dcm", number, StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.1.1")
        write_dicom(tmp_path / f"b/{number}.dcm", number, StudyInstanceUID="1.2.3.2", SeriesInstanceUID="1.2.3.2.1")
    studies, _ = list_studies(location(tmp_path), "auto")
    assert [len(load_study(location(tmp_path), study).images) for study in studies] == [3, 3]
    assert studies[1].case_id == f"{studies[0].case_id}-2"


def write_series(folder: Path, uid: str, slices: int, phases: int, tilt: bool = False) -> None:
    for index in range(slices):
        for phase in range(phases):
            number = index * phases + phase + 1
            cosines = [1, 0, 0, 0, 1, 0] if not (tilt and index) else [0, 1, 0, 0, 0, 1]
            write_dicom(
                folder / f"{uid}-{number}.dcm",
                number,
                SeriesInstanceUID=uid,
                SeriesNumber=int(uid[-1]),
                CardiacNumberOfImages=phases,
                TriggerTime=30 * phase,
                ImagePositionPatient=[0, 0, 8 * index],
                ImageOrientationPatient=cosines,
            )


def test_the_stack_of_parallel_cines_is_the_short_axis(tmp_path: Path) -> None:
    write_series(tmp_path, "1.2.3.1", slices=6, phases=1)  # a stack of still images
    write_series(tmp_path, "1.2.3.2", slices=2, phases=8, tilt=True)  # long axes
    write_series(tmp_path, "1.2.3.3", slices=4, phases=8)
    write_series(tmp_path, "1.2.3.4", slices=1, phases=8)
    found = Collector(location(tmp_path))
    series = find_series(read_headers([location(tmp_path)], found, "case"), found, "case")
    chosen, decision = choose_cine(series, (), "case")
    assert chosen is not None
    assert (chosen.label, len(chosen.images)) == ("3", 32)
    assert decision is not None
    assert "of 4 series the cine of most parallel slices: 4 and 32 images" in decision.reason


def test_pairs_are_studies_of_their_cases(tmp_path: Path) -> None:
    write_phantom(tmp_path / "pairs", patients=2, layout="pairs", **SHAPE)
    studies, _ = list_studies(location(tmp_path / "pairs"), "auto")
    assert all(isinstance(study, ItemStudy) for study in studies)
    assert [study.case_id for study in studies] == ["PH-HYP-2", "PH-N-1"]
    assert load_study(location(tmp_path / "pairs"), studies[0]).images[0].place.slice_index is None


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SourceError, match="no known layout"):
        list_studies(location(tmp_path), "auto")
