"""Quality control of a conversion: on the cluster, some cases at a time, so that no process holds the whole source.

The facts lie in the notes of the record files. A first pass finds what the check of one case must know of all others,
and which cases share an image or a contour; a second one runs the checks. Cases that share something are checked
together.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
from numpy.typing import NDArray

from lvseg.config import Structures
from lvseg.distributed.plan import Plan
from lvseg.distributed.shards import Job, Leave, Shard, note_path
from lvseg.findings import Finding
from lvseg.quality import FACTS_SCHEMA, Quarantine, Traits, find_problems, find_traits, merge_findings
from lvseg.quality.cases import CaseSummary, summarise
from lvseg.quality.table import Facts

GROUP_ROWS = 4096
"""Images checked together, rounded up to whole cases: some megabytes of facts."""
SHARED = ("image_hash", "endocardium_hash", "epicardium_hash", "instance_key")
"""Facts that two cases should not share."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Whole cases, and where their facts are."""

    places: Rows
    """Places in the plan, ascending."""
    files: tuple[str, ...]
    """Record files with these images, in order."""


def judge(job: Job, plan: Plan, shards: Sequence[Shard]) -> tuple[list[Finding], list[CaseSummary]]:
    """What is wrong with the images of a whole source, and a summary of every case (without findings)."""
    structures = job.config.structures
    cases = np.asarray(plan.keys["case_id"].combine_chunks().dictionary_encode().indices.to_numpy(), np.int64)
    shard_of = np.zeros(len(cases), np.int64)
    for index, shard in enumerate(shards):
        shard_of[shard.rows] = index
    groups = [_group(places, shard_of, shards) for places in _split_by_case(cases)]
    traits, hashes = Traits(), np.zeros((len(SHARED), len(cases)), np.uint64)
    for group, (some, own) in zip(groups, _map(groups, lambda group: _survey(job, group)), strict=True):
        traits += some
        hashes[:, group.places] = own
    together = np.isin(cases, _sharing_cases(hashes, cases))
    shared_ids = frozenset(plan.keys["case_id"].filter(pa.array(together)).unique().to_pylist())
    findings: list[Finding] = []
    summaries: list[CaseSummary] = []
    for own_findings, own_summaries in _map(groups, lambda group: _judge_group(job, group, structures, traits)):
        findings += [finding for finding in own_findings if finding.case_id not in shared_ids]
        summaries += own_summaries
    if shared_ids:
        group = _group(np.flatnonzero(together), shard_of, shards)
        findings += find_problems(_read_group(job, group), structures, traits)
    return merge_findings(findings), summaries


def _split_by_case(cases: Rows) -> Iterator[Rows]:
    """Places of whole cases, about ``GROUP_ROWS`` at a time."""
    sizes = np.bincount(cases)
    group_of_case = (np.cumsum(sizes) - sizes) // GROUP_ROWS
    group = group_of_case[cases]
    order = np.argsort(group, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _group(places: Rows, shard_of: Rows, shards: Sequence[Shard]) -> Group:
    return Group(places=places, files=tuple(shards[index].file for index in np.unique(shard_of[places]).tolist()))


def _map(groups: Sequence[Group], function: Callable[[Group], Any]) -> Iterator[Any]:
    """The results of a function for every group, in order; computed on the cluster where there are several."""
    if len(groups) == 1:  # of most data sets: quicker done than sent
        yield function(groups[0])
        return

    def task(row: dict[str, Any]) -> dict[str, Any]:
        return {"result": pickle.dumps(function(pickle.loads(row["group"])))}

    rows = [{"group": pickle.dumps(group)} for group in groups]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(task)
    dataset.context.execution_options.preserve_order = True
    for row in dataset.iter_rows():
        yield pickle.loads(row["result"])


def _read_group(job: Job, group: Group) -> pa.Table:
    """Facts of a group's images, without those that could not be used, and the column ``record_place``, ascending."""
    columns = [*FACTS_SCHEMA.names, "record_place"]
    tables = []
    for file in group.files:
        table = pq.read_table(BytesIO(note_path(job, file).read_bytes()), columns=columns)
        own = pc.is_in(table["record_place"], pa.array(group.places))
        tables.append(table.filter(own).replace_schema_metadata(None))
    return pa.concat_tables(tables).sort_by("record_place")


def _survey(job: Job, group: Group) -> tuple[Traits, NDArray[np.uint64]]:
    """The group's traits, and (facts of ``SHARED``, images) short hashes, 0 for none."""
    facts = _read_group(job, group)
    hashes = np.zeros((len(SHARED), len(group.places)), np.uint64)
    at = np.searchsorted(group.places, facts["record_place"].to_numpy())
    for row, name in enumerate(SHARED):
        hashes[row, at] = [_short(value) for value in facts[name].to_pylist()]
    return find_traits(facts), hashes


def _short(value: bytes | str | None) -> int:
    """Two that differ may, once in a world, have the same: then two cases are checked together for nothing."""
    if not value:
        return 0
    data = value.encode() if isinstance(value, str) else value
    return int.from_bytes(data[:4] + data[-4:], "little")


def _sharing_cases(hashes: NDArray[np.uint64], cases: Rows) -> Rows:
    """Numbers of the cases that have a hash in common with another case."""
    found: list[Rows] = []
    for column in hashes:
        order = np.lexsort((cases, column))
        values, owners = column[order], cases[order]
        meets = (values[1:] == values[:-1]) & (owners[1:] != owners[:-1]) & (values[1:] != 0)
        shared = np.isin(values, np.unique(values[1:][meets]))
        found.append(np.unique(owners[shared]))
    return np.unique(np.concatenate(found))


def _judge_group(
    job: Job, group: Group, structures: Structures, traits: Traits
) -> tuple[list[Finding], list[CaseSummary]]:
    facts = _read_group(job, group)
    return find_problems(facts, structures, traits), list(summarise(Facts(facts), ()))


def with_findings(summaries: Sequence[CaseSummary], findings: Sequence[Finding]) -> list[CaseSummary]:
    """The summaries with the number of each case's findings by severity."""
    counts: dict[str, dict[str, int]] = {}
    for finding in findings:
        own = counts.setdefault(finding.case_id, {"error": 0, "warning": 0, "note": 0})
        own[finding.severity] += 1
    return [replace(each, findings=counts.get(each.case_id, each.findings)) for each in summaries]


def leaves(plan: Plan, shards: Sequence[Shard], bad: Quarantine) -> dict[str, Leave]:
    """What is to be left out of every record file that has something to be left out."""
    found: dict[str, Leave] = {}
    slices, epicardia = (_places(plan, names) for names in (bad.slices, bad.epicardia))
    names = plan.keys["name"]
    for shard in shards:
        out, bare = (np.intersect1d(shard.rows, wrong, assume_unique=True) for wrong in (slices, epicardia))
        if len(out) or len(bare):
            found[shard.file] = Leave(
                slices=tuple(sorted(names.take(out).to_pylist())),
                epicardia=tuple(sorted(names.take(bare).to_pylist())),
            )
    return found


def _places(plan: Plan, names: frozenset[str]) -> Rows:
    wanted = pa.array(sorted(names), pa.string())
    return np.flatnonzero(pc.is_in(plan.keys["name"], wanted).to_numpy())
