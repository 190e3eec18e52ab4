"""Files that users have → :class:`lvseg.slices.Slice`; the only room that knows DICOM and contour files.

``discover`` lists what a folder holds without reading pixels; ``load`` reads one of the listed items.
"""

from lvseg.sources.importer import discover, load
from lvseg.sources.listing import Item, LinkedItem, Listing, PairItem, Skip

__all__ = ["Item", "LinkedItem", "Listing", "PairItem", "Skip", "discover", "load"]
