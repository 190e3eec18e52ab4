"""Case ids (patients' pseudonyms), slice names, and the Sunnybrook challenge's official parts."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

__all__ = [
    "OFFICIAL_PARTS",
    "SAX_SERIES",
    "PathologyGroup",
    "StemParts",
    "canonical_case_id",
    "is_public_case_id",
    "pathology_group",
    "slice_name",
]

PathologyGroup = Literal["N", "HYP", "HF-NI", "HF-I", "HF"]
"""Normal, hypertrophy, heart failure without and with infarct; the phantom's failing hearts are HF."""

SUNNYBROOK_ID = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-0*(\d+)")
PHANTOM_ID = re.compile(r"PH-(N|HYP|HF)-\d+")
PATIENT_ID = re.compile(r"SCD\d{7}|PHANTOM\d{4}")
"""The Cardiac Atlas Project's numbers of Sunnybrook's patients, and the phantom's."""
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


def _series(**numbers: dict[int, int | tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {
        f"SC-{group.replace('_', '-')}-{n}": series if isinstance(series, tuple) else (series,)
        for group, members in numbers.items()
        for n, series in members.items()
    }


SAX_SERIES: dict[str, tuple[int, ...]] = _series(
    HF_I={1: 4, 2: 106, 4: 116, 5: 156, 6: 180, 7: 209, 8: 226, 9: 241, 10: 24, 11: 43, 12: 62, 40: 134},
    HF_NI={3: 379, 4: 501, 7: 523, 11: 270, 12: 286, 13: 304, 14: 331, 15: 359, 31: 401, 33: 424, 34: 446, 36: 474},
    HYP={1: 550, 3: 650, 6: 767, 7: 7, 8: 796, 9: 3, 10: 579, 11: (601, 606), 12: 629, 37: 702, 38: 734, 40: 755},
    N={2: 898, 3: 915, 5: 963, 6: (984, 981), 7: 1009, 9: 1031, 10: 851, 11: 878, 40: 944},
)
"""Number of the short-axis series in the challenge's file names, likeliest first: copies differ for two patients."""


def canonical_case_id(case_id: str) -> str:
    """Sunnybrook ids without zero padding (``SC-HF-I-01`` → ``SC-HF-I-1``); every other id as it is."""
    match = SUNNYBROOK_ID.fullmatch(case_id)
    return f"SC-{match[1]}-{int(match[2])}" if match else case_id


def is_public_case_id(case_id: str) -> bool:
    """Whether an id is one of Sunnybrook's public pseudonyms or a phantom's."""
    return any(pattern.fullmatch(case_id) for pattern in (SUNNYBROOK_ID, PHANTOM_ID, PATIENT_ID))


def pathology_group(case_id: str) -> PathologyGroup | None:
    """Group that the id of a Sunnybrook case or of a phantom tells; else ``None``."""
    match = SUNNYBROOK_ID.fullmatch(case_id) or PHANTOM_ID.fullmatch(case_id)
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
