"""When the phases of a cine are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lvseg.outputs.study import PredictedImage

__all__ = ["phase_step_ms"]


def phase_step_ms(images: Sequence[PredictedImage]) -> float | None:
    """Time from one phase to the next, ms, by the trigger times; None where these do not say."""
    steps = []
    for index in {image.slice_index for image in images}:
        times = sorted(
            (image.phase_index, image.trigger_time_ms)
            for image in images
            if image.slice_index == index and image.phase_index is not None and image.trigger_time_ms is not None
        )
        steps += [(t1 - t0) / (p1 - p0) for (p0, t0), (p1, t1) in pairwise(times) if p1 > p0]
    step = float(np.median(steps)) if steps else 0.0
    return step if step > 0 else None
