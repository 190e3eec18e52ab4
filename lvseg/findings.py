"""What lvseg has to say about a user's files: what it left out, what it decided, what it found wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Decision", "Finding", "Severity", "Skip", "Target"]

Severity = Literal["error", "warning", "note"]
"""error: the target is quarantined; warning: look at it, it converts; note: worth knowing, ``--strict`` ignores it."""

Target = Literal["image", "endocardium", "epicardium", "case"]
"""What a finding speaks of. An error in a contour that the labels need takes the slice out; in another, the contour."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A file or folder that was left out."""

    file: str
    """Path relative to the source folder, with forward slashes."""
    reason: str
    """Why, in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What was chosen where the file names alone did not say, or said something else."""

    case_id: str
    """The patient's pseudonym."""
    subject: str
    """What was to be decided: ``short-axis series``, ``slice and phase``, ``contour set`` …"""
    decided: str
    """What was chosen."""
    reason: str
    """The evidence, with numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that quality control found."""

    severity: Severity
    """error, warning or note."""
    check: str
    """Which check, e.g. ``endocardium-outside-epicardium``."""
    case_id: str
    """The patient's pseudonym."""
    name: str
    """Name of the slice; empty where the finding is about the case."""
    target: Target
    """What it speaks of."""
    file: str
    """Path relative to the source folder."""
    reason: str
    """What was found and what was expected, in one line, with numbers."""
    others: tuple[str, ...] = ()
    """Names of the slices that are the evidence: a neighbour, another patient's with the same contour."""
