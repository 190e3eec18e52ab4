from pathlib import Path

import pytest

from lvseg.config import TrainConfig
from lvseg.training.context import LocalContext, Shard
from lvseg.training.loop import train
from lvseg.training.monitor import Monitor
from lvseg.training.state import Outcome
from tests.discs import SIZE, make_shard


class Trainer:
    """Trains on discs without Ray; the checkpoints stay in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = LocalContext(folder)

    def __call__(self, config: TrainConfig, shard: Shard | None = None, monitor: Monitor | None = None) -> Outcome:
        self.context = LocalContext(self.folder)
        shard = shard or make_shard()
        return train(config, (SIZE, SIZE), shard.train_images, lambda: shard, self.context, monitor or Monitor())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path / "checkpoints")
