"""Every kind together: what fails costs nothing else, and only DICOM objects say who the patient is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lvseg.errors import ConfigError
from lvseg.outputs import WRITERS, write_outputs
from lvseg.phantom import planted_identifiers
from lvseg.store import location
from tests.outputs.studies import CASE, SEED, oblique_study


@pytest.fixture(scope="module")
def written(cine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    names = write_outputs(cine, location(folder), frozenset(WRITERS))
    return folder, names


def test_every_kind_is_written_and_named(written):
    folder, names = written
    assert sorted(names) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert not [name for name in names if "note" in name]


def test_only_dicom_objects_hold_who_the_patient_is(written, cine):
    folder, _ = written
    secrets = [secret.lower().encode() for secret in planted_identifiers(1, SEED)]
    holders = set()
    for path in folder.rglob("*"):
        said = str(path.relative_to(folder)).lower().encode()
        assert not any(secret in said for secret in secrets)
        if path.is_file() and any(secret in path.read_bytes().lower() for secret in secrets):
            holders.add(path.name)
    assert holders == {f"{CASE}-seg.dcm", f"{CASE}-sr.dcm"}


def test_what_fails_costs_none_of_the_others(tmp_path):
    study = oblique_study()
    study = replace(study, images=tuple(replace(image, image_position_patient=None) for image in study.images))
    names = write_outputs(study, location(tmp_path), frozenset({"nifti", "seg", "gif", "png"}))
    assert {"note-nifti.txt", "note-seg.txt", "cine/slice-01.gif"} <= set(names)
    assert (tmp_path / "note-nifti.txt").read_text() == (
        f"not written: {CASE}-0-0: no ImagePositionPatient, without which its place is not known\n"
    )
    again = write_outputs(oblique_study(), location(tmp_path), frozenset({"nifti"}))
    assert again == [f"{CASE}-mask.nii.gz", f"{CASE}-image.nii.gz"]
    assert not (tmp_path / "note-nifti.txt").exists()


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="outputs must be among contours"):
        write_outputs(oblique_study(), location(tmp_path), frozenset({"word"}))
