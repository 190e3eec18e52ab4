"""All checks in order, what each is called, and what its findings cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from lvseg.config import Structures
from lvseg.errors import ContourError, SourceError
from lvseg.findings import Finding, Severity
from lvseg.quality import copies, slice_checks, stack_checks
from lvseg.quality.table import Facts
from lvseg.sources.listing import DicomItem, Item, natural_key

__all__ = [
    "CHECKS",
    "SEVERITIES",
    "Quarantine",
    "Traits",
    "count_severities",
    "find_problems",
    "find_traits",
    "load_finding",
    "merge_findings",
    "quarantine",
    "spread",
]

CHECKS = {
    "unreadable": "a listed image or contour cannot be used",
    "contour-off-image": "contour points lie outside the image",
    "contour-off-heart": "the contour does not lie on a bright cavity, or lies far from the case's others",
    "endocardium-outside-epicardium": "the endocardium leaves its epicardium",
    "copied-contour": "two patients have the same contour",
    "copied-image": "two slices have the same pixels",
    "duplicate-sop-instance-uid": "two images have the same SOPInstanceUID",
    "constant-image": "every pixel has the same value",
    "saturated-image": "many pixels have the largest value",
    "area-jump": "the cavity's area jumps along the stack, or grows in systole",
    "missing-slice": "a slice between labelled slices has no label in that phase",
    "missing-phase": "the case has labels in one phase only",
    "mixed-spacing": "pixel or slice spacing differs within the case",
    "mixed-image-sizes": "image size differs within the case",
    "non-square-pixels": "row and column spacing differ",
    "tiny-contour": "the cavity is smaller than a heart's",
    "self-intersecting-contour": "the contour crosses itself",
    "empty-mask": "the mask has no cavity",
    "incomplete-cine": "images of the cine are missing",
    "no-epicardium": "the slice has no epicardium, which the myocardium needs",
}
"""Every check and what it finds."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What the errors take out of a record set."""

    slices: frozenset[str]
    """Names of slices that are left out."""
    epicardia: frozenset[str]
    """Names of slices that keep their place but lose their epicardium contour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What a check of one case must know of all others. Those of two lots of whole cases add up."""

    measured_cases: int = 0
    """Cases with a median contrast."""
    off_cases: int = 0
    """Those of them whose contours look as if they lay off the heart."""
    many_phases: bool = False
    """Whether any case has labels in two phases."""

    def __add__(self, other: Traits) -> Traits:
        return Traits(
            measured_cases=self.measured_cases + other.measured_cases,
            off_cases=self.off_cases + other.off_cases,
            many_phases=self.many_phases or other.many_phases,
        )


def find_traits(facts: pa.Table) -> Traits:
    """The traits of some cases, all rows of each."""
    return _traits(Facts(facts))


def _traits(facts: Facts) -> Traits:
    measured, off = slice_checks.cases_off_heart(facts)
    return Traits(measured_cases=measured, off_cases=off, many_phases=stack_checks.has_many_phases(facts))


def find_problems(facts: pa.Table, structures: Structures, traits: Traits | None = None) -> list[Finding]:
    """Run every check on the facts of a whole source, or of some of its cases.

    Args:
        facts: rows of ``FACTS_SCHEMA``, in any order; all rows of each case, and all cases that share an image or a
            contour with one another.
        structures: what the masks are to hold; with ``endo+myo`` a case of one phase is as it should be.
        traits: of the whole source; None: these are all facts.

    Returns:
        Findings by severity, then check, case and name; the same whatever the order of the rows.
    """
    sorted_facts = Facts(facts)
    traits = traits or _traits(sorted_facts)
    other_kind = 2 * traits.off_cases > traits.measured_cases
    copied_epicardia = list(copies.contours(sorted_facts, "epicardium"))
    found = [
        *slice_checks.images(sorted_facts),
        *slice_checks.shapes(sorted_facts),
        *slice_checks.contours_off_heart(sorted_facts, other_kind),
        *slice_checks.nesting(sorted_facts, {finding.name for finding in copied_epicardia}),
        *copied_epicardia,
        *copies.contours(sorted_facts, "endocardium"),
        *copies.images(sorted_facts),
        *copies.instance_uids(sorted_facts),
        *stack_checks.area_jumps(sorted_facts),
        *stack_checks.missing_slices(sorted_facts),
        *stack_checks.missing_phases(sorted_facts, structures, traits.many_phases),
        *stack_checks.geometry(sorted_facts),
    ]
    return merge_findings(found)


def merge_findings(*several: Iterable[Finding]) -> list[Finding]:
    """Findings of several origins in one order; what is said about a case as a whole is not said twice.

    Give the listing's findings first: it has seen every header, the facts only those of labelled images.
    """
    kept: dict[tuple[str, str, str, str], Finding] = {}
    whole_case: set[tuple[str, str]] = set()
    for findings in several:
        new = [finding for finding in findings if (finding.check, finding.case_id) not in whole_case]
        kept |= {(f.check, f.case_id, f.name or f.reason, f.target): f for f in new}
        whole_case |= {(finding.check, finding.case_id) for finding in new if not finding.name}
    return sorted(kept.values(), key=_order)


def _order(finding: Finding) -> tuple[int, str, list[str | int], list[str | int], str, str]:
    return (
        SEVERITIES.index(finding.severity),
        finding.check,
        natural_key(finding.case_id),
        natural_key(finding.name),
        finding.target,
        finding.reason,
    )


def count_severities(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings of every severity."""
    found = Counter(finding.severity for finding in findings)
    return {severity: found[severity] for severity in SEVERITIES}


def spread(findings: Iterable[Finding], count: int) -> list[Finding]:
    """At most so many findings, the first of every check before the second of any, in their order."""
    queues: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        queues.setdefault((finding.severity, finding.check), []).append(finding)
    longest = max(map(len, queues.values()), default=0)
    turns = (queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue))
    return list(islice(turns, count))


def load_finding(item: Item, error: SourceError) -> Finding:
    """What it means that a listed item could not be loaded; the reason is the error's.

    Errors have no kinds finer than their classes, so their words tell a contour off its image, and a slice that
    was never given the epicardium that ``endo+myo`` needs: in Sunnybrook half of them, so that is only a note.
    """
    severity: Severity = "error"
    check = "unreadable"
    if isinstance(item, DicomItem) and item.epicardium is None and "no epicardium contour" in str(error):
        severity, check = "note", "no-epicardium"
    elif isinstance(error, ContourError) and "outside the image" in str(error):
        check = "contour-off-image"
    files = [item.shown(file) for file in item.files]
    file = next((file for file in files if file in str(error)), item.label)
    return Finding(
        severity=severity,
        check=check,
        case_id=item.case_id,
        name=item.name,
        target="endocardium" if isinstance(error, ContourError) else "image",
        file=file,
        reason=str(error).removeprefix(f"{file}: "),
    )


def quarantine(findings: Iterable[Finding], structures: Structures) -> Quarantine:
    """What to leave out: the targets of errors. An epicardium takes its slice along where the mask needs it."""
    slices: set[str] = set()
    epicardia: set[str] = set()
    for finding in findings:
        if finding.severity != "error" or not finding.name:
            continue
        needed = finding.target != "epicardium" or structures == "endo+myo"
        (slices if needed else epicardia).add(finding.name)
    return Quarantine(slices=frozenset(slices), epicardia=frozenset(epicardia - slices))
