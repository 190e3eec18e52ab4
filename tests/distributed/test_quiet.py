"""What ``lvseg train`` says: its own lines, and nothing of TensorFlow's, gRPC's or Ray's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lvseg.distributed.session import worker_environment
from tests.discs import write_records

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OURS = (
    r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ lvseg (progress|epoch|event) run=quiet( \w+=("[^"]*"|\S+))+',
    r"ingest (memory|disk|stream): .*",
    r"workers \d.*",
    r"\S*quiet: val Dice .*",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run by the command line, on a cluster of its own, without a terminal."""
    folder = tmp_path_factory.mktemp("quiet")
    write_records(folder / "records", train=6, val=2)
    command = [sys.executable, "-m", "lvseg.cli", "train", "records", "--model=fc", "--epochs=2", "--name=quiet"]
    environment = {
        key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "TF_CPP_MIN_LOG_LEVEL")
    }
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_nothing_of_others_is_said(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if not any(re.fullmatch(ours, line) for ours in OURS)] == []


def test_an_operator_reads_how_the_run_went(done: subprocess.CompletedProcess[str]) -> None:
    lines = [line.partition(" lvseg ")[2] for line in done.stdout.splitlines()]
    assert lines[0] == 'progress run=quiet phase="starting workers"'
    assert any(line.startswith("event run=quiet kind=finished epoch=2 val_dice=") for line in lines)
    assert any(line.startswith("epoch run=quiet epoch=2/2 loss=") for line in lines)


def test_workers_start_quietly_where_nothing_else_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    assert worker_environment()["TF_CPP_MIN_LOG_LEVEL"] == "3"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert worker_environment()["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_workers_start_with_the_fast_kernels_unless_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert worker_environment()["TF_ENABLE_ONEDNN_OPTS"] == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert worker_environment()["TF_ENABLE_ONEDNN_OPTS"] == "0"
