"""DICOM headers → series, and each image's slice and phase from position and trigger time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lvseg.sources.headers import ImageHeader
from lvseg.sources.listing import Collector, natural_key

__all__ = ["Series", "SlicePhase", "find_series"]

T = TypeVar("T", bound=Hashable)
SlicePhase = tuple[int | None, int | None]

POSITION_TOLERANCE_MM = 0.5
"""Images closer than this along the normal are of one slice; slices lie several millimetres apart."""
GAP_TOLERANCE = 0.1
"""Relative difference from a whole number of slice spacings up to which a gap counts as missing slices."""
STEP_TOLERANCE = 0.1
"""Relative difference of the trigger times' step from NominalInterval / CardiacNumberOfImages that is believed."""
PHASE_SHIFT = 0.25
"""Phases; scanners give a phase's start (k) or its middle (k + 0.5): both, shifted by this, round down to k."""


@dataclass(frozen=True)
class Series:
    """Images of one series, by number; every number once."""

    label: str
    """What to call it in messages."""
    images: tuple[ImageHeader, ...]
    """By number."""
    numbers: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", frozenset(image.number for image in self.images))

    @cached_property
    def by_number(self) -> dict[int, ImageHeader]:
        """Image of each number."""
        return {image.number: image for image in self.images}

    @cached_property
    def phases(self) -> int | None:
        """Phases of the cine: CardiacNumberOfImages, else the commonest count of images at a position."""
        if said := _commonest(image.phases for image in self.images):
            return said
        return None if self.ranks is None else _commonest(np.bincount(self.ranks).tolist())

    @cached_property
    def along_mm(self) -> NDArray[np.float64] | None:
        """Position of each image along the series' normal; None where one has none."""
        normal = next((image.normal for image in self.images), None)
        if normal is None or any(image.position is None for image in self.images):
            return None
        return np.array([image.position for image in self.images], np.float64) @ normal

    @cached_property
    def ranks(self) -> NDArray[np.intp] | None:
        """0-based rank of each image's slice, in the direction in which the image numbers run."""
        if self.along_mm is None:
            return None
        order = np.argsort(self.along_mm, kind="stable")
        steps = np.diff(self.along_mm[order]) > POSITION_TOLERANCE_MM
        ranks = np.empty(len(order), np.intp)
        ranks[order] = np.concatenate([[0], np.cumsum(steps)])
        numbers = np.array([image.number for image in self.images], np.float64)
        runs_down = float((numbers - numbers.mean()) @ (ranks - ranks.mean())) < 0
        return ranks.max() - ranks if runs_down else ranks

    @cached_property
    def gaps_mm(self) -> NDArray[np.float64]:
        """Distances of neighbouring slices; empty where they are unknown."""
        if self.ranks is None or self.along_mm is None:
            return np.empty(0)
        centres = [self.along_mm[self.ranks == rank].mean() for rank in range(int(self.ranks.max()) + 1)]
        return np.abs(np.diff(centres))

    @cached_property
    def is_whole(self) -> bool:
        """Whether every slice has an image of every phase; without positions, whether the numbers have no gap."""
        if not self.phases:
            return False
        if self.ranks is not None:
            return set(np.bincount(self.ranks).tolist()) == {self.phases}
        return len(self.images) % self.phases == 0 and self.numbers == set(range(1, len(self.images) + 1))

    @cached_property
    def places(self) -> dict[int, SlicePhase]:
        """0-based slice and phase of each image by its number, None where they cannot be told.

        Position and trigger time decide. Where a series has gaps, slices are counted by image number as long as
        position and trigger time agree with that, so that a slice keeps its index when a whole one before is gone.
        """
        counted = self._counted()
        if self.ranks is None:
            # Only the numbers tell the slice, and trigger times may contradict them.
            trusted = self.is_whole and not self._contradicted(counted)
            return counted if trusted else dict.fromkeys(self.numbers, (None, None))
        measured = self._measured()
        return counted if not self.is_whole and self._agree(counted, measured) else measured

    @cached_property
    def miscounted(self) -> int:
        """Images whose slice or phase is not what their number alone would say."""
        counted = self._counted()
        return sum(None not in place and counted.get(number, place) != place for number, place in self.places.items())

    def _counted(self) -> dict[int, SlicePhase]:
        if not self.phases:
            return {}
        return {number: divmod(number - 1, self.phases) for number in self.numbers if number >= 1}

    def _contradicted(self, counted: dict[int, SlicePhase]) -> bool:
        """Whether trigger times, where there are any, tell other phases than the count."""
        for image in self.images:
            phase = counted[image.number][1]
            if image.trigger_time_ms is None or not image.interval_ms or phase is None or not self.phases:
                continue
            if int(image.trigger_time_ms / image.interval_ms * self.phases + PHASE_SHIFT) != phase:
                return True
        return False

    def _measured(self) -> dict[int, SlicePhase]:
        assert self.ranks is not None
        slices = _slice_indices(self.gaps_mm)
        members: dict[int, list[ImageHeader]] = defaultdict(list)
        for image, rank in zip(self.images, self.ranks.tolist(), strict=True):
            members[rank].append(image)
        return {
            image.number: (slices[rank], phase)
            for rank, images in members.items()
            for image, phase in zip(images, _phase_indices(images, self.phases), strict=True)
        }

    @staticmethod
    def _agree(counted: dict[int, SlicePhase], measured: dict[int, SlicePhase]) -> bool:
        """Whether both order the slices alike, and tell the same phases where both tell one."""
        if counted.keys() != measured.keys():
            return False
        pairs = {(counted[number][0], measured[number][0]) for number in counted}
        slices = [(a, b) for a, b in sorted(pairs, key=str) if a is not None and b is not None]
        in_order = sorted(slices) == sorted(slices, key=lambda pair: pair[1])
        one_to_one = len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        return (
            in_order
            and one_to_one
            and all(measured[number][1] in (None, phase) for number, (_, phase) in counted.items())
        )


