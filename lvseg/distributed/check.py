"""Quality control of a source folder as a Ray Data job: list, load and measure on the cluster, judge in the driver."""

from __future__ import annotations

import dataclasses
import pickle
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from lvseg.config import ConvertConfig
from lvseg.distributed.plan import LISTINGS, decode_item, encode_item, list_units, task_count
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
from lvseg.sources.listing import Listing
from lvseg.store import UPath, is_local, location

__all__ = ["QualityReport", "check", "draw_pictures"]

ITEMS_IN_PACK = 64
"""Images that are measured together: about half a second of work."""
PACKS_PER_TASK = 4
"""A patient's pack may hold few images."""
PANELS_PER_TASK = 16

Progress = Callable[[int, int], None]
"""Called with packs of images done and packs in all."""


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

    names: frozenset[str]
    """Of all items, to find the few that are drawn."""
    facts: pa.Table
    """Of the items that could be loaded."""
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
        progress: Told after every finished pack of images.
        verbose: Show Ray's own messages.

    Raises:
        SourceError: no known layout, no labelled image, or the report cannot be written.
    """
    config = dataclasses.replace(config, structures="endo", crop="none", crop_size=None)
    opened = open_source(location(source).absolute(), config)
    with ray_session(verbose=verbose):
        listing, packs = _list(opened)
        if not packs:
            reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in listing.skipped[:3])
            raise SourceError(f"{source}: no labelled image" + (f" ({reasons})" if reasons else ""))
        measured = _measure(opened, packs, config, progress)
        facts = pa.concat_tables([FACTS_SCHEMA.empty_table(), *(each.facts for each in measured)])
        unusable = (finding for each in measured for finding in each.findings)
        findings = merge_findings(listing.findings, unusable, find_problems(facts, "endo"))
        if out is not None:
            wanted = {name for finding in to_be_shown(findings) for name in shown_names(finding)}
            chosen = [pack for pack, each in zip(packs, measured, strict=True) if each.names & wanted]
            items = [item for pack in chosen for item in _unpack(pack) if item.name in wanted]
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


def _list(source: Source) -> tuple[Listing, list[bytes]]:
    """All that the listing says besides the items, and the items in packs."""
    units, listing = source.units()
    parts, packs = [listing], []
    for table in list_units(source, units, stamped=False):
        parts += [LISTINGS.validate_json(text) for text in table["listing"].drop_null().to_pylist()]
        items = table["item"].drop_null().to_pylist()
        packs += [_pack(items[start : start + ITEMS_IN_PACK]) for start in range(0, len(items), ITEMS_IN_PACK)]
    skipped = sorted((skip for part in parts for skip in part.skipped), key=lambda skip: (skip.file, skip.reason))
    merged = Listing(
        items=(),
        skipped=tuple(skipped),
        decisions=tuple(decision for part in parts for decision in part.decisions),
        findings=tuple(finding for part in parts for finding in part.findings),
        unlabelled_images=sum(part.unlabelled_images for part in parts),
    )
    return merged, packs


def _measure(source: Source, packs: Sequence[bytes], config: ConvertConfig, progress: Progress) -> list[_Measured]:
    """Measure all items; the driver keeps facts, no pixels."""
    folder = source.folder

    def measure(row: dict[str, Any]) -> dict[str, Any]:
        return {"result": pickle.dumps(measure_items(folder, row["items"], config))}

    measured: list[_Measured] = []
    progress(0, len(packs))
    if packs:
        rows = [{"items": pack} for pack in packs]
        blocks = task_count(len(rows), PACKS_PER_TASK)
        dataset = ray.data.from_items(rows, override_num_blocks=blocks).map(measure)
        dataset.context.execution_options.preserve_order = True
        for row in dataset.iter_rows():
            measured.append(pickle.loads(row["result"]))
            progress(len(measured), len(packs))
    return measured


def measure_items(folder: UPath, packed: bytes, config: ConvertConfig) -> _Measured:
    """Load and measure items; one that cannot be loaded costs only itself."""
    items, facts, findings = _unpack(packed), [], []
    for item in items:
        try:
            facts.append(slice_facts(load(folder, item, config), item))
        except SourceError as error:
            findings.append(load_finding(item, error))
    return _Measured(
        names=frozenset(item.name for item in items),
        facts=pa.Table.from_pylist(facts, schema=FACTS_SCHEMA),
        findings=findings,
    )


def _pack(texts: Sequence[str]) -> bytes:
    """Encoded items, a line each."""
    return zlib.compress("\n".join(texts).encode(), 1)


def _unpack(data: bytes) -> list[Item]:
    return [decode_item(text) for text in zlib.decompress(data).decode().split("\n")]


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
    rows = [{"items": _pack([encode_item(item) for item in part])} for part in parts]
    panels: dict[str, bytes] = {}
    for row in ray.data.from_items(rows, override_num_blocks=len(rows)).map(draw).iter_rows():
        panels |= pickle.loads(row["panels"])
    return join(shown, panels)
