"""Quality control of a source folder as a Ray Data job: list, load and measure on the cluster, judge in the driver."""

from __future__ import annotations

import dataclasses
import pickle
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from lvseg.config import ConvertConfig
from lvseg.distributed.plan import relative_reason
from lvseg.distributed.session import ray_session
from lvseg.errors import SourceError
from lvseg.findings import Decision, Finding, Skip
from lvseg.quality import (
    FACTS_SCHEMA,
    find_problems,
    join,
    load_finding,
    merge_findings,
    panel,
    shown_names,
    slice_facts,
    to_be_shown,
    write_report,
)
from lvseg.sources import Item, Source, load, open_source
from lvseg.sources.listing import Listing, Unit
from lvseg.store import UPath, is_local, location

__all__ = ["QualityReport", "check", "draw_pictures"]

ITEMS_PER_TASK = 64
"""Images in one task: about a second of work."""
PANELS_PER_TASK = 16

Progress = Callable[[int, int], None]
"""Called with images measured and images listed so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityReport:
    """What quality control has to say about a source."""

    findings: tuple[Finding, ...]
    """By severity, then check, case and name."""
    facts: pa.Table
    """``FACTS_SCHEMA``: one row for every image that could be loaded."""
    skipped: tuple[Skip, ...]
    """Files that the listing left out."""
    decisions: tuple[Decision, ...]
    """What the listing decided."""
    unlabelled_images: int
    """Images without a label, as most of a cine."""

    def count(self, *severities: str) -> int:
        """Findings of these severities."""
        return sum(finding.severity in severities for finding in self.findings)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """What one task brings back."""

    items: bytes
    """The items, packed: kept to find the few that are drawn."""
    names: frozenset[str]
    """Their names."""
    facts: pa.Table
    """Of those that could be loaded."""
    findings: list[Finding]
    """Of those that could not."""


def check(
    source: str | Path | UPath,
    config: ConvertConfig,
    out: str | Path | UPath | None = None,
    *,
    progress: Progress = lambda *_: None,
    verbose: bool = False,
) -> QualityReport:
    """Check every labelled image of a source folder, in the Ray session that is there or in its own.

    Masks are drawn with the cavity alone, whatever the config says, so that slices without epicardium are checked too.

    Args:
        source: Folder in one of the known layouts, path or URI.
        config: Layout, label convention, values of masks.
        out: Folder for ``quality.json`` and ``quality.html``; made if missing. None writes nothing.
        progress: Told after every finished task.
        verbose: Show Ray's own messages.

    Raises:
        SourceError: no known layout, no labelled image, or the report cannot be written.
    """
    config = dataclasses.replace(config, structures="endo", crop="none", crop_size=None)
    opened = open_source(location(source).absolute(), config)
    with ray_session(verbose=verbose):
        listing, measured = _measure(opened, config, progress)
        facts = pa.concat_tables([FACTS_SCHEMA.empty_table(), *(each.facts for each in measured)])
        unusable = (finding for each in measured for finding in each.findings)
        findings = merge_findings(listing.findings, unusable, find_problems(facts, "endo"))
        if not measured:
            reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in listing.skipped[:3])
            raise SourceError(f"{source}: no labelled image" + (f" ({reasons})" if reasons else ""))
        if out is not None:
            wanted = {name for finding in to_be_shown(findings) for name in shown_names(finding)}
            chosen = [each.items for each in measured if each.names & wanted]
            items = [item for data in chosen for item in _unpack(data) if item.name in wanted]
            pictures = draw_pictures(findings, items, opened.folder, config)
    report = QualityReport(
        findings=tuple(findings),
        facts=facts,
        skipped=listing.skipped,
        decisions=listing.decisions,
        unlabelled_images=listing.unlabelled_images,
    )
    if out is not None:
        _write(report, location(out), pictures, opened.folder.name)
    return report


def _write(report: QualityReport, out: UPath, pictures: dict[Finding, bytes], title: str) -> None:
    try:
        if is_local(out):
            out.mkdir(parents=True, exist_ok=True)
        write_report(
            out,
            report.findings,
            report.facts,
            pictures,
            title=title,
            skipped=report.skipped,
            decisions=report.decisions,
        )
    except OSError as error:
        raise SourceError(f"{out}: the report cannot be written: {error.strerror or error}") from None


def _measure(source: Source, config: ConvertConfig, progress: Progress) -> tuple[Listing, list[_Measured]]:
    """List all units and measure all items; the driver keeps facts and packed items, no pixels."""
    units, listing = source.units()
    skipped, decisions, findings = list(listing.skipped), list(listing.decisions), list(listing.findings)
    measured: list[_Measured] = []
    unlabelled, done = listing.unlabelled_images, 0
    for result in _run(source, units, config):
        if isinstance(result, _Measured):
            measured.append(result)
            done += len(result.names)
            progress(done, done)
            continue
        skipped += result.skipped
        decisions += result.decisions
        findings += result.findings
        unlabelled += result.unlabelled_images
    merged = Listing(
        items=(),
        skipped=tuple(sorted(skipped, key=lambda skip: (skip.file, skip.reason))),
        decisions=tuple(decisions),
        findings=tuple(findings),
        unlabelled_images=unlabelled,
    )
    return merged, measured


def _run(source: Source, units: Sequence[Unit], config: ConvertConfig) -> Iterator[_Measured | Listing]:
    """A listing without items for every unit, and what was measured, in the units' order."""

    def list_items(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        listing = _list_unit(source, pickle.loads(row["unit"]))
        yield {"items": b"", "result": pickle.dumps(dataclasses.replace(listing, items=()))}
        for start in range(0, len(listing.items), ITEMS_PER_TASK):
            yield {"items": _pack(listing.items[start : start + ITEMS_PER_TASK]), "result": b""}

    def measure(row: dict[str, Any]) -> dict[str, Any]:
        if not row["items"]:
            return {"result": row["result"]}
        return {"result": pickle.dumps(measure_items(source.folder, row["items"], config))}

    if not units:
        return
    rows = [{"unit": pickle.dumps(unit)} for unit in units]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).flat_map(list_items)
    # Blocks of one row, so that a unit of many images is not the work of one process.
    dataset = dataset.repartition(target_num_rows_per_block=1).map(measure)
    dataset.context.execution_options.preserve_order = True
    for row in dataset.iter_rows():
        yield pickle.loads(row["result"])


