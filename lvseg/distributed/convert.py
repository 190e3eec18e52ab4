"""Source files → record set, as Ray Data jobs: list units, write record files, check them, sum them up.

While it runs, the folder ``.plan`` in the record set holds the plan and a note of every record file that is
finished; a conversion that was broken off goes on from there. The manifest comes last: with it the record set is
whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lvseg import __version__
from lvseg.config import ConvertConfig
from lvseg.distributed.check import draw_pictures
from lvseg.distributed.control import judge, leaves, with_findings
from lvseg.distributed.finish import (
    SCHEMA_NAME,
    Totals,
    join_course_files,
    make_manifest,
    severities,
    sum_up,
    write_schema,
)
from lvseg.distributed.plan import Plan, digest, make_plan, read_items
from lvseg.distributed.session import ray_session
from lvseg.distributed.shards import Job, Leave, Note, Shard, do_shard, plan_shards
from lvseg.errors import RecordsError, SourceError
from lvseg.findings import Finding
from lvseg.quality import (
    merge_findings,
    quarantine,
    shown_names,
    to_be_shown,
    write_report,
)
from lvseg.quality.page import HTML_NAME, JSON_NAME
from lvseg.records import MANIFEST_NAME, SCHEMA_VERSION, SPLIT_TABLE_NAME, Manifest
from lvseg.sources import Item, open_source
from lvseg.split import assign_parts, read_split_file
from lvseg.store import UPath, is_local, location, remove_tree, write_text

PLAN_FOLDER = ".plan"
FINGERPRINT_NAME = "fingerprint"
"""In the plan's folder: which source and settings it belongs to."""
PARTS = ("train", "val", "test")
OWN_FILES = frozenset({MANIFEST_NAME, SPLIT_TABLE_NAME, SCHEMA_NAME, JSON_NAME, HTML_NAME, PLAN_FOLDER})
RECORD_FILE = re.compile(
    r"(train|val|test|fold-\d+)(-\d{5,}-of-\d{5,}\.(parquet|tfrecords)|_images\.tfrecords)", re.ASCII
)
ASIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial", re.ASCII)
"""A file that was being written when its process was killed."""

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""


def convert(
    source: str | Path | UPath,
    records: str | Path | UPath,
    config: ConvertConfig,
    *,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
    verbose: bool = False,
) -> Manifest:
    """Convert a source folder into a record set, in the Ray session that is there or in its own.

    Files that cannot be used are skipped and listed in the manifest; what quality control finds wrong is left out
    and listed in ``quality.json``. The record set is the same, byte for byte, whatever the cluster. A conversion that
    was broken off goes on when it is called again with the same source and settings.

    Args:
        source: Folder in one of the known layouts, path or URI.
        records: Folder to write to, path or URI; made if missing.
        config: Label convention, split, format.
        overwrite: Replace a record set that is there.
        progress: Told after every finished record file.
        verbose: Show Ray's own messages.

    Raises:
        SourceError: nothing usable in ``source``; or a finding, where ``config.strict`` is set.
        RecordsError: ``records`` holds other files, or a record set and ``overwrite`` is not set.
    """
    source, records = location(source).absolute(), location(records).absolute()
    opened = open_source(source, config)
    table = None if config.split_file is None else read_split_file(location(config.split_file))
    unfinished = _look_at_folder(records, overwrite)
    with ray_session(verbose=verbose):
        plan = make_plan(opened, _made_folder(records / PLAN_FOLDER))
        parts, codes = _assign(plan, config, table)
        course = config.format == "course-tfrecord"
        job = Job(
            source=source,
            plan=plan.folder,
            out=plan.folder if course else records,
            config=config,
            chunks=tuple(plan.chunks),
            fingerprint=_fingerprint(opened.layout, plan, codes, config),
        )
        _claim(records, job.fingerprint, unfinished, overwrite)
        shards = plan_shards(codes, parts, config)
        files = _write(job, shards, progress)
        findings = _control(job, plan, shards, files, records)
        totals = sum_up(job, shards, plan, parts, records)
    _require_images(totals, plan, source)
    if course:
        join_course_files(job, totals, records)
    write_schema(config.format, records)
    manifest = make_manifest(job, opened.layout, plan, totals, severities(findings))
    _remove_stale_files(records, manifest)
    write_text(records / MANIFEST_NAME, manifest.to_json())
    _remove_plan(records / PLAN_FOLDER)
    return manifest


