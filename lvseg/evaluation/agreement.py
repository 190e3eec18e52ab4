"""Agreement of two ways to measure the same patients: bias, limits of agreement, correlation; and the plot of it.

Bland JM, Altman DG, "Statistical methods for assessing agreement between two methods of clinical measurement",
The Lancet, 1986.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import nan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Agreement", "measure_agreement", "plot_agreements"]

LIMITS = 1.96
"""Standard deviations around the bias between which 95 % of normally distributed differences lie."""
MIN_CORRELATED = 3
"""Two patients always lie on a line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Automatic against manual values of one quantity; differences are automatic minus manual."""

    quantity: str
    """What was measured, with its unit: ``EDV ml``."""
    manual: tuple[float, ...]
    """Values of the patients who have both."""
    auto: tuple[float, ...]
    """Of the same patients."""
    bias: float
    """Mean difference; NaN without patients."""
    sd: float
    """Standard deviation of the differences (n - 1); NaN for fewer than two patients."""
    lower: float
    """Lower limit of agreement, bias - 1.96 SD."""
    upper: float
    """Upper limit of agreement, bias + 1.96 SD."""
    correlation: float
    """Pearson's r; NaN for fewer than three patients, or where values are all the same."""


def measure_agreement(
    quantity: str, manual: Sequence[float | None], auto: Sequence[float | None], scale: float = 1.0
) -> Agreement:
    """Compare values of the same patients; those without either value are left out.

    Args:
        quantity: what is measured.
        manual: the reference, one value a patient.
        auto: in the same order.
        scale: factor on both.
    """
    pairs = [(m * scale, a * scale) for m, a in zip(manual, auto, strict=True) if m is not None and a is not None]
    first, second = np.array(pairs, np.float64).reshape(-1, 2).T
    difference = second - first
    bias = float(difference.mean()) if len(pairs) else nan
    sd = float(difference.std(ddof=1)) if len(pairs) > 1 else nan
    return Agreement(
        quantity=quantity,
        manual=tuple(first.tolist()),
        auto=tuple(second.tolist()),
        bias=bias,
        sd=sd,
        lower=bias - LIMITS * sd,
        upper=bias + LIMITS * sd,
        correlation=_pearson(first, second),
    )


def _pearson(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if len(first) < MIN_CORRELATED or np.ptp(first) == 0 or np.ptp(second) == 0:
        return nan
    return float(np.corrcoef(first, second)[0, 1])


def plot_agreements(agreements: Sequence[Agreement]) -> bytes:
    """Bland–Altman plots side by side, as PNG: difference over mean, bias and limits of agreement as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(agreements), 3.4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(agreements), squeeze=False)[0]
    for axis, agreement in zip(axes, agreements, strict=True):
        _plot(axis, agreement)
    # Fixed margins: the layout engines take longer than the drawing.
    width = len(agreements)
    figure.subplots_adjust(left=0.2 / width, right=1 - 0.04 / width, bottom=0.15, top=0.9, wspace=0.35)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _plot(axis: Axes, agreement: Agreement) -> None:
    manual, auto = np.array(agreement.manual), np.array(agreement.auto)
    name, _, unit = agreement.quantity.partition(" ")
    axis.scatter((manual + auto) / 2, auto - manual, s=18, color="#1f5fa8", zorder=3)
    lines = ((agreement.bias, "-"), (agreement.lower, "--"), (agreement.upper, "--"))
    for value, style in lines:
        if np.isfinite(value):
            axis.axhline(value, color="#444444", linewidth=1, linestyle=style)
            axis.annotate(
                f"{round(value, 1) + 0.0:.1f}",
                (1, value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                size=8,
            )
    axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=1)
    axis.set(title=name, xlabel=f"mean of both, {unit}", ylabel=f"automatic − manual, {unit}")
    axis.spines[["top", "right"]].set_visible(False)
