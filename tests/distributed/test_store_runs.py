"""Records and runs in an object store: train, kill, resume, sweep, evaluate, rank; against a real S3 server."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lvseg.cli import main
from lvseg.config import TrainConfig
from lvseg.records import Manifest
from lvseg.results import read_history, read_result
from lvseg.run_folder import CHECKPOINTS_NAME, WEIGHTS_NAME, Run, changed_flags
from lvseg.store import UPath, location
from lvseg.training.local import train_locally
from tests.discs import write_records
from tests.distributed.weights import assert_same_weights
from tests.histories import DEADLINE_S, epochs_done, wait_for_epochs
from tests.processes import family, kill_all
from tests.s3 import BUCKET, SECRET, s3_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# float32: the default may be bfloat16, whose rounding changes with what the graph fuses. Adam would blow rounding up.
CONFIG = TrainConfig(
    model="fcn",
    epochs=20,
    picture_every=4,
    precision="float32",
    optimizer="sgd",
    learning_rate=0.02,
    cpus_per_worker=1,
    batch_size=4,
    ingest="stream",
)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UPath]:
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("LVSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield location(f"s3://{BUCKET}")


@pytest.fixture(scope="module")
def stored(bucket: UPath) -> Manifest:
    return write_records(bucket / "records", train=12, val=5, shard_images=4)


def start(repository: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lvseg.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
    )


def output_of(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, text
    return text


def scored_epochs(run: UPath, scratch: Path) -> set[int]:
    """Those in TensorBoard's files."""
    seen = set()
    for number, file in enumerate((run / "tensorboard").iterdir()):
        folder = scratch / str(number)
        folder.mkdir()
        (folder / file.name).write_bytes(file.read_bytes())
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        events.Reload()
        if "val/dice" in events.Tags()["tensors"]:
            seen |= {event.step for event in events.Tensors("val/dice")}
    return seen


def test_a_run_from_s3_to_s3_is_killed_then_interrupted_and_ends_as_if_nothing_had_been(
    bucket: UPath, stored: Manifest, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed with all of its processes; ended by Ctrl-C, which says how to go on."""
    calm = Run(folder=tmp_path / "calm", config=CONFIG, records=bucket / "records", manifest=stored)
    train_locally(calm, print)
    runs, folder = bucket / "runs", bucket / "runs" / "one"
    flags = shlex.split(" ".join(changed_flags(CONFIG)))
    train = ("train", bucket / "records", *flags, "--runs", runs, "--name", "one")
    first = start(repository, *train)
    wait_for_epochs(folder, 2, first)
    kill_all(family(first.pid))
    first.communicate(timeout=DEADLINE_S)
    killed_at = epochs_done(folder)

    second = start(repository, *train)
    wait_for_epochs(folder, killed_at + 1, second)
    second.send_signal(signal.SIGINT)
    said, _ = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 130
    assert said.splitlines()[-1].startswith("lvseg: interrupted; the same command")
    assert "Traceback" not in said
    interrupted_at = epochs_done(folder)
    assert 2 <= killed_at < interrupted_at < CONFIG.epochs
    assert not (folder / "result.json").exists()

    said = output_of(start(repository, *train))
    assert "ingest stream: " in said
    result, history = read_result(folder), read_history(folder)
    assert result.status == "finished"
    assert [row.epoch for row in history] == list(range(1, CONFIG.epochs + 1))
    assert [row.val_loss for row in history] == pytest.approx([row.val_loss for row in read_history(calm.folder)])
    assert_same_weights(folder, calm.folder)
    assert (folder / WEIGHTS_NAME).is_file()
    assert result.command.startswith(f"lvseg train s3://{BUCKET}/records ")
    assert (folder / "pictures" / "epoch-0020.png").is_file()
    kept = [path for path in (folder / CHECKPOINTS_NAME).iterdir() if path.name.startswith("epoch-")]
    assert 1 <= len(kept) <= 2
    assert scored_epochs(folder, tmp_path) == set(range(1, CONFIG.epochs + 1))

    assert main(["evaluate", str(folder), str(bucket / "records")]) == 0
    assert f"{result.val_dice:.4f}" in capsys.readouterr().out
    assert main(["leaderboard", str(runs)]) == 0
    assert re.search(rf"\bone\b.*{result.val_dice:.4f}", capsys.readouterr().out)


def test_a_sweep_from_s3_to_s3_goes_on_where_it_stopped(bucket: UPath, stored: Manifest, repository: Path) -> None:
    flags = (
        "--model",
        "fc",
        "--trials",
        2,
        "--epochs",
        2,
        "--picture-every",
        0,
        "--runs",
        bucket / "sweeps",
        "--name",
        "sweep",
    )
    sweep = ("tune", bucket / "records", *flags)
    said = output_of(start(repository, *sweep))
    assert "ingest disk: " in said
    folder = bucket / "sweeps" / "sweep"
    results = [read_result(folder / f"trial-{number:05d}") for number in range(2)]
    assert [result.status for result in results] == ["finished", "finished"]
    (folder / "trial-00001" / "result.json").unlink()
    output_of(start(repository, *sweep))
    again = [read_result(folder / f"trial-{number:05d}") for number in range(2)]
    assert again[0] == results[0]
    assert again[1].val_dice == results[1].val_dice
    assert again[1].finished_at >= results[1].finished_at


def test_no_credential_is_written_anywhere(bucket: UPath) -> None:
    files = [path for path in bucket.rglob("*") if path.is_file()]
    assert len(files) > 20
    holding = [str(path) for path in files if SECRET.encode() in path.read_bytes()]
    assert holding == []
