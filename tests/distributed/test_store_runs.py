"""Records and runs in an object store: train, kill, resume, sweep, evaluate, rank; against a real S3 server."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lvseg.errors import RunError
from lvseg.records import Manifest
from lvseg.results import read_history, read_result
from lvseg.run_folder import CHECKPOINTS_NAME, WEIGHTS_NAME
from lvseg.store import UPath, location
from tests.discs import write_records
from tests.s3 import BUCKET, SECRET, s3_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEADLINE_S = 240
EPOCHS = 6


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


def epochs_done(folder: UPath) -> int:
    try:
        return len(read_history(folder))
    except RunError:
        return 0


def kill_family(process: subprocess.Popen[str]) -> None:
    for member in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.communicate(timeout=DEADLINE_S)


def test_a_run_from_s3_to_s3_resumes_after_a_kill(
    bucket: UPath, stored: Manifest, repository: Path, tmp_path: Path
) -> None:
    runs = bucket / "runs"
    settings = ("--model", "fcn", "--epochs", EPOCHS, "--picture-every", 3, "--cpus-per-worker", 1)
    train = ("train", bucket / "records", *settings, "--runs", runs, "--name", "one", "--ingest", "stream")
    first = start(repository, *train)
    deadline = time.monotonic() + DEADLINE_S
    while epochs_done(runs / "one") < 2:
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline, "no second epoch"
        time.sleep(0.1)
    kill_family(first)
    broken_at = epochs_done(runs / "one")
    assert 2 <= broken_at < EPOCHS
    said = output_of(start(repository, *train))
    assert "ingest stream: " in said
    result, history = read_result(runs / "one"), read_history(runs / "one")
    assert result.status == "finished"
    assert [row.epoch for row in history] == list(range(1, EPOCHS + 1))
    assert result.command.startswith(f"lvseg train s3://{BUCKET}/records ")
    assert (runs / "one" / WEIGHTS_NAME).is_file()
    assert (runs / "one" / "pictures" / "epoch-0006.png").is_file()
    kept = [path for path in (runs / "one" / CHECKPOINTS_NAME).iterdir() if path.name.startswith("epoch-")]
    assert 1 <= len(kept) <= 2
    seen = set()
    for number, file in enumerate((runs / "one" / "tensorboard").iterdir()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / file.name).write_bytes(file.read_bytes())
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        events.Reload()
        if "val/dice" in events.Tags()["tensors"]:
            seen |= {event.step for event in events.Tensors("val/dice")}
    assert seen == set(range(1, EPOCHS + 1))

    scores = output_of(start(repository, "evaluate", runs / "one", bucket / "records"))
    assert f"{result.val_dice:.4f}" in scores
    board = output_of(start(repository, "leaderboard", runs))
    assert re.search(rf"\bone\b.*{result.val_dice:.4f}", board)


def test_a_sweep_from_s3_to_s3_goes_on_where_it_stopped(bucket: UPath, stored: Manifest, repository: Path) -> None:
    flags = ("--trials", 2, "--epochs", 2, "--picture-every", 0, "--runs", bucket / "sweeps", "--name", "sweep")
    sweep = ("tune", bucket / "records", *flags)
    said = output_of(start(repository, *sweep))
    assert "ingest " in said
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
