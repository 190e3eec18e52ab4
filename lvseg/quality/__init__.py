"""Quality control: what each slice looks like in numbers, what is wrong with it, and a page that shows it."""

from lvseg.quality.checks import CHECKS, Quarantine, find_problems, load_finding, merge_findings, quarantine
from lvseg.quality.facts import FACTS_SCHEMA, slice_facts

__all__ = [
    "CHECKS",
    "FACTS_SCHEMA",
    "Quarantine",
    "find_problems",
    "load_finding",
    "merge_findings",
    "quarantine",
    "slice_facts",
]