def _assign(plan: Plan, config: ConvertConfig, table: Any) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The parts' names, and for every image of the plan the index of its part."""
    parts = tuple(f"fold-{index}" for index in range(config.folds)) if config.split == "kfold" else PARTS
    if config.split in ("image", "file"):
        names, cases, groups = (plan.keys[name].to_pylist() for name in ("name", "case_id", "group"))
        assigned = assign_parts(names, cases, groups, config, table)
        return parts, pc.index_in(pa.array(assigned), pa.array(parts)).to_numpy()
    # Patients stay whole, so that one row a patient will do, where there may be a million images.
    cases = plan.keys.group_by(["case_id", "group"]).aggregate([])
    ids = cases["case_id"].to_pylist()
    part_of = dict(zip(ids, assign_parts(ids, ids, cases["group"].to_pylist(), config), strict=True))
    place = pc.index_in(plan.keys["case_id"], pa.array(list(part_of)))
    return parts, pc.index_in(pa.array(list(part_of.values())), pa.array(parts)).to_numpy()[place.to_numpy()]


def _fingerprint(layout: str, plan: Plan, codes: NDArray[np.int64], config: ConvertConfig) -> str:
    """Identity of the work: source files, settings, split and code; the plan's files are named by their content."""
    settings = dataclasses.asdict(config) | {"strict": None, "source": layout}
    return digest(
        [
            __version__,
            str(SCHEMA_VERSION),
            json.dumps(settings),
            *plan.chunks,
            hashlib.sha256(codes.tobytes()).hexdigest(),
        ]
    )


def _write(job: Job, shards: Sequence[Shard], progress: Progress) -> dict[str, Note]:
    """Write all record files; what is known of each."""
    tasks: list[tuple[Shard, Leave | None]] = [(shard, None) for shard in shards]
    return {note.file: note for note in _run(job, tasks, progress)}


def _run(job: Job, tasks: Sequence[tuple[Shard, Leave | None]], progress: Progress) -> Iterator[Note]:
    """Bring record files to their state, one task a file; ``None`` takes whatever state a finished file is in.

    Yields:
        What is known of each file, as they get done.
    """

    def task(row: dict[str, Any]) -> dict[str, Any]:
        shard, leave = pickle.loads(row["task"])
        try:
            note = do_shard(job, shard, leave)
        except OSError as error:
            reason = f"{job.out / shard.file}: cannot be written: {error.strerror or error}"
            return {"images": 0, "note": b"", "error": reason}
        return {"images": len(shard.rows), "note": pickle.dumps(note), "error": ""}

    done, total = 0, sum(len(shard.rows) for shard, _ in tasks)
    progress(done, total)
    if not tasks:
        return
    rows = [{"task": pickle.dumps(each)} for each in tasks]
    for row in ray.data.from_items(rows, override_num_blocks=len(rows)).map(task).iter_rows():
        if row["error"]:
            raise RecordsError(row["error"])
        done += row["images"]
        progress(done, total)
        yield pickle.loads(row["note"])


def _control(job: Job, plan: Plan, shards: Sequence[Shard], files: Mapping[str, Note], records: UPath) -> list[Finding]:
    """Let quality control look at the whole source, take out what it finds wrong, and write its report.

    Raises:
        SourceError: a finding, where ``strict`` is set.
    """
    problems, cases = judge(job, plan, shards)
    unusable = [finding for shard in shards for finding in files[shard.file].unusable]
    findings = merge_findings(plan.findings, unusable, problems)
    bad = quarantine(findings if job.config.quarantine else [], job.config.structures)
    wanted = leaves(plan, shards, bad)
    changes = [(shard, wanted.get(shard.file, Leave())) for shard in shards]
    changes = [(shard, leave) for shard, leave in changes if leave != files[shard.file].left]
    deque(_run(job, changes, lambda *_: None), maxlen=0)
    pictures = draw_pictures(findings, _shown_items(job, plan, findings), job.source, job.config)
    cases = with_findings(cases, findings)
    write_report(records, findings, cases, pictures, skipped=plan.skipped, decisions=plan.decisions)
    _require_clean(job, findings, records)
    return findings


