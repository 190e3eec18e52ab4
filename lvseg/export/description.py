"""``preprocessing.json``: what goes into the graph, what comes out, what is done before and within."""

from __future__ import annotations

import dataclasses
from typing import Any

from lvseg.config import PreprocessConfig, Structures
from lvseg.export.graph import INPUT, OUTPUT, crops_in_graph, input_shape
from lvseg.preprocess.steps import PERCENTILES
from lvseg.training.load import LoadedRun

__all__ = ["CLASS_NAMES", "describe"]

CLASS_NAMES: dict[Structures, tuple[str, ...]] = {
    "endo": ("background", "left ventricular cavity"),
    "endo+myo": ("background", "left ventricular cavity", "left ventricular myocardium"),
}


def describe(run: LoadedRun, preprocessing: PreprocessConfig) -> dict[str, Any]:
    """The content of ``preprocessing.json``."""
    rows, columns = input_shape(run, preprocessing)
    classes = CLASS_NAMES[run.origin.structures]
    return {
        "schema": 1,
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": ["batch", rows or "rows", columns or "columns", 1],
            "values": "grey values of one short-axis image in its source's own scale; no scaling is needed",
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": ["batch", *run.shape, len(classes)],
            "values": "probability of each class, which sum to 1; the likeliest class is the mask",
            "classes": list(classes),
        },
        "before_the_graph": _before(run, preprocessing),
        "in_the_graph": _within(run, preprocessing),
        "settings": dataclasses.asdict(preprocessing),
    }


def _before(run: LoadedRun, preprocessing: PreprocessConfig) -> list[dict[str, Any]]:
    """What needs more than the image's pixels: their spacing, or the whole cine."""
    steps: list[dict[str, Any]] = []
    if preprocessing.spacing_mm is not None:
        how = (
            "to square pixels of this side about the middle of the field of view, linear interpolation; where pixels "
            "grow, each averages what it covers with a triangle of two new pixels' width"
        )
        steps.append({"step": "resample", "spacing_mm": preprocessing.spacing_mm, "how": how})
    if preprocessing.crop == "heart":
        how = "around the heart, found by its motion in the cine; beyond the image its minimum"
        steps.append({"step": "crop", "rows": run.shape[0], "columns": run.shape[1], "how": how})
    return steps


def _within(run: LoadedRun, preprocessing: PreprocessConfig) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if crops_in_graph(preprocessing):
        how = "around the middle, of two equally good places the upper left; beyond the image its minimum"
        steps.append({"step": "crop", "rows": run.shape[0], "columns": run.shape[1], "how": how})
    if preprocessing.normalise == "percentile":
        low, high = PERCENTILES
        how = f"percentile {low:g} becomes 0 and percentile {high:g} becomes 1; what lies beyond is clipped"
        steps.append({"step": "normalise", "how": how})
    if preprocessing.normalise == "zscore":
        steps.append({"step": "normalise", "how": "mean 0 and standard deviation 1"})
    steps.append({"step": "standardise", "how": "each image to mean 0 and standard deviation 1"})
    steps.append({"step": "network", "how": f"{run.config.model}, in float32"})
    steps.append({"step": "softmax", "how": "over the classes"})
    return steps
