"""Which image serves training, validation, or the test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lvseg.config import SplitMethod, SplitName
from lvseg.errors import SourceError
from lvseg.sources.cases import OFFICIAL_PARTS, canonical_case_id

__all__ = ["assign_splits", "check_no_leak"]

OFFICIAL_SPLITS: dict[str, SplitName] = {"training": "train", "validation": "val", "online": "test"}


def assign_splits(
    items: Sequence[tuple[str, str]], method: SplitMethod, val_fraction: float, seed: int
) -> dict[str, SplitName]:
    """Give every image its part; the order of the input does not matter.

    Args:
        items: (name, case_id) of every image; names are unique.
        method: ``patient`` draws whole patients, ``image`` draws images (the parts then share patients),
            ``official`` follows the challenge's parts: training, validation, online → train, val, test.
        val_fraction: fraction of the patients or images for validation; rounded, at least one on each side.
        seed: of the draw; the official split ignores it.

    Returns:
        Part of each name, sorted by name.

    Raises:
        SourceError: too few patients or images to split, a case in no official part, no training image.
    """
    items = sorted(items)
    if method == "official":
        splits = {name: _official_split(case_id) for name, case_id in items}
    elif method == "patient":
        drawn = _draw({case_id for _, case_id in items}, val_fraction, seed, "patient")
        splits = {name: _val_if(case_id in drawn) for name, case_id in items}
    else:
        drawn = _draw({name for name, _ in items}, val_fraction, seed, "image")
        splits = {name: _val_if(name in drawn) for name, _ in items}
    if "train" not in splits.values():
        raise SourceError(f"no training images among {len(items)} after the {method} split")
    return splits


def _val_if(drawn: bool) -> SplitName:
    return "val" if drawn else "train"


def _draw(members: set[str], fraction: float, seed: int, unit: str) -> set[str]:
    if len(members) < 2:
        found = ", ".join(members) or "none"
        raise SourceError(f"a split by {unit} needs at least two {unit}s, found {len(members)} ({found})")
    count = min(max(1, round(fraction * len(members))), len(members) - 1)
    generator = np.random.Generator(np.random.PCG64(seed))
    return set(generator.permutation(sorted(members))[:count].tolist())


def _official_split(case_id: str) -> SplitName:
    for part, cases in OFFICIAL_PARTS.items():
        if canonical_case_id(case_id) in cases:
            return OFFICIAL_SPLITS[part]
    raise SourceError(f"case {case_id} is in no official part of the challenge; split by patient or image instead")


def check_no_leak(items: Iterable[tuple[str, str]], splits: Mapping[str, SplitName]) -> None:
    """Make sure that no case is in two parts; not for splits by image, which share cases.

    Args:
        items: (name, case_id) of every image.
        splits: part of each name.

    Raises:
        SourceError: names the first such case and its parts.
    """
    part_of: dict[str, SplitName] = {}
    for name, case_id in sorted(items):
        if (part := part_of.setdefault(case_id, splits[name])) != splits[name]:
            raise SourceError(f"case {case_id} is in two parts, {part} and {splits[name]}")
