"""The things to do with a source folder: recognise its layout, list what it holds, load one item of the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lvseg.config import ConvertConfig, SourceLayout
from lvseg.errors import ConfigError, SourceError
from lvseg.slices import Slice
from lvseg.sources.cap import CapSource, find_cap
from lvseg.sources.challenge import ChallengeSource, find_challenge
from lvseg.sources.course import CourseSource, find_course, load_course_item
from lvseg.sources.dicom_item import load_dicom_item
from lvseg.sources.linked import LinkedSource, find_linked
from lvseg.sources.listing import (
    Collector,
    CourseItem,
    DicomItem,
    Item,
    Listing,
    PairItem,
    Source,
    visible,
)
from lvseg.sources.pair_item import load_pair
from lvseg.sources.pairs import PairsSource, find_pairs
from lvseg.sources.pseudonym import Pseudonyms, read_key
from lvseg.sources.segmentation import SegmentationSource, find_segmentation
from lvseg.sources.segmentation_item import load_segmentation_item
from lvseg.store import UPath, location

__all__ = ["discover", "load", "open_source"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    find: Callable[[UPath], list[UPath]]
    """Roots of this layout at or below a folder."""
    source: Callable[..., Source]
    """Class of the source."""
    looked_for: str
    """What tells the layout, for messages."""
    is_one_tree: bool = True
    """Whether the source is one of the roots; else it is the folder with all roots below it."""
    has_cine: bool = True
    """Whether the whole cine is there, to find the heart by its motion."""
    has_patient_ids: bool = True
    """Whether there can be original patient ids, which need the secret key."""


LAYOUTS: dict[SourceLayout, _Layout] = {
    "linked": _Layout(
        find=find_linked,
        source=LinkedSource,
        looked_for="link.csv with dicoms/ and contourfiles/",
    ),
    "challenge": _Layout(
        find=find_challenge,
        source=ChallengeSource,
        looked_for="folders of images like SC-HF-I-1/IM-0004-0048.dcm and of contours like SC-HF-I-01/contours-manual/",
    ),
    "cap": _Layout(
        find=find_cap,
        source=CapSource,
        looked_for="scd_patientdata.csv with SCD_IMAGES_*/ and SCD_ManualContours/",
    ),
    "course": _Layout(
        find=find_course,
        source=CourseSource,
        looked_for="train_images.tfrecords with the course's features",
        is_one_tree=False,
        has_cine=False,
        has_patient_ids=False,
    ),
    "pairs": _Layout(
        find=find_pairs,
        source=PairsSource,
        looked_for="images/ beside masks/ or labels/",
        is_one_tree=False,
        has_cine=False,
        has_patient_ids=False,
    ),
    "segmentation": _Layout(
        find=find_segmentation,
        source=SegmentationSource,
        looked_for="DICOM images and DICOM SEG objects",
        is_one_tree=False,
    ),
}
"""In the order in which they are looked for: the last has to open files."""


def open_source(folder: UPath | Path | str, config: ConvertConfig) -> Source:
    """Recognise the layout of a source folder, or take the one that the config names.

    Args:
        folder: path or URI; the layout may start a few folders below it.
        config: its settings of the source, the masks' values and the crop.

    Raises:
        SourceError: the folder is missing, empty, in no known layout, or in several at once.
        ConfigError: settings that contradict each other or the layout.
    """
    folder = location(folder)
    _check_folder(folder)
    if config.source == "auto":
        layout, roots = _recognise(folder)
    else:
        layout, roots = config.source, LAYOUTS[config.source].find(folder)
    if not roots:
        raise SourceError(_nothing_recognised(folder, config.source))
    known = LAYOUTS[layout]
    if known.is_one_tree and len(roots) > 1:
        raise SourceError(f"{folder}: several source folders in it, choose one: {_listed(roots)}")
    _check_settings(layout, config)
    root = roots[0] if len(roots) == 1 else folder
    return known.source(folder=folder, root=root, config=config, pseudonyms=_pseudonyms(known))


def _check_folder(folder: UPath) -> None:
    try:
        if not folder.is_dir():
            raise SourceError(f"{folder}: " + ("a file, expected a folder" if folder.exists() else "no such folder"))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror or error}") from None
    if not visible(folder):
        raise SourceError(f"{folder}: the folder is empty")


def _recognise(folder: UPath) -> tuple[SourceLayout, list[UPath]]:
    """The layout that is there, and its roots; no roots where none is."""
    found: dict[SourceLayout, list[UPath]] = {}
    for layout, known in LAYOUTS.items():
        if layout == "segmentation" and found:
            break  # other layouts hold DICOM images too, and opening them all would take long
        trees = [root for name, roots in found.items() if LAYOUTS[name].is_one_tree for root in roots]
        if roots := [root for root in known.find(folder) if not any(root.is_relative_to(tree) for tree in trees)]:
            found[layout] = roots
    if len(found) > 1:
        several = "; ".join(f"{layout} in {_listed(roots)}" for layout, roots in found.items())
        raise SourceError(f"{folder}: several layouts in it ({several}); choose one folder, or name the layout: source")
    return next(iter(found.items()), ("segmentation", []))


def _listed(roots: list[UPath]) -> str:
    return ", ".join(map(str, roots[:4])) + (f" and {len(roots) - 4} more" if len(roots) > 4 else "")


def _nothing_recognised(folder: UPath, source: str) -> str:
    names = [entry.name for entry in visible(folder)]
    there = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    looked_for = "; ".join(known.looked_for for name, known in LAYOUTS.items() if source in ("auto", name))
    what = "no known layout" if source == "auto" else f"not in the layout {source}"
    return f"{folder}: {what}; looked for {looked_for}; found {there}"


def _check_settings(layout: SourceLayout, config: ConvertConfig) -> None:
    if config.crop == "heart" and not LAYOUTS[layout].has_cine:
        raise ConfigError(f"crop must be none or centre for the layout {layout}, which has no cine, got 'heart'")
    if config.cavity_value is not None and config.cavity_value == config.myocardium_value:
        raise ConfigError(f"cavity_value and myocardium_value must differ, got {config.cavity_value} for both")


def _pseudonyms(layout: _Layout) -> Pseudonyms:
    """With the key read here, once: every node of a cluster must give a patient the same pseudonym."""
    if not layout.has_patient_ids:
        return Pseudonyms()
    try:
        return Pseudonyms(key=read_key())
    except SourceError:
        return Pseudonyms()  # public ids need none; the first other one will say what is wrong with the key


def discover(folder: UPath | Path | str, config: ConvertConfig | None = None) -> Listing:
    """List a whole source folder at once.

    Raises:
        SourceError: as ``open_source``, or no labelled image in it.
    """
    source = open_source(folder, config or ConvertConfig())
    units, listing = source.units()
    found = Collector(source.folder)
    for part in (listing, *map(source.list_unit, units)):
        for item in part.items:
            found.add(item)
        found.skipped += part.skipped
        found.decisions += part.decisions
        found.findings += part.findings
        found.unlabelled_images += part.unlabelled_images
    merged = found.finish()
    if not merged.items:
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in merged.skipped[:3])
        left_out = f", {len(merged.skipped)} left out ({reasons})" if reasons else ""
        raise SourceError(f"{folder}: no labelled image{left_out}")
    return merged


def load(folder: UPath | Path | str, item: Item, config: ConvertConfig) -> Slice:
    """Read one labelled image, before any preprocessing.

    Args:
        folder: the source folder.
        item: from the listing; its paths are relative to the folder.
        config: label convention, structures, values of masks.

    Raises:
        SourceError: a file is missing, damaged, or not what is expected; names the file.
        ContourError: a contour that the mask needs is none, or is not on its image.
    """
    folder = location(folder)
    if isinstance(item, DicomItem):
        return load_dicom_item(folder, item, config)
    if isinstance(item, PairItem):
        return load_pair(folder, item, config)
    if isinstance(item, CourseItem):
        return load_course_item(folder, item, config)
    return load_segmentation_item(folder, item, config)
