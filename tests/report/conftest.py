import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from lvseg.results import EpochRow, RunResult, picture_path, write_history


class RunFolders:
    """Writes run folders that look like those of real training."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def add(self, name: str = "run", dice: float = 0.8, epochs: int = 12, cases: int = 5, **changes: object) -> Path:
        folder = self.runs / f"run-{len(list(self.runs.glob('*'))):03d}"
        content = {
            "name": name,
            "status": "finished",
            "model": "fcn",
            "parameters": 1_857_848,
            "val_dice": dice,
            "val_dice_undefined": 1,
            "val_dice_pooled": dice + 0.02,
            "val_dice_by_case": {f"SC-HF-I-{case}": dice - 0.05 + 0.1 * case / cases for case in range(1, cases + 1)},
            "best_epoch": max(1, epochs - 2),
            "epochs": epochs,
            "workers": 2,
            "seconds": 183.25,
            "images_per_second": 41.5,
            "train_images": 45,
            "val_images": 11,
            "labels": "centre",
            "split": "patient",
            "records_sha256": "5d41402abc4b2a76b9719d911017c592" * 2,
            "config": {"model": "fcn", "batch_size": 4, "learning_rate": 1e-3, "decay_rate": 0.9, "decay_steps": 200},
            "command": f"lvseg train records --model fcn --epochs {epochs} --batch-size 4 --learning-rate 0.001"
            f" --decay-rate 0.9 --decay-steps 200 --workers 2 --seed 0 --name {name}",
            "versions": {"python": "3.11.9", "tensorflow": "2.21.0", "keras": "3.15.1", "ray": "2.60.0"},
            "finished_at": "2026-01-02T03:04:05Z",
        }
        result = RunResult(**(content | changes))
        result.write(folder)
        if result.status == "finished":
            write_history(folder, [_epoch(epoch, dice) for epoch in range(1, epochs + 1)])
            _write_picture(picture_path(folder, epochs))
        return folder

    def add_failed(self, name: str, error: str) -> Path:
        absent = {"val_dice": math.nan, "val_dice_pooled": math.nan, "best_epoch": None, "parameters": None}
        return self.add(name, status="failed", error=error, **absent)


def _epoch(epoch: int, dice: float) -> EpochRow:
    reached = dice * (1 - math.exp(-epoch / 4)) + 0.01 * math.sin(7 * epoch + 30 * dice)
    loss = (0.6 * math.exp(-epoch / 3) + 0.02) / dice
    return EpochRow(
        epoch=epoch,
        learning_rate=1e-3 * 0.9**epoch,
        loss=loss * 0.8,
        accuracy=0.99,
        dice=min(1.0, reached + 0.04),
        val_loss=loss,
        val_accuracy=0.985,
        val_dice=reached,
        val_dice_pooled=reached + 0.01,
        images_per_second=41.5,
        seconds=6.0,
    )


def _write_picture(path: Path) -> None:
    rows, columns = np.mgrid[:96, :96]
    disc = np.hypot(rows - 50, columns - 44) < 20
    panels = [np.where(disc, 200, 60 + columns // 2), np.where(disc, 255, 0), np.where(np.roll(disc, 3), 255, 0)]
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), np.vstack([np.hstack(panels)] * 4).astype(np.uint8))


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    runs = tmp_path / "runs"
    runs.mkdir()
    return RunFolders(runs)
