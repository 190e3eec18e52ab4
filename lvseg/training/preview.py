"""A sheet of pictures of what augmentation does: each change alone, then all of them as a training draws them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lvseg.config import AugmentConfig
from lvseg.errors import LvsegError
from lvseg.records import read_manifest
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.store import UPath
from lvseg.training.augment import COUNTS, GEOMETRY, GREYS, NUMBERS, Stream, augment, make_change, place_of, switched_on
from lvseg.training.engine import standardise
from lvseg.training.portion import whole

EXAMPLE = AugmentConfig(
    augment_rotation_deg=180,
    augment_flip=True,
    augment_scale=0.2,
    augment_shift=0.1,
    augment_elastic_px=10,
    augment_gamma=0.4,
    augment_brightness=0.3,
    augment_shading=0.4,
    augment_noise=0.2,
    augment_blur_px=1.0,
)
"""Shown where no change was asked for; a start for settings of one's own."""

TILE_PX = 176
"""Longer side of a picture."""
QUALITY = 85
"""Of .jpg and .webp."""
CAPTION_PX = 18
GAP_PX = 4
_WINDOW = (1.0, 99.5)
"""Percentiles of the unchanged image that are black and white in its whole row."""
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_OUTLINES = {CAVITY: (80, 200, 80), MYOCARDIUM: (250, 120, 60)}
"""Red, green, blue."""
_ONE_SIDED = ("shading", "blur", "noise")


@dataclasses.dataclass(frozen=True, slots=True)
class Tile:
    """One picture."""

    image: NDArray[np.float32]
    """(rows, columns), standardised."""
    label: NDArray[np.int32]
    """Same shape: classes."""
    caption: str


def preview(
    records: UPath, split: str, config: AugmentConfig, *, images: int, draws: int, seed: int
) -> NDArray[np.uint8]:
    """Draw the sheet: a row for each change alone, then a row for each of some images of a record set.

    The drawn pictures are those that a training with this seed sees in its epochs 0, 1, …

    Args:
        records: record set.
        split: its part.
        config: the changes.
        images: how many images, spread evenly over the part.
        draws: pictures in a row, beside the unchanged image; three flips at most.
        seed: of the run.

    Returns:
        (height, width, 3) RGB.

    Raises:
        RecordsError: no record set there, no such part, or images of several sizes.
    """
    part = whole(records, read_manifest(records), split)
    numbers = np.unique(np.linspace(0, len(part.rows) - 1, images).round().astype(np.int32))
    read = [part.read(row, row + 1) for row in numbers.tolist()]
    x = tf.concat([standardise(tf.constant(image)) for image, _ in read], axis=0)
    y = tf.constant(np.concatenate([mask for _, mask in read]), tf.int32)
    largest = int(tf.argmax(tf.math.count_nonzero(y, axis=[1, 2])))
    rows = _alone(x[largest, ..., 0], y[largest], config, draws, seed)
    return sheet(rows + _drawn(x, y, numbers, part.names(numbers.tolist()), config, draws, seed))


def save(page: NDArray[np.uint8], out: Path) -> None:
    """Write the sheet; the suffix says in which format.

    Raises:
        LvsegError: it cannot be written.
    """
    try:
        Image.fromarray(page).save(out, quality=QUALITY)
    except OSError as error:
        raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None


def _drawn(
    x: tf.Tensor,
    y: tf.Tensor,
    numbers: NDArray[np.int32],
    names: Sequence[str],
    config: AugmentConfig,
    draws: int,
    seed: int,
) -> list[list[Tile]]:
    changed = tf.function(lambda epoch: augment(x, y, tf.constant(numbers), epoch, config, seed))
    epochs = [tuple(each.numpy() for each in changed(tf.constant(epoch))) for epoch in range(draws)]
    rows = []
    for at, name in enumerate(names):
        first = Tile(x[at, ..., 0].numpy(), y[at].numpy(), name)
        others = [Tile(i[at, ..., 0], m[at], f"epoch {epoch}") for epoch, (i, m) in enumerate(epochs)]
        rows.append([first, *others])
    return rows


