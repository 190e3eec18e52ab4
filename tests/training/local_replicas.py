"""Run by ``test_local_replicas.py``: a run of one worker, or of two, that have one device or two each.

Virtual CPU devices stand in for GPUs; TensorFlow's devices can be divided only before it starts. Usage: workers,
rank, devices of each worker, file for the last weights and the history, ports.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy as collective

from lvseg.config import TrainConfig
from lvseg.training.checkpoint import training_values
from lvseg.training.context import Shard
from lvseg.training.feed import MemoryFeed
from lvseg.training.loop import train
from lvseg.training.monitor import Monitor
from lvseg.training.order import training_rows, validation_rows
from lvseg.training.strategy import make_strategy
from tests.discs import make_images

TRAIN, VAL = 11, 5
# A batch that no two devices share evenly, and all that could depend on how it is shared out.
CONFIG = TrainConfig(
    model="unet-light",
    epochs=2,
    batch_size=5,
    steps_per_call=2,
    precision="float32",
    norm="group",
    optimizer="sgd",
    learning_rate=0.02,
    clip_norm=0.5,
    ema=0.8,
    accumulate=2,
    augment_rotation_deg=180,
    augment_noise=0.2,
)


class Context:
    """One of some workers without Ray; the checkpoint stays here."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    @contextmanager
    def latest_checkpoint(self) -> Iterator[None]:
        yield None

    def report(self, *_: Any) -> None:
        pass

    def must_stop(self) -> bool:
        return False

    wants_look = must_save = must_stop


class Keeps(Monitor):
    """Keeps what the last epoch left."""

    values: list[Any]

    def epoch_done(self, rows: Any, engine: Any, val: Any) -> None:
        assert engine.local_replicas == int(sys.argv[3])
        self.values = training_values(engine)


def shard(workers: int, rank: int) -> Shard:
    own = training_rows(TRAIN, CONFIG.batch_size, workers, rank)
    held_out = make_images(range(TRAIN, TRAIN + VAL))
    scored = validation_rows(VAL, workers, rank)
    return Shard(
        train=MemoryFeed(make_images(own)),
        val=MemoryFeed(make_images(range(TRAIN + scored.start, TRAIN + scored.stop))),
        train_images=TRAIN,
        val_names=held_out.names,
        val_case_ids=held_out.case_ids,
    )


def strategy_of(workers: int, devices: int) -> tf.distribute.Strategy | None:
    """lvseg's own, told that CPUs are GPUs."""
    if workers == 1:
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)]) if devices > 1 else None
    collective.CollectiveAllReduceExtended._initialize_local_devices = lambda _, __, worker: (
        tuple(f"{worker}/device:CPU:{i}" for i in range(devices)),
        "CPU",
    )
    return make_strategy(CONFIG, workers)


def main(workers: int, rank: int, devices: int, out: Path, ports: list[str]) -> None:
    """Train, and write what came of it."""
    if workers > 1:
        addresses = [f"127.0.0.1:{port}" for port in ports]
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        )
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    strategy, monitor = strategy_of(workers, devices), Keeps()
    outcome = train(CONFIG, (32, 32), TRAIN, lambda: shard(workers, rank), Context(rank, workers), monitor, strategy)
    rows = [[row["loss"], row["accuracy"], row["dice"], row["val_loss"]] for row in outcome.state.history]
    np.savez(out, np.array(rows), *monitor.values)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]), sys.argv[5:])
