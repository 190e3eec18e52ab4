"""The sheet of augmentations, and its verb."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from lvseg import cli
from lvseg.config import AugmentConfig
from lvseg.training.augment import COUNTS, NUMBERS, Drawn
from lvseg.training.preview import CAPTION_PX, EXAMPLE, GAP_PX, TILE_PX, Tile, numbers_for, sheet
from tests.discs import make_ring, write_records


@pytest.mark.parametrize("name", COUNTS)
def test_one_change_alone_is_met(name: str) -> None:
    drawn = np.random.default_rng(0).random(NUMBERS, np.float32)
    for amount in (0.0, 1.0):
        found = Drawn(tf.constant(numbers_for(name, amount, drawn)), EXAMPLE)
        assert [other for other in COUNTS if found.met(other)] == [name]


def test_amounts_are_the_ends_of_a_range() -> None:
    drawn = np.zeros(NUMBERS, np.float32)
    low, high = (
        Drawn(tf.constant(numbers_for("rotation", amount, drawn)), EXAMPLE).affine(10, 10) for amount in (0, 1)
    )
    np.testing.assert_allclose([low.angle, high.angle], [-np.pi, np.pi], rtol=1e-6)
    assert float(high.zoom) == 1


def test_sheet_outlines_both_structures() -> None:
    ring = make_ring(0)
    tile = Tile(ring.image.astype(np.float32), ring.mask.astype(np.int32), "a name that is much longer than its tile")
    page = sheet([[tile, tile], [tile]])
    assert page.shape == (2 * (TILE_PX + CAPTION_PX + GAP_PX) + GAP_PX, 2 * (TILE_PX + GAP_PX) + GAP_PX, 3)
    colours = {tuple(colour) for colour in page.reshape(-1, 3).tolist()}
    assert {(80, 200, 80), (250, 120, 60)} <= colours


@pytest.mark.slow
def test_the_verb_writes_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "records", train=6, val=2, size=32)
    out = tmp_path / "sheet.png"
    flags = ["--augment-gamma", "0.5", "--augment-flip", "--images", "2", "--draws", "3"]
    assert cli.main(["augment-preview", str(tmp_path / "records"), "--out", str(out), *flags]) == 0
    assert "example" not in capsys.readouterr().out
    height, width, _ = cv2.imread(str(out)).shape
    assert (height - GAP_PX) // (TILE_PX + CAPTION_PX + GAP_PX) == 4  # flip, gamma, two images
    assert (width - GAP_PX) // (TILE_PX + GAP_PX) == 4


def test_the_verb_takes_the_settings_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.yaml").write_text("model: fcn\naugment-noise: 0.25\n")
    seen: list[AugmentConfig] = []
    monkeypatch.setattr(cli.verbs.data, "augment_preview", lambda _, settings, *__, **___: seen.append(settings) or 0)
    assert cli.main(["augment-preview", "r", "--config", str(tmp_path / "train.yaml"), "--augment-gamma", "0.5"]) == 0
    assert seen == [AugmentConfig(augment_noise=0.25, augment_gamma=0.5)]


def test_the_example_has_everything() -> None:
    assert all(dataclasses.asdict(EXAMPLE).values())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--images", "0"], "images must be at least 1, got 0"),
        (["--draws", "0"], "draws must be at least 1, got 0"),
        (["--out", "sheet.txt"], "out must end in .png, .jpg, .webp, got sheet.txt"),
        (["--augment-chance", "0"], "augment_chance must be greater than 0"),
    ],
)
def test_wrong_flags_are_refused(
    flags: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["augment-preview", str(tmp_path), *flags]) != 0
    assert expected in capsys.readouterr().err
