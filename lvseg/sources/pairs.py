"""The pairs layout: an image file and a mask file of the same name, anywhere below the source folder.

::

    images/NAME.png      masks/NAME.png       also labels/; PNG, TIFF, NumPy (.npy, .npz), NIfTI (.nii, .nii.gz)
    imagesTr/NAME_0000.nii.gz    labelsTr/NAME.nii.gz     as nnU-Net has them; also imagesTs and labelsTs

A NumPy volume is (rows, columns, slices[, phases]), a NIfTI one (columns, rows, slices[, phases]). Every plane of a
volume is an image of its own, ``NAME-s03`` or ``NAME-s03-p07`` with slice and phase counted from 0. A phase is
labelled when any of its planes is, and then all of its planes are: the heart is not in the empty ones. A phase without
any label was not drawn (in a 4-D file, all but end-diastole and end-systole) and is only counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources.arrays import NIFTI, SUFFIXES, read_array, read_shape, split_suffix
from lvseg.sources.cases import StemParts, canonical_case_id, pathology_group
from lvseg.sources.listing import Collector, Listing, PairItem, Unit, natural_key, walk
from lvseg.sources.masks import as_classes
from lvseg.sources.pseudonym import Pseudonyms
from lvseg.store import UPath

__all__ = ["PairsSource", "find_pairs"]

MASK_FOLDERS = {"images": ("masks", "labels"), "imagesTr": ("labelsTr",), "imagesTs": ("labelsTs",)}
"""Names of the folder of masks beside each folder of images."""

LEVELS = 5
"""Levels of folders to look at."""

FIRST_CHANNEL = "_0000"
"""nnU-Net's mark of an image's first channel."""

VOLUME_STEM = re.compile(r"(.+?)[-_](?:frame\d+|ED|ES)", re.IGNORECASE)
"""A volume of one phase of a patient: ``patient001_frame01``."""


def find_pairs(folder: UPath) -> list[UPath]:
    """Every folder that holds a folder of images beside one of masks, in order."""
    roots = []
    for path, folders, _ in walk(folder, LEVELS):
        if _pairings(folders):
            roots.append(path)
        paired = {name for pairing in _pairings(folders) for name in pairing}
        folders[:] = [name for name in folders if name not in paired]
    return roots


def _pairings(folders: list[str]) -> list[tuple[str, str]]:
    """(images, masks) among the names of a folder's folders."""
    found = [(images, next((m for m in masks if m in folders), "")) for images, masks in MASK_FOLDERS.items()]
    return [(images, masks) for images, masks in found if images in folders and masks]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairsSource:
    """Image and mask files of the same name."""

    folder: UPath
    """The source folder."""
    root: UPath
    """Where to look for pairs: this folder or below."""
    config: ConvertConfig
    """What the masks' values mean."""
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    """Not needed: the names of image files are the user's own choice."""

    @property
    def layout(self) -> Literal["pairs"]:
        """The layout's name."""
        return "pairs"

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """One unit a case; its files are images and masks in turns. Reads names only."""
        found = Collector(self.folder)
        pairs: dict[str, tuple[str, str]] = {}
        for root in find_pairs(self.root):
            for name, image, mask in self._match(root, found):
                if name in pairs:
                    found.skip(image, f"same name {name} as {pairs[name][0]}")
                else:
                    pairs[name] = image, mask
        cases: dict[str, list[str]] = {}
        for name in sorted(pairs, key=natural_key):
            cases.setdefault(_case_of(pairs[name][1]), []).extend(pairs[name])
        units = [Unit(case_id=case, group=pathology_group(case), folders=tuple(files)) for case, files in cases.items()]
        return tuple(sorted(units, key=lambda unit: natural_key(unit.case_id))), found.finish()

    def _match(self, root: UPath, found: Collector) -> list[tuple[str, str, str]]:
        """(name, image, mask) of the pairs below one root; those without partner are skipped."""
        matched = []
        _, folders, _ = next(walk(root, 1))
        for image_folder, mask_folder in _pairings(folders):
            images = _by_stem(root / image_folder, found)
            masks = _by_stem(root / mask_folder, found)
            for stem, image in images.items():
                partner = stem if stem in masks else stem.removesuffix(FIRST_CHANNEL)
                if partner in masks:
                    matched.append((StemParts.parse(partner).name, image, masks.pop(partner)))
                else:
                    found.skip(image, "image without mask")
            for mask in masks.values():
                found.skip(mask, "mask without image")
        return matched

    def list_unit(self, unit: Unit) -> Listing:
        """Items of a case; reads the headers of NumPy and NIfTI files, and the masks of volumes."""
        found = Collector(self.folder)
        for image, mask in zip(unit.folders[::2], unit.folders[1::2], strict=True):
            try:
                self._list_pair(image, mask, found)
            except SourceError as error:
                found.skip(mask, str(error))
        return found.finish()

    def _list_pair(self, image: str, mask: str, found: Collector) -> None:
        shape = read_shape(self.folder / mask, mask)
        if len(shape) <= 2:
            name, case_id = StemParts.parse(split_suffix(PurePosixPath(mask).name)[0]).name, _case_of(mask)
            found.add(PairItem(name=name, case_id=case_id, group=pathology_group(case_id), image=image, mask=mask))
        else:
            self._list_volume(image, mask, shape, found)

    def _list_volume(self, image: str, mask: str, shape: tuple[int, ...], found: Collector) -> None:
        image_shape = read_shape(self.folder / image, image)
        if image_shape != shape or len(shape) > 4:
            sizes = f"{'x'.join(map(str, shape))}, but its image is {'x'.join(map(str, image_shape)) or 'a picture'}"
            raise SourceError(f"{mask}: mask is {sizes} (rowsxcolumnsxslices[xphases])")
        classes = as_classes(read_array(self.folder / mask, mask).values, self.config, mask)
        labelled = np.atleast_1d(classes.any(axis=(0, 1, 2)))
        if not labelled.any():
            raise SourceError(f"{mask}: no plane holds a label")
        stem = split_suffix(PurePosixPath(mask).name)[0]
        case_id, volume = _volume_case(stem), canonical_case_id(stem)
        group = pathology_group(case_id)
        found.unlabelled_images += int((~labelled).sum()) * shape[2]
        for phase in np.flatnonzero(labelled).tolist():
            for index in range(shape[2]):
                plane = (index, phase) if len(shape) == 4 else (index,)
                name = f"{volume}-s{index:02d}" + (f"-p{phase:02d}" if len(shape) == 4 else "")
                found.add(PairItem(name=name, case_id=case_id, group=group, image=image, mask=mask, plane=plane))


def _by_stem(folder: UPath, found: Collector) -> dict[str, str]:
    """Image files, relative to the source, by stem."""
    where = found.relative(folder)
    files: dict[str, str] = {}
    _, folders, names = next(walk(folder, 1))
    for name in folders:
        found.skip(f"{where}/{name}", "a folder, expected image files here")
    for name in names:
        stem, suffix = split_suffix(name)
        file = f"{where}/{name}" if where != "." else name
        if not suffix:
            found.skip(file, f"not an image file, expected {', '.join(SUFFIXES)}")
        elif (other := files.setdefault(stem, file)) != file:
            found.skip(file, f"same name {stem} as {other}")
    return files


def _case_of(mask: str) -> str:
    """Case of a file, as far as its name tells: a NIfTI file is a volume, of others a number at the end is a slice."""
    stem, suffix = split_suffix(PurePosixPath(mask).name)
    return _volume_case(stem) if suffix in NIFTI else StemParts.parse(stem).case_id


def _volume_case(stem: str) -> str:
    parts = StemParts.parse(stem)
    if parts.instance_number is not None:
        return parts.case_id
    match = VOLUME_STEM.fullmatch(stem)
    return canonical_case_id(match[1] if match else stem)
