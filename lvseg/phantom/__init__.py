"""Synthetic short-axis cine studies with known areas and volumes, for demos and tests."""

from lvseg.phantom.write import PhantomSummary, write_phantom

__all__ = ["PhantomSummary", "write_phantom"]
