"""Mask files' values → classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.slices import CAVITY, MYOCARDIUM

__all__ = ["as_classes", "check_myocardium"]

CAVITY_ONLY = ({0, 1}, {0, 255})
"""Values of a mask of the cavity alone."""
BOTH = ({0, CAVITY, MYOCARDIUM},)
"""Values of a mask of both classes."""


def as_classes(values: NDArray[Any], config: ConvertConfig, file: str) -> NDArray[np.uint8]:
    """Classes of a whole mask: 0, ``CAVITY`` and, with structures endo+myo, ``MYOCARDIUM``.

    Where the config says which value is what, every other value is background: another organ, or a class that was
    not asked for. Where it does not, the mask must hold 0 and 1 or 0 and 255, with endo+myo 0, 1 (cavity) and 2:
    a guess about anything else could take one organ for another. An empty mask is a valid label.

    Args:
        values: integers, truth values, or floating point that holds integers; any shape.
        config: its cavity_value, myocardium_value and structures.
        file: for messages.

    Returns:
        uint8 of the same shape.

    Raises:
        SourceError: other values.
    """
    values = _integers(values, file)
    found = _distinct(values)
    is_said = config.cavity_value is not None or config.myocardium_value is not None
    if not is_said:
        _check_values(found, config, file)
    cavity = config.cavity_value or (255 if found <= {0, 255} else 1)
    classes = np.where(values == cavity, np.uint8(CAVITY), np.uint8(0))
    if config.structures == "endo+myo":
        classes[values == (config.myocardium_value or MYOCARDIUM)] = MYOCARDIUM
    return classes


def check_myocardium(classes: NDArray[np.uint8], file: str) -> None:
    """Refuse a cavity without myocardium: there it was not drawn, and must not be learned as background.

    Args:
        classes: a mask, or the masks of one phase.
        file: for the message.

    Raises:
        SourceError: the cavity is there and no myocardium.
    """
    if (classes == CAVITY).any() and not (classes == MYOCARDIUM).any():
        raise SourceError(f"{file}: cavity without myocardium, expected both (or structures endo)")


def _integers(values: NDArray[Any], file: str) -> NDArray[Any]:
    if values.dtype.kind in "iub" and values.size:
        return values
    if values.dtype.kind == "f" and values.size and (np.rint(values) == values).all():
        return values.astype(np.int64)
    raise SourceError(f"{file}: mask of {values.size} pixels of type {values.dtype}, expected integers")


def _distinct(values: NDArray[Any]) -> set[int]:
    if values.dtype in (np.bool_, np.uint8):
        return set(np.flatnonzero(np.bincount(values.ravel().view(np.uint8), minlength=256)).tolist())
    return set(np.unique(values).tolist())


def _check_values(found: set[int], config: ConvertConfig, file: str) -> None:
    is_both = config.structures == "endo+myo"
    if any(found <= allowed for allowed in (BOTH if is_both else CAVITY_ONLY)):
        return
    expected = "0, 1 (cavity) and 2 (myocardium)" if is_both else "0 and 1 or 0 and 255"
    option = "cavity_value and myocardium_value" if is_both else "cavity_value"
    raise SourceError(f"{file}: mask with {_listed(found)}, expected {expected}; else set {option}")


def _listed(found: set[int]) -> str:
    some = sorted(found)
    return "values " + ", ".join(map(str, some[:6])) + (", …" if len(some) > 6 else "")
