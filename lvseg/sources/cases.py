"""Case ids (patients' pseudonyms), slice names, and the Sunnybrook challenge's official parts."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

__all__ = [
    "OFFICIAL_PARTS",
    "PathologyGroup",
    "StemParts",
    "canonical_case_id",
    "is_public_case_id",
    "pathology_group",
    "slice_name",
]

PathologyGroup = Literal["N", "HYP", "HF-NI", "HF-I"]

SUNNYBROOK_ID = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-0*(\d+)")
PHANTOM_ID = re.compile(r"PH-(N|HYP|HF)-\d+")
IMAGE_STEM = re.compile(r"(.+)-IM-\d+-(\d+)")
NUMBERED_STEM = re.compile(r"(.+?)[-_](\d+)")


def _part(**numbers: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"SC-{group.replace('_', '-')}-{n}" for group, members in numbers.items() for n in members)


OFFICIAL_PARTS: dict[str, tuple[str, ...]] = {
    "training": _part(HF_I=(1, 2, 4, 40), HF_NI=(3, 4, 34, 36), HYP=(1, 3, 38, 40), N=(2, 3, 40)),
    "validation": _part(HF_I=(5, 6, 7, 8), HF_NI=(7, 11, 31, 33), HYP=(6, 7, 8, 37), N=(5, 6, 7)),
    "online": _part(HF_I=(9, 10, 11, 12), HF_NI=(12, 13, 14, 15), HYP=(9, 10, 11, 12), N=(9, 10, 11)),
}
"""Case ids of the three parts of the 2009 MICCAI left-ventricle challenge, hdl.handle.net/10380/3070."""


def canonical_case_id(case_id: str) -> str:
    """Sunnybrook ids without zero padding (``SC-HF-I-01`` → ``SC-HF-I-1``); every other id as it is."""
    match = SUNNYBROOK_ID.fullmatch(case_id)
    return f"SC-{match[1]}-{int(match[2])}" if match else case_id


def is_public_case_id(case_id: str) -> bool:
    """Whether an id is one of Sunnybrook's public pseudonyms or a phantom's."""
    return bool(SUNNYBROOK_ID.fullmatch(case_id) or PHANTOM_ID.fullmatch(case_id))


def pathology_group(case_id: str) -> PathologyGroup | None:
    """Group of a Sunnybrook case: normal, hypertrophy, heart failure without or with infarct; else ``None``."""
    match = SUNNYBROOK_ID.fullmatch(case_id)
    return next((group for group in get_args(PathologyGroup) if match and match[1] == group), None)


def slice_name(case_id: str, instance_number: int) -> str:
    """Name of a slice, the same whichever layout it was read from: ``SC-HF-I-1-IM-0001-0048``."""
    return f"{case_id}-IM-0001-{instance_number:04d}"


class StemParts(NamedTuple):
    """What the name of an image file says."""

    name: str
    case_id: str
    instance_number: int | None

    @classmethod
    def parse(cls, stem: str) -> StemParts:
        """Split a file's stem: ``CASE-IM-0001-0048``, or ``CASE_12`` / ``CASE-12``, or a name that is the case."""
        if match := IMAGE_STEM.fullmatch(stem):
            case_id, number = canonical_case_id(match[1]), int(match[2])
            return cls(slice_name(case_id, number), case_id, number)
        match = NUMBERED_STEM.fullmatch(stem)
        return cls(stem, canonical_case_id(match[1] if match else stem), None)
