"""The whole way over trees of the phantom: clean ones are silent, every planted trap is found."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.findings import Finding
from lvseg.phantom import write_phantom
from lvseg.quality import FACTS_SCHEMA, find_problems, load_finding, merge_findings, slice_facts, write_report
from lvseg.sources import Listing, discover, load

LAYOUTS = ("challenge", "cap", "linked", "pairs", "segmentation")


def check(folder: Path) -> tuple[Listing, pa.Table, list[Finding]]:
    """What ``lvseg check`` does, without Ray."""
    config = ConvertConfig()
    listing = discover(folder, config)
    facts, unusable = [], []
    for item in listing.items:
        try:
            facts.append(slice_facts(load(folder, item, config), item))
        except SourceError as error:
            unusable.append(load_finding(item, error))
    table = pa.Table.from_pylist(facts, schema=FACTS_SCHEMA)
    return listing, table, merge_findings(listing.findings, unusable, find_problems(table, "endo"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_clean_phantom_is_silent(layout: Any, tmp_path: Path) -> None:
    write_phantom(tmp_path / "source", layout=layout, patients=2, size=96, slices=6, phases=4)
    listing, facts, findings = check(tmp_path / "source")
    assert facts.num_rows == len(listing.items) > 20
    assert findings == []
    assert listing.skipped == ()


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_trap_is_found_where_it_was_planted(layout: Any, tmp_path: Path) -> None:
    write_phantom(tmp_path / "source", layout=layout, patients=16, size=64, slices=6, phases=5, traps=("all",), seed=1)
    listing, _, findings = check(tmp_path / "source")
    traps = json.loads((tmp_path / "source" / "truth.json").read_text())["traps"]
    found = {(finding.check, finding.case_id) for finding in findings}
    expected = {(trap["check"], trap["case_id"]) for trap in traps if trap["expect"] == "finding"}
    assert len(expected) >= 3
    assert expected - found == set()
    skipped = {Path(skip.file).name for skip in listing.skipped}
    for files in (trap["files"] for trap in traps if trap["expect"] == "skip"):
        # Where folders and files could hold a person's name, their own are not shown.
        assert skipped & {shown for file in files for shown in (Path(file).name, f"…{Path(file).suffix}")}
    harmless = {trap["case_id"] for trap in traps if trap["expect"] == "nothing"}
    others = {trap["case_id"] for trap in traps if trap["expect"] != "nothing"}
    told = {finding.case_id for finding in findings if finding.check != "copied-image"}
    assert told & (harmless - others) == set()


def test_ejection_fraction_is_the_phantoms(tmp_path: Path) -> None:
    write_phantom(tmp_path / "source", patients=3, size=128, slices=6, phases=4, labelled_only=True)
    _, facts, _ = check(tmp_path / "source")
    write_report(tmp_path, [], facts, {})
    truth = {p["original_id"]: p for p in json.loads((tmp_path / "source" / "truth.json").read_text())["patients"]}
    cases = json.loads((tmp_path / "quality.json").read_text())["cases"]
    assert len(cases) == 3
    for case in cases:
        patient = truth[case["case_id"]]
        assert case["ef"] == pytest.approx(patient["ejection_fraction"], abs=0.02)
        assert case["edv_ml"] == pytest.approx(patient["edv_ml"], rel=0.03)


@pytest.mark.real_data
def test_sunnybrook_dicom_is_silent(sunnybrook: Path) -> None:
    _, facts, findings = check(sunnybrook / "sunnybrook-dicom")
    assert facts.num_rows == 56
    assert findings == []


@pytest.mark.real_data
def test_sunnybrook_pairs(sunnybrook: Path) -> None:
    """Each of these was looked at: docs/quality.md."""
    _, facts, findings = check(sunnybrook / "sunnybrook-png" / "part1-training")
    assert facts.num_rows == 260
    assert [(f.severity, f.check, f.name) for f in findings] == [
        ("warning", "contour-off-heart", "SC-HYP-38-IM-0001-0218"),
        ("warning", "tiny-contour", "SC-HYP-38-IM-0001-0146"),
    ]
    _, facts, findings = check(sunnybrook / "sunnybrook-png" / "part2-validation")
    assert facts.num_rows == 266
    assert {(f.severity, f.check, f.case_id) for f in findings} == {("error", "contour-off-heart", "SC-N-6")}
    assert len(findings) == 13
