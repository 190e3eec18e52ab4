"""Synthetic short-axis cine studies with known areas and volumes, for demos and tests."""

from lvseg.phantom.identifiers import planted_identifiers
from lvseg.phantom.write import PhantomSummary, write_phantom

__all__ = ["PhantomSummary", "planted_identifiers", "write_phantom"]
