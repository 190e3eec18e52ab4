"""What is done to every image before it is stored, and again before a prediction: resample, crop, normalise."""

from lvseg.preprocess.grid import Layout, contour_to_grid, contour_to_source, find_layout, to_grid, to_source
from lvseg.preprocess.heart import heart_centre
from lvseg.preprocess.steps import lay_out_image, normalise, preprocess

__all__ = [
    "Layout",
    "contour_to_grid",
    "contour_to_source",
    "find_layout",
    "heart_centre",
    "lay_out_image",
    "normalise",
    "preprocess",
    "to_grid",
    "to_source",
]