def read_findings(records: UPath) -> list[Finding]:
    """What quality control found in the source of a record set."""
    content = json.loads((records / JSON_NAME).read_text(encoding="utf-8"))
    return TypeAdapter(list[Finding]).validate_python(content["findings"])


def _shown_items(job: Job, plan: Plan, findings: Sequence[Finding]) -> list[Item]:
    """The items that the findings' pictures need."""
    wanted = sorted({name for finding in to_be_shown(findings) for name in shown_names(finding)})
    places = pc.is_in(plan.keys["name"], pa.array(wanted, pa.string())).to_numpy()
    return list(read_items(job.plan, job.chunks, np.flatnonzero(places).astype(np.int64)))


def _require_clean(job: Job, findings: Sequence[Finding], records: UPath) -> None:
    counts = severities(findings)
    if job.config.strict and counts["error"] + counts["warning"]:
        raise SourceError(
            f"{job.source}: quality control found {counts['error']} errors and {counts['warning']} warnings, "
            f"see {records / HTML_NAME}; without --strict the rest converts"
        )


def _require_images(totals: Totals, plan: Plan, source: UPath) -> None:
    needed = ("train", "val") if "train" in totals.parts else tuple(totals.parts)
    for part in needed:
        if not totals.parts[part].images:
            skipped = [*plan.skipped, *totals.skipped]
            reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in skipped[:3])
            raise SourceError(f"{source}: no usable image for split {part}" + (f" ({reasons})" if reasons else ""))


def _is_own(name: str) -> bool:
    aside = ASIDE.fullmatch(name)
    name = aside["name"] if aside else name
    return name in OWN_FILES or RECORD_FILE.fullmatch(name) is not None


def _names(folder: UPath) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.name)
    except (FileNotFoundError, NotADirectoryError):  # the second: a prefix without objects
        return []


def _made_folder(folder: UPath) -> UPath:
    if is_local(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _look_at_folder(records: UPath, overwrite: bool) -> str | None:
    """Make sure that records may be written there.

    Returns:
        The fingerprint of a conversion that was broken off.

    Raises:
        RecordsError: a file, other files in it, or a record set that is not to be replaced; or it cannot be written.
    """
    try:
        if records.is_file():
            raise RecordsError(f"{records}: is a file, expected a folder to write records to")
        _made_folder(records)
        names = _names(records)
        unfinished = _read_fingerprint(records)
    except OSError as error:
        raise RecordsError(f"{records}: cannot be written: {error.strerror or error}") from None
    if MANIFEST_NAME in names and unfinished is None and not overwrite:
        raise _taken(records)
    if foreign := [name for name in names if not _is_own(name)]:
        raise RecordsError(f"{records}: holds other files ({', '.join(foreign[:3])}); name an empty or new folder")
    return unfinished


def _taken(records: UPath) -> RecordsError:
    return RecordsError(f"{records}: holds a record set already; name another folder or give --overwrite")


def _read_fingerprint(records: UPath) -> str | None:
    try:
        return (records / PLAN_FOLDER / FINGERPRINT_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _claim(records: UPath, fingerprint: str, unfinished: str | None, overwrite: bool) -> None:
    """Take the folder; a manifest that is there is of an ended conversion, or of this one, killed at its very end."""
    manifest = records / MANIFEST_NAME
    if fingerprint != unfinished:
        if manifest.exists() and not overwrite:
            raise _taken(records)
        manifest.unlink(missing_ok=True)
        write_text(records / PLAN_FOLDER / FINGERPRINT_NAME, fingerprint)


def _remove_stale_files(records: UPath, manifest: Manifest) -> None:
    current = {file.file for part in manifest.splits.values() for file in part.files} | OWN_FILES
    if manifest.format == "parquet":
        current -= {SCHEMA_NAME}
    for name in _names(records):
        if name not in current:
            (records / name).unlink(missing_ok=True)


def _remove_plan(folder: UPath) -> None:
    """Remove the plan; its fingerprint last, so that a half removed plan still says whose it is."""
    files = [folder / name for name in _names(folder) if name != FINGERPRINT_NAME]
    if is_local(folder):
        for file in files:
            file.unlink(missing_ok=True)
    elif files:
        folder.fs.rm([file.path for file in files])  # a thousand at a time
    remove_tree(folder)
