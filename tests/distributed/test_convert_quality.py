"""What quality control finds wrong is left out of the records; the rest converts."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from lvseg.config import ConvertConfig
from lvseg.distributed.convert import convert, read_findings
from lvseg.errors import SourceError
from lvseg.findings import Finding
from lvseg.phantom import write_phantom
from lvseg.records import Manifest, read_rows, table_to_slices
from lvseg.slices import Slice
from lvseg.store import location

pytestmark = pytest.mark.ray

CONFIG = ConvertConfig(val_fraction=0.34, shard_images=8)
TRAPS = ("copied-epicardium", "contour-off-heart", "constant-image", "truncated-dicom")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trapped") / "phantom"
    write_phantom(folder, patients=5, size=96, slices=5, phases=6, labelled_only=True, traps=TRAPS)
    return folder


@pytest.fixture(scope="module")
def records(cluster: None, source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("records")
    return folder, convert(source, folder, CONFIG)


@pytest.fixture(scope="module")
def findings(records: tuple[Path, Manifest]) -> list[Finding]:
    return read_findings(location(records[0]))


def slices_of(folder: Path, manifest: Manifest) -> dict[str, Slice]:
    files = [file.file for part in manifest.splits.values() for file in part.files]
    rows = [each for file in files for each in table_to_slices(read_rows(folder / file, manifest.format))]
    return {each.name: each for each in rows}


def test_wrong_slices_are_left_out_and_no_other(
    records: tuple[Path, Manifest], findings: list[Finding], source: Path
) -> None:
    wrong = {each.name for each in findings if each.severity == "error" and each.target != "epicardium"}
    assert {each.check for each in findings} >= {"copied-contour", "contour-off-heart", "constant-image"}
    contours = {
        f"{path.parts[-3]}-{path.name.removesuffix('-icontour-manual.txt')}"
        for path in source.glob("contourfiles/*/i-contours/*.txt")
    }
    found = slices_of(*records)
    assert wrong
    assert contours - found.keys() == wrong & contours
    truth = json.loads((source / "truth.json").read_text())
    assert len(truth["traps"]) == len(TRAPS)


def test_a_wrong_epicardium_leaves_the_slice(records: tuple[Path, Manifest], findings: list[Finding]) -> None:
    found = slices_of(*records)
    wrong = {each.name for each in findings if each.severity == "error" and each.target == "epicardium"}
    kept = wrong & found.keys()
    assert kept
    assert all(found[name].contours.epicardium is None and found[name].mask.any() for name in kept)
    assert any(each.contours.epicardium is not None for each in found.values())


def test_the_manifest_and_the_split_table_count_what_is_left(
    records: tuple[Path, Manifest], findings: list[Finding]
) -> None:
    folder, manifest = records
    found = slices_of(folder, manifest)
    assert sum(manifest.shapes.values()) == sum(part.images for part in manifest.splits.values()) == len(found)
    assert sum(manifest.findings.values()) == len(findings)
    assert sum(part.pixel_bytes for part in manifest.splits.values()) == sum(
        each.image.nbytes + each.mask.nbytes for each in found.values()
    )
    with (folder / "split.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == list(found)
    assert {row["part"]: row["case_id"] for row in table}.keys() == manifest.splits.keys()
    for row in table:
        assert row["case_id"] == found[row["name"]].case_id
        assert row["case_id"] in manifest.splits[row["part"]].case_ids


def test_strict_fails_with_the_report_and_goes_on_without(
    records: tuple[Path, Manifest], source: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"\d+ errors and \d+ warnings, see .*quality\.html"):
        convert(source, tmp_path, dataclasses.replace(CONFIG, strict=True))
    assert not (tmp_path / "manifest.json").exists()
    assert (tmp_path / "quality.html").exists()
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.parquet")}
    assert before
    assert convert(source, tmp_path, CONFIG) == records[1]
    assert {path.name: path.stat().st_ino for path in tmp_path.glob("*.parquet")} == before


def test_strict_passes_where_nothing_is_found(cluster: None, phantom: Path, tmp_path: Path) -> None:
    manifest = convert(phantom, tmp_path, dataclasses.replace(CONFIG, strict=True))
    assert manifest.findings.keys() <= {"note"}
