"""Quality control: what each slice looks like in numbers, what is wrong with it, and a page that shows it."""

from lvseg.quality.checks import (
    CHECKS,
    Quarantine,
    Traits,
    find_problems,
    find_traits,
    load_finding,
    merge_findings,
    quarantine,
)
from lvseg.quality.facts import FACTS_SCHEMA, slice_facts
from lvseg.quality.page import write_report
from lvseg.quality.pictures import join, panel, shown_names, to_be_shown
from lvseg.quality.terminal import print_summary

__all__ = [
    "CHECKS",
    "FACTS_SCHEMA",
    "Quarantine",
    "Traits",
    "find_problems",
    "find_traits",
    "join",
    "load_finding",
    "merge_findings",
    "panel",
    "print_summary",
    "quarantine",
    "shown_names",
    "slice_facts",
    "to_be_shown",
    "write_report",
]