def _slice_indices(gaps_mm: NDArray[np.float64]) -> list[int]:
    """Index of each slice: a gap of whole multiples of the smallest one leaves indices out."""
    if not len(gaps_mm):
        return [0]
    steps = gaps_mm / gaps_mm.min()
    whole = np.round(steps)
    steps = whole if (np.abs(steps - whole) <= GAP_TOLERANCE * whole).all() else np.ones(len(steps))
    return [0, *np.cumsum(steps).astype(int).tolist()]


def _phase_indices(images: Sequence[ImageHeader], phases: int | None) -> list[int | None]:
    """Phase of each image of one slice, by trigger time; by number where there is none and the slice is whole."""
    unknown: list[int | None] = [None] * len(images)
    if not phases or len(images) > phases:
        return unknown
    times = [image.trigger_time_ms for image in images if image.trigger_time_ms is not None]
    by_time = len(times) == len(images)
    if by_time and len(set(times)) < len(times):
        return unknown
    if len(images) == phases:
        return _ranked(times if by_time else [image.number for image in images])
    if not by_time:
        return unknown
    step = _phase_step(sorted(times), images[0].interval_ms, phases)
    indices = [int(np.floor(time / step + PHASE_SHIFT)) for time in times] if step else []
    valid = len(set(indices)) == len(images) and all(0 <= index < phases for index in indices)
    return list(indices) if valid else unknown


def _ranked(values: Sequence[float]) -> list[int | None]:
    return list(np.argsort(np.argsort(values)).tolist())


def _phase_step(times: list[float], interval_ms: float | None, phases: int) -> float | None:
    """Time from phase to phase, ms: R-R interval over phases, unless most phases are there and tell otherwise."""
    said = interval_ms / phases if interval_ms else None
    if 2 * len(times) <= phases:
        return said
    seen = float(np.median(np.diff(times)))
    return said if said and abs(seen - said) <= STEP_TOLERANCE * said else seen