def _list_unit(source: Source, unit: Unit) -> Listing:
    try:
        return source.list_unit(unit)
    except SourceError as error:
        folder = unit.folders[0] if unit.folders else unit.case_id
        return Listing(items=(), skipped=(Skip(folder, relative_reason(error, source.folder)),))


def measure_items(folder: UPath, packed: bytes, config: ConvertConfig) -> _Measured:
    """Load and measure items; one that cannot be loaded costs only itself."""
    items, facts, findings = _unpack(packed), [], []
    for item in items:
        try:
            facts.append(slice_facts(load(folder, item, config), item))
        except SourceError as error:
            findings.append(dataclasses.replace(load_finding(item, error), reason=relative_reason(error, folder)))
    return _Measured(
        items=packed,
        names=frozenset(item.name for item in items),
        facts=pa.Table.from_pylist(facts, schema=FACTS_SCHEMA),
        findings=findings,
    )


def _pack(items: Sequence[Item]) -> bytes:
    return zlib.compress(pickle.dumps(tuple(items)), 1)


def _unpack(data: bytes) -> tuple[Item, ...]:
    items: tuple[Item, ...] = pickle.loads(zlib.decompress(data))
    return items


def draw_pictures(
    findings: Sequence[Finding], items: Sequence[Item], folder: UPath, config: ConvertConfig
) -> dict[Finding, bytes]:
    """Draw the findings that get a picture, in the Ray session that is there.

    Args:
        findings: all of them.
        items: those whose names are in ``shown_names`` of ``to_be_shown(findings)``; others do no harm.
        folder: the source folder.
        config: label convention and structures.

    Returns:
        Pictures as ``write_report`` takes them.
    """
    shown = to_be_shown(findings)
    wanted = {name for finding in shown for name in shown_names(finding)}
    chosen = [item for item in items if item.name in wanted]
    if not chosen:
        return {}

    def draw(row: dict[str, Any]) -> dict[str, Any]:
        panels = {item.name: panel(folder, item, config) for item in _unpack(row["items"])}
        return {"panels": pickle.dumps({name: data for name, data in panels.items() if data})}

    parts = [chosen[start : start + PANELS_PER_TASK] for start in range(0, len(chosen), PANELS_PER_TASK)]
    rows = [{"items": _pack(part)} for part in parts]
    panels: dict[str, bytes] = {}
    for row in ray.data.from_items(rows, override_num_blocks=len(rows)).map(draw).iter_rows():
        panels |= pickle.loads(row["panels"])
    return join(shown, panels)
