"""A run whose records and folder are in an object store, without Ray."""

import dataclasses
import json
from collections.abc import Iterator

import pytest

from lvseg.config import TrainConfig
from lvseg.errors import RunError
from lvseg.leaderboard import build
from lvseg.results import read_history
from lvseg.run_folder import CHECKPOINTS_NAME, WEIGHTS_NAME, Run, finish_run, open_run
from lvseg.store import UPath, location
from lvseg.training.context import LocalContext
from lvseg.training.evaluate import evaluate_run
from lvseg.training.loop import train
from lvseg.training.monitor import FolderMonitor
from lvseg.training.portion import split_facts
from lvseg.training.shards import open_shard
from lvseg.training.state import Outcome
from tests.discs import SIZE, write_records
from tests.s3 import BUCKET, s3_server

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket() -> Iterator[UPath]:
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield location(f"s3://{BUCKET}")


def go_on(run: Run, epochs: int) -> tuple[Outcome, LocalContext]:
    """Train until some epoch, as if broken off there."""
    context = LocalContext(run.folder / CHECKPOINTS_NAME)
    config = dataclasses.replace(run.config, epochs=epochs)
    outcome = train(
        config,
        (SIZE, SIZE),
        8,
        lambda: open_shard("stream", run.records, run.data, config, split_facts(run.records, run.data)),
        context,
        FolderMonitor(run.folder, config.epochs, picture_every=1),
    )
    return outcome, context


def test_a_run_in_a_store_goes_on_ends_and_is_ranked(bucket: UPath) -> None:
    manifest = write_records(bucket / "records", train=8, val=4)
    config = TrainConfig(model="fc", epochs=3, learning_rate=2e-3)
    run = Run(folder=bucket / "runs/one", config=config, records=bucket / "records", manifest=manifest)
    assert open_run(run) is None
    go_on(run, 1)
    assert open_run(run) is None
    outcome, context = go_on(run, 3)
    assert [row.epoch for row in outcome.state.rows()] == [1, 2, 3]
    assert [report["epoch"] for report in context.reports] == [2, 3]
    result = finish_run(run, outcome, context.best_checkpoint)
    assert open_run(run) == result
    assert read_history(run.folder) == outcome.state.rows()
    kept = {path.name for path in (run.folder / CHECKPOINTS_NAME).iterdir() if path.is_dir()}
    assert kept == set(json.loads((run.folder / CHECKPOINTS_NAME / "kept.json").read_bytes()).values())
    assert (run.folder / WEIGHTS_NAME).is_file()
    assert len(list((run.folder / "tensorboard").iterdir())) == 2, "one log for each process"
    assert sorted(path.name for path in (run.folder / "pictures").iterdir())[-1] == "epoch-0003.png"
    (group,) = build(bucket / "runs").groups
    assert [(row.name, row.result) for row in group.rows] == [("one", result)]
    assert evaluate_run(run.folder, run.records).summary.mean == pytest.approx(result.val_dice, abs=1e-6)
    with pytest.raises(RunError, match="taken by another configuration"):
        open_run(dataclasses.replace(run, config=dataclasses.replace(config, seed=9)))
    (bucket / "runs/two/thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="holds other files"):
        open_run(dataclasses.replace(run, folder=bucket / "runs/two"))
    with pytest.raises(RunError, match="no such folder"):
        build(bucket / "none")
