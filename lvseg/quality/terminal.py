"""What quality control found, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from lvseg.findings import Finding, Skip
from lvseg.quality.checks import SEVERITIES, count_severities, spread

__all__ = ["print_summary"]

FIRST = 10
"""Findings, and skipped files, that are printed one by one."""


def print_summary(console: Console, findings: Sequence[Finding], images: int, skipped: Sequence[Skip] = ()) -> None:
    """Print counts by check, then some findings of every check and some skipped files, one line each."""
    if findings:
        console.print(_table(findings))
    for finding in spread(findings, FIRST):
        where = f"{finding.name or finding.case_id} ({finding.file})" if finding.file else finding.case_id
        console.print(f"{finding.severity}: {finding.check}: {where}: {finding.reason}", soft_wrap=True)
    if len(findings) > FIRST:
        console.print(f"and {len(findings) - FIRST} more findings")
    for skip in skipped[:FIRST]:
        console.print(f"skipped {skip.file}: {skip.reason}", soft_wrap=True)
    if len(skipped) > FIRST:
        console.print(f"and {len(skipped) - FIRST} more skipped files")
    counts = count_severities(findings)
    found = ", ".join(f"{count} {severity}s" for severity, count in counts.items())
    console.print(f"{images} labelled images: {found if findings else 'nothing found'}; {len(skipped)} files skipped")


def _table(findings: Sequence[Finding]) -> Table:
    by_check: dict[str, list[Finding]] = {}
    for finding in findings:
        by_check.setdefault(finding.check, []).append(finding)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    for severity in SEVERITIES:
        table.add_column(f"{severity}s", justify="right")
    for check, members in by_check.items():
        table.add_row(check, *(str(count or "") for count in count_severities(members).values()))
    return table