def _alone(image: tf.Tensor, label: tf.Tensor, config: AugmentConfig, draws: int, seed: int) -> list[list[Tile]]:
    """One row for each change, from one end of its range to the other."""

    def changed(numbers: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return make_change(config)(image, label, numbers, Stream(seed, at, tf.constant(0)))

    compiled = tf.function(changed)
    rows = []
    for name in switched_on(config, GEOMETRY + GREYS):
        row = [Tile(image.numpy(), label.numpy(), f"{name}: unchanged")]
        count = min(draws, 3) if name == "flip" else draws
        for at in range(count):
            amount = (at + 1) / count if name in _ONE_SIDED else at / max(count - 1, 1)
            numbers = numbers_for(name, amount, Stream(seed, tf.constant(at), tf.constant(0)).uniform().numpy())
            moved, mask = compiled(tf.constant(numbers), tf.constant(at))
            row.append(Tile(moved.numpy(), mask.numpy(), _caption(name, amount, config)))
        rows.append(row)
    return rows


def numbers_for(name: str, amount: float, drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """(NUMBERS,) random numbers by which an image meets one change alone.

    Args:
        name: of the change.
        amount: 0 to 1, where in its range the change is; of flips, of which there are three.
        drawn: (NUMBERS,) what a change has of random numbers beside its amount.
    """
    start = place_of(name)
    numbers = np.ones(NUMBERS, np.float32)
    stop = start + 1 + COUNTS[name]
    numbers[start:stop] = drawn[start:stop]
    numbers[start] = 0.0
    if name == "flip":
        numbers[start : start + 2] = np.where(_mirrored(amount), 0.0, 1.0)
    elif name != "elastic":
        numbers[start + 1 : start + (3 if name == "shift" else 2)] = amount
    return numbers


def _mirrored(amount: float) -> tuple[bool, bool]:
    """Whether rows and columns are mirrored."""
    return amount < 2 / 3, amount > 1 / 3


def _caption(name: str, amount: float, config: AugmentConfig) -> str:
    side = 2 * amount - 1
    rows, columns = _mirrored(amount)
    return {
        "flip": " and ".join(["rows"] * rows + ["columns"] * columns),
        "scale": f"x {(1 - config.augment_scale) ** -side:.2f}",
        "rotation": f"{config.augment_rotation_deg * side:+.0f}\N{DEGREE SIGN}",
        "shift": f"{100 * config.augment_shift * side:+.0f} % of the side",
        "elastic": f"up to {config.augment_elastic_px:g} px",
        "shading": f"up to {100 * config.augment_shading * amount:.0f} %",
        "blur": f"sd {config.augment_blur_px * amount:.2f} px",
        "noise": f"sd {config.augment_noise * amount:.2f}",
        "gamma": f"exponent {np.exp(config.augment_gamma * side):.2f}",
        "brightness": f"{config.augment_brightness * side:+.2f} sd",
    }[name]


def sheet(rows: Sequence[Sequence[Tile]]) -> NDArray[np.uint8]:
    """(height, width, 3) RGB of rows of tiles, each with its caption above and its label outlined."""
    height, width = _tile_size(rows[0][0].image.shape)
    step_y, step_x = height + CAPTION_PX + GAP_PX, width + GAP_PX
    page = Image.new("RGB", (step_x * max(map(len, rows)) + GAP_PX, step_y * len(rows) + GAP_PX), _PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for row, tiles in enumerate(rows):
        black, white = np.percentile(tiles[0].image, _WINDOW)
        for column, tile in enumerate(tiles):
            x, y = GAP_PX + column * step_x, GAP_PX + row * step_y
            pen.text((x, y), _fitting(tile.caption, font, width), fill=_INK, font=font)
            picture = _picture(tile, (float(black), float(white)), (height, width))
            page.paste(Image.fromarray(picture), (x, y + CAPTION_PX))
    return np.asarray(page)


def _tile_size(shape: tuple[int, ...]) -> tuple[int, int]:
    zoom = TILE_PX / max(shape)
    return round(shape[0] * zoom), round(shape[1] * zoom)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, its beginning cut off where it is too long: names of a record set begin alike."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("..." + text) > width:
        text = text[1:]
    return "..." + text


def _picture(tile: Tile, window: tuple[float, float], size: tuple[int, int]) -> NDArray[np.uint8]:
    black, white = window
    shades = np.clip((tile.image - black) / max(white - black, 1e-6) * 255, 0, 255).astype(np.uint8)
    shown = cv2.cvtColor(cv2.resize(shades, size[::-1], interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    for structure, colour in _OUTLINES.items():
        mask = (tile.label == structure).astype(np.uint8)
        mask = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outlines, -1, colour, 1)
    return np.asarray(shown, np.uint8)
