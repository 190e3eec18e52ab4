"""Checks on some cases at a time find what checks on all at once find."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lvseg.config import ConvertConfig
from lvseg.distributed import control
from lvseg.distributed.plan import KEYS, Plan
from lvseg.distributed.shards import Job, Leave, Note, Shard, note_path, write_note
from lvseg.errors import SourceError
from lvseg.phantom import write_phantom
from lvseg.quality import Quarantine, find_problems, slice_facts
from lvseg.quality.cases import summarise
from lvseg.quality.facts import FACTS_SCHEMA
from lvseg.quality.table import Facts
from lvseg.sources import discover, load
from lvseg.store import UPath

TRAPS = ("copied-epicardium", "copied-image", "missing-phase", "contour-off-heart", "duplicate-uid", "area-jump")
RECORD = {"record_rows": 64, "record_columns": 64, "record_bytes": 1, "record_content": b"", "record_source": b""}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = UPath(tmp_path_factory.mktemp("trapped") / "phantom")
    write_phantom(Path(folder), patients=8, size=64, slices=6, phases=4, labelled_only=True, traps=TRAPS)
    config = ConvertConfig()
    rows = []
    for item in discover(folder, config).items:
        try:
            rows.append(slice_facts(load(folder, item, config), item))
        except SourceError:
            continue
    return rows


@pytest.fixture
def job(tmp_path: Path) -> Job:
    folder = UPath(tmp_path)
    return Job(source=folder, plan=folder, out=folder, config=ConvertConfig(), chunks=(), fingerprint="")


def noted(job: Job, facts: list[dict[str, Any]], in_order: np.ndarray, per_shard: int) -> tuple[Plan, list[Shard]]:
    """Notes as the tasks write them; ``in_order`` deals the images to the record files."""
    plan = Plan(folder=job.plan, keys=pa.Table.from_pylist(facts, schema=KEYS))
    shards = []
    for start in range(0, len(facts), per_shard):
        rows = np.sort(in_order[start : start + per_shard])
        shard = Shard(part="train", file=f"train-{start}", rows=rows)
        content = [{**facts[row], **RECORD, "record_place": row} for row in rows.tolist()]
        for each in content:
            each["record_content"] = each["record_source"] = bytes(32)
        write_note(job, Note(file=shard.file, fingerprint=""), content)
        shards.append(shard)
        assert note_path(job, shard.file).exists()
    return plan, shards


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_map", lambda groups, function: (function(group) for group in groups))


@pytest.mark.parametrize("group_rows", [1, 15, 1000])
@pytest.mark.parametrize("scattered", [False, True])
def test_the_same_findings_in_groups(
    facts: list[dict[str, Any]], job: Job, monkeypatch: pytest.MonkeyPatch, group_rows: int, scattered: bool
) -> None:
    in_this_process(monkeypatch)
    monkeypatch.setattr(control, "GROUP_ROWS", group_rows)
    order = np.random.default_rng(0).permutation(len(facts)) if scattered else np.arange(len(facts))
    findings, cases = control.judge(job, *noted(job, facts, order, per_shard=7))
    table = pa.Table.from_pylist(facts, schema=FACTS_SCHEMA)
    expected = find_problems(table, "endo")
    assert {"copied-contour", "copied-image", "missing-phase"} <= {finding.check for finding in expected}
    assert findings == expected
    summaries = sorted(control.with_findings(cases, findings), key=lambda case: case.case_id)
    assert summaries == sorted(summarise(Facts(table), expected), key=lambda case: case.case_id)


@pytest.mark.ray
def test_the_same_findings_on_the_cluster(
    cluster: None, facts: list[dict[str, Any]], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, shards = noted(job, facts, np.arange(len(facts)), per_shard=7)
    at_once = control.judge(job, plan, shards)
    monkeypatch.setattr(control, "GROUP_ROWS", 15)
    assert control.judge(job, plan, shards) == at_once


def test_images_that_could_not_be_used_have_no_facts(
    facts: list[dict[str, Any]], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    plan, shards = noted(job, facts, np.arange(len(facts)), per_shard=7)
    gone = [dataclasses.replace(shard, rows=shard.rows) for shard in shards]
    write_note(job, Note(file=gone[0].file, fingerprint=""), [])
    findings, _ = control.judge(job, plan, gone)
    assert findings == find_problems(pa.Table.from_pylist(facts[7:], schema=FACTS_SCHEMA), "endo")


def test_what_is_left_out_of_which_file(facts: list[dict[str, Any]], job: Job) -> None:
    plan, shards = noted(job, facts, np.arange(len(facts)), per_shard=7)
    names = [row["name"] for row in facts]
    bad = Quarantine(slices=frozenset({names[1], names[0], names[9]}), epicardia=frozenset({names[8]}))
    assert control.leaves(plan, shards, bad) == {
        "train-0": Leave(slices=tuple(sorted(names[:2]))),
        "train-7": Leave(slices=(names[9],), epicardia=(names[8],)),
    }
