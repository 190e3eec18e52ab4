"""Writes what quality control found: ``quality.json`` for programs, ``quality.html`` for people."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lvseg import __version__
from lvseg.findings import Decision, Finding, Skip
from lvseg.quality.cases import CaseSummary, summarise
from lvseg.quality.checks import CHECKS, SEVERITIES, count_severities
from lvseg.quality.pictures import MEDIA_TYPE, shown_names
from lvseg.quality.table import Facts
from lvseg.sources.listing import natural_key
from lvseg.store import UPath, write_text

__all__ = ["HTML_NAME", "JSON_NAME", "render_page", "write_report"]

JSON_NAME = "quality.json"
HTML_NAME = "quality.html"

MOST_LISTED = 2000
"""Findings, skipped files and cases on the page, each; ``quality.json`` has all."""

CURVE_WIDTH, CURVE_HEIGHT = 96, 26


@dataclass(frozen=True, kw_only=True, slots=True)
class _Card:
    finding: Finding
    picture: str | None
    shown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Section:
    check: str
    meaning: str
    counts: dict[str, int]
    cards: list[_Card]


def write_report(
    folder: UPath,
    findings: Sequence[Finding],
    facts: pa.Table | Sequence[CaseSummary],
    pictures: Mapping[Finding, bytes],
    *,
    title: str = "",
    skipped: Sequence[Skip] = (),
    decisions: Sequence[Decision] = (),
) -> None:
    """Write both files, each whole or not at all; the same arguments give the same bytes.

    Args:
        folder: where to.
        findings: in the order in which they are shown.
        facts: rows of ``FACTS_SCHEMA``, for the table of cases; or the cases, where they were summarised before.
        pictures: of findings, encoded as ``pictures.join`` makes them; the others are listed without.
        title: what was looked at, for the heading.
        skipped: files that the listing left out.
        decisions: what the listing decided.

    Raises:
        OSError: a file cannot be written.
    """
    found = summarise(Facts(facts), findings) if isinstance(facts, pa.Table) else facts
    cases = sorted(found, key=lambda case: natural_key(case.case_id))
    images = sum(case.images for case in cases)
    content = {
        "lvseg_version": __version__,
        "summary": {
            "images": images,
            "cases": len(cases),
            **count_severities(findings),
            "checks": {check: count_severities(f for f in findings if f.check == check) for check in _checks(findings)},
        },
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "cases": [dataclasses.asdict(case) for case in cases],
        "skipped": [dataclasses.asdict(skip) for skip in skipped],
        "decisions": [dataclasses.asdict(decision) for decision in decisions],
    }
    write_text(folder / JSON_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    page = render_page(findings, cases, pictures, images=images, title=title, skipped=skipped, decisions=decisions)
    write_text(folder / HTML_NAME, page)


def render_page(
    findings: Sequence[Finding],
    cases: Sequence[CaseSummary],
    pictures: Mapping[Finding, bytes],
    *,
    images: int,
    title: str = "",
    skipped: Sequence[Skip] = (),
    decisions: Sequence[Decision] = (),
) -> str:
    """The report as one HTML document that requests nothing; see ``write_report``."""
    environment = Environment(
        loader=PackageLoader("lvseg.quality", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["curve"] = _curve
    return environment.get_template("page.html.j2").render(
        title=title,
        images=images,
        cases=cases,
        counts=count_severities(findings),
        severities=SEVERITIES,
        checks=CHECKS,
        sections=_sections(findings[:MOST_LISTED], pictures),
        pictures=len(pictures),
        findings=len(findings),
        skipped=skipped,
        decisions=decisions,
        most_listed=MOST_LISTED,
    )


def _checks(findings: Sequence[Finding]) -> list[str]:
    """Every check, those of other rooms after our own."""
    return [*CHECKS, *sorted({finding.check for finding in findings} - CHECKS.keys())]


def _sections(findings: Sequence[Finding], pictures: Mapping[Finding, bytes]) -> list[_Section]:
    """One section a check; those with errors first, then with warnings."""
    by_check: dict[str, list[Finding]] = {}
    for finding in findings:
        by_check.setdefault(finding.check, []).append(finding)
    return [
        _Section(
            check=check,
            meaning=CHECKS.get(check, ""),
            counts=count_severities(members),
            cards=[
                _Card(finding=finding, picture=_data_uri(pictures.get(finding)), shown=shown_names(finding))
                for finding in members
            ],
        )
        for check, members in by_check.items()
    ]


def _data_uri(picture: bytes | None) -> str | None:
    return None if picture is None else f"data:{MEDIA_TYPE};base64,{base64.b64encode(picture).decode()}"


def _curve(case: CaseSummary) -> Markup:
    """Areas along the stack as a small drawing, from numbers alone: no text of the user's is in it."""
    areas = (case.ed_areas_mm2, case.es_areas_mm2)
    top = max((max(each) for each in areas if each), default=0.0)
    lines = []
    for kind, values in zip(("ed", "es"), areas, strict=True):
        if len(values) > 1 and top > 0:
            step = (CURVE_WIDTH - 4) / (max(map(len, areas)) - 1)
            points = " ".join(
                f"{2 + step * at:.1f},{CURVE_HEIGHT - 2 - (CURVE_HEIGHT - 4) * value / top:.1f}"
                for at, value in enumerate(values)
            )
            lines.append(f'<polyline class="{kind}" points="{points}"/>')
    if not lines:
        return Markup("")
    return Markup(f'<svg viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" aria-hidden="true">{"".join(lines)}</svg>')
