"""The challenge's own layout: all series of a patient in one folder, contours in folders of padded ids.

::

    challenge_training/SC-HF-I-1/IM-0004-0048.dcm                                       series 4, image 48
    Sunnybrook Cardiac MR Database ContoursPart3/TrainingDataContours/SC-HF-I-01/
        contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt                   always IM-0001

Other folders above the patients' own are fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lvseg.sources.cases import SAX_SERIES, pathology_group
from lvseg.sources.listing import Collector, Listing, Unit
from lvseg.sources.patient import PatientSource, sorted_units
from lvseg.sources.tree import case_folders, scan
from lvseg.store import UPath

__all__ = ["ChallengeSource", "find_challenge"]


def find_challenge(folder: UPath) -> list[UPath]:
    """The folder that holds images and contours of the same patients, or none."""
    tree = scan(folder)
    return [tree.root] if tree.images and tree.contours and tree.shares_names() else []


@dataclass(frozen=True, kw_only=True, slots=True)
class ChallengeSource(PatientSource):
    """The challenge's layout."""

    @property
    def layout(self) -> Literal["challenge"]:
        """The layout's name."""
        return "challenge"

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """Patients that have an image folder and a contour folder; reads names of folders only."""
        found, tree = Collector(self.folder), scan(self.root)
        images = case_folders(tree.images, found, self.pseudonyms)
        contours = case_folders(tree.contours, found, self.pseudonyms)
        for case_id in sorted(images.keys() ^ contours.keys()):
            if case_id in images:
                reason = "images without contours, no contour folder of this name"
            else:
                reason = "contours without images, no image folder of this name"
            found.skip(images.get(case_id) or contours[case_id], reason, self.pseudonyms.case_id(case_id))
        units = [
            self.unit(case_id, pathology_group(case_id), [images[case_id]], contours[case_id])
            for case_id in images.keys() & contours.keys()
        ]
        return sorted_units(units), found.finish()

    def listed_series(self, unit: Unit) -> tuple[int, ...]:
        """Short-axis series of a patient in the field's table."""
        return SAX_SERIES.get(unit.case_id, ())
