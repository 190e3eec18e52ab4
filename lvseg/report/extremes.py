"""Pictures of a run, and the images of lowest and highest Dice that an evaluation kept."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lvseg.results import extremes_path, last_picture
from lvseg.store import UPath

__all__ = ["EvaluationView", "Picture", "Scored", "find_evaluation", "find_picture"]

SHOWN = 4
"""Images of lowest and of highest Dice that are named, as many as an evaluation's pictures show."""
_QUALITY = 90
"""Of WebP: a quarter of the PNG's bytes, for pages that are sent, and no difference that one would see."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Rows of image, label and prediction."""

    epoch: int
    uri: str


@dataclass(frozen=True, slots=True)
class Scored:
    """An image and its Dice."""

    name: str
    dice: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationView:
    """The ends of one evaluation."""

    worst: Sequence[Scored]
    """Lowest first."""
    best: Sequence[Scored]
    """Highest first."""
    worst_uri: str | None
    """Picture of them, in the same order."""
    best_uri: str | None


def find_picture(folder: UPath) -> Picture | None:
    """The newest pictures of a run's training."""
    if (found := last_picture(folder)) is None:
        return None
    epoch, path = found
    uri = _uri(path)
    return None if uri is None else Picture(epoch=epoch, uri=uri)


def find_evaluation(folder: UPath, part: str, records_sha256: str) -> EvaluationView | None:
    """What ``lvseg evaluate`` left in a run's folder about one part of one record set."""
    images = _read_images(folder / f"evaluation-{part}.json", records_sha256)
    if not images:
        return None
    best = sorted(images, key=lambda image: -image.dice)  # of equal ones the first, as in the pictures
    return EvaluationView(
        worst=sorted(images, key=lambda image: image.dice)[:SHOWN],
        best=best[:SHOWN],
        worst_uri=_uri_if_there(extremes_path(folder, part, "worst")),
        best_uri=_uri_if_there(extremes_path(folder, part, "best")),
    )


def _read_images(path: UPath, records_sha256: str) -> list[Scored]:
    """Images with a Dice; none where no evaluation, or one of other records, is there."""
    if not path.exists():
        return []
    try:
        content: Any = json.loads(path.read_bytes())
        if content["records_sha256"] != records_sha256:
            return []
        known = [image for image in content["images"] if image["dice"] is not None]
        return [Scored(str(image["name"]), float(image["dice"])) for image in known]
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s: not an evaluation: %s", path, error)
        return []


def _uri_if_there(path: UPath) -> str | None:
    return _uri(path) if path.exists() else None


def _uri(path: UPath) -> str | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        logger.warning("%s: cannot be read: %s", path, error.strerror)
        return None
    try:
        small = io.BytesIO()
        Image.open(io.BytesIO(content), formats=["PNG"]).save(small, "WEBP", quality=_QUALITY)
    except (OSError, ValueError) as error:
        logger.warning("%s: not a PNG file: %s", path, error)
        return None
    return f"data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}"