def find_series(headers: Sequence[ImageHeader], found: Collector, case_id: str) -> list[Series]:
    """Sort a patient's images into series.

    By SeriesInstanceUID; where there is none, by series number and plane. A group in which image numbers repeat is
    parted by the series in the files' names, one in which whole cines follow each other at the same positions by these.

    Args:
        headers: of all the patient's images.
        found: gets the images that are left out because their number is taken.
        case_id: the patient's.

    Returns:
        Series by label.
    """
    groups = [_without_copies(group, found, case_id) for group in _grouped(headers, _series_key)]
    parts = [_without_copies(part, found, case_id, by_number=True) for group in groups for part in _by_name(group)]
    cines = [cine for part in parts for cine in _repeated_cines(part)]
    series = [Series(label, images) for label, images in zip(_labels(cines), cines, strict=True)]
    return sorted(series, key=lambda each: natural_key(each.label))


def _series_key(image: ImageHeader) -> Hashable:
    if image.series_uid:
        return image.series_uid
    normal = None if image.normal is None else tuple(np.round(image.normal, 2).tolist())
    return (image.series_number, image.name_series, image.path.parent.name, image.shape, normal)


def _by_name(images: list[ImageHeader]) -> list[list[ImageHeader]]:
    if len({image.number for image in images}) == len(images):
        return [images]
    return _grouped(images, lambda image: (image.path.parent.as_posix(), image.name_series))


def _without_copies(
    images: list[ImageHeader], found: Collector, case_id: str, *, by_number: bool = False
) -> list[ImageHeader]:
    """Images by number; of those that share number (and SOPInstanceUID, unless by number alone) the first by name."""
    taken: dict[Hashable, ImageHeader] = {}
    for image in sorted(images, key=lambda image: natural_key(f"{image.path.parent}/{image.path.stem}")):
        key = (image.number, "" if by_number else image.instance_key or image.path)
        if (other := taken.setdefault(key, image)) is not image:
            found.skip(image.path, f"same image number as {found.shown(other.path, case_id)}", case_id)
    return sorted(taken.values(), key=lambda image: image.number)


def _repeated_cines(images: list[ImageHeader]) -> list[tuple[ImageHeader, ...]]:
    """Part a series in which every position has several whole cines, one after another in the image numbers."""
    series = Series("", tuple(images))
    if series.ranks is None or not series.phases:
        return [series.images]
    counts = set(np.bincount(series.ranks).tolist())
    if len(counts) != 1 or (count := counts.pop()) <= series.phases or count % series.phases:
        return [series.images]
    parts: dict[int, list[ImageHeader]] = defaultdict(list)
    seen: Counter[int] = Counter()
    for image, rank in zip(images, series.ranks.tolist(), strict=True):
        parts[seen[rank] // series.phases].append(image)
        seen[rank] += 1
    return [tuple(part) for part in parts.values()]


def _labels(cines: Sequence[Sequence[ImageHeader]]) -> list[str]:
    """The series in the files' names (0004) where these tell the series apart, else the headers' SeriesNumber."""
    names = [_only(image.name_series for image in images) for images in cines]
    if all(name is not None for name in names) and len(set(names)) == len(names):
        return [f"{name:04d}" for name in names]
    labels = [str(_only(image.series_number for image in images) or "unnumbered") for images in cines]
    totals, seen = Counter(labels), Counter[str]()
    for index, label in enumerate(labels):
        seen[label] += 1
        if totals[label] > 1:
            labels[index] = f"{label} ({seen[label]})"
    return labels


def _only(values: Iterable[T | None]) -> T | None:
    several = set(values)
    return several.pop() if len(several) == 1 else None


def _commonest(values: Iterable[int | None]) -> int | None:
    counts = Counter(value for value in values if value)
    return max(counts, key=lambda value: (counts[value], value)) if counts else None


def _grouped(images: Iterable[ImageHeader], key: Callable[[ImageHeader], Hashable]) -> list[list[ImageHeader]]:
    groups: dict[Hashable, list[ImageHeader]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return list(groups.values())
