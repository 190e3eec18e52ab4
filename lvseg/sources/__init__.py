"""Files that users have → :class:`lvseg.slices.Slice`; the only room that knows DICOM, contour and mask files.

``open_source`` recognises a folder's layout, its ``units`` and ``list_unit`` say what it holds, ``load`` reads one of
the listed items; ``discover`` lists a small folder at once.
"""

from lvseg.findings import Skip
from lvseg.sources.importer import discover, load, open_source
from lvseg.sources.listing import (
    CourseItem,
    DicomItem,
    Item,
    Listing,
    PairItem,
    SegmentationItem,
    Source,
    Unit,
)

__all__ = [
    "CourseItem",
    "DicomItem",
    "Item",
    "Listing",
    "PairItem",
    "SegmentationItem",
    "Skip",
    "Source",
    "Unit",
    "discover",
    "load",
    "open_source",
]
