"""How runs go, as gauges on Ray's metrics endpoint, for Prometheus."""

from __future__ import annotations

import math
import threading

from ray.util.metrics import Gauge

from lvseg.results import EpochRow
from lvseg.training.status import RunProgress

GAUGES = {
    "lvseg_train_loss": ("loss", "Training loss: of the last steps, or of an epoch that is done"),
    "lvseg_train_dice": ("dice", "Training Dice over the pixels of the same images"),
    "lvseg_val_dice": ("val_dice", "Validation Dice of the last epoch, mean over images"),
    "lvseg_best_val_dice": ("best_val_dice", "Highest validation Dice so far"),
    "lvseg_epochs_done": ("completed", "Epochs that are done, with the fraction of the one that is trained"),
    "lvseg_epochs": ("epochs", "Epochs of the whole run"),
    "lvseg_images_per_second": ("images_per_second", "Training throughput over all workers, images/s"),
}
"""Gauge → (field of ``RunProgress``, what it is); Ray puts ``ray_`` before the name."""
REPEAT_S = 5.0
"""Ray reports every ten seconds and forgets: what is not said again goes away, as it should once a run has ended."""
LONGEST_NAME = 128


class RunGauges:
    """A ``Listener``: one series a gauge, labelled with the run's path; made in the process of rank 0."""

    def __init__(self, run: str, repeat_s: float = REPEAT_S) -> None:
        self._label = {"run": run[-LONGEST_NAME:]}
        self._gauges = {name: Gauge(name, about, tag_keys=("run",)) for name, (_, about) in GAUGES.items()}
        self._progress: RunProgress | None = None
        self._end = threading.Event()
        self._repeat_s = repeat_s
        threading.Thread(target=self._repeat, name="lvseg-metrics", daemon=True).start()

    def heard(self, progress: RunProgress) -> None:
        """Set the gauges at the next turn."""
        self._progress = progress

    def epoch_done(self, row: EpochRow) -> None:
        """Nothing: the progress says it too."""

    def close(self, *, done: bool) -> None:
        """Say the last numbers once more, and then nothing."""
        self._say()
        self._end.set()

    def _repeat(self) -> None:
        while not self._end.wait(self._repeat_s):
            self._say()

    def _say(self) -> None:
        progress = self._progress
        if progress is None:
            return
        for name, (field, _) in GAUGES.items():
            value = getattr(progress, field)
            if value is not None and math.isfinite(value):
                self._gauges[name].set(float(value), tags=self._label)
