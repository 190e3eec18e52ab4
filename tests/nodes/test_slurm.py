"""The scripts of ``cluster/slurm`` as jobs of a real Slurm with two nodes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvseg.records import read_manifest
from lvseg.results import read_result
from lvseg.store import location
from lvseg.training.status import read_events
from tests.distributed.weights import assert_same_weights
from tests.histories import epochs_done
from tests.nodes.cluster import wait_for
from tests.nodes.conftest import EPOCHS, EXACT, PHANTOM
from tests.nodes.slurm import Slurm, slurm, why_not

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SETTINGS = ("--model", "fcn", "--batch-size", 4, "--picture-every", 0, *EXACT)


@pytest.fixture(scope="module")
def made(separate: bool) -> Iterator[Slurm]:
    if not separate:
        pytest.skip("needs network namespaces")
    if reason := why_not():
        pytest.skip(reason)
    with slurm() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def records(made: Slurm) -> Path:
    """A phantom, converted by a job on both nodes."""
    phantom, records = made.folder / "phantom", made.folder / "records"
    made.call(sys.executable, "-m", "lvseg.cli", "phantom", phantom, *PHANTOM)
    made.submit("convert", phantom, records, "--val-fraction", 0.34)
    return records


def assert_nothing_is_left(made: Slurm) -> None:
    """Neither images nor processes on the nodes, nor tokens in the home."""
    assert made.call("srun", "--nodes=2", "--ntasks-per-node=1", "ls", "-A", "/tmp").split() == []
    assert "ray" not in made.call("srun", "--nodes=2", "--ntasks-per-node=1", "ps", "-eo", "args")
    assert list((made.folder / "home" / ".ray").iterdir()) == []


def test_convert_and_tune(made: Slurm, records: Path) -> None:
    assert read_manifest(location(str(records))).splits["train"].images > 0
    runs = made.folder / "runs"
    made.submit("tune", records, runs, "sweep", *SETTINGS, "--trials", 2, "--epochs", 2)
    assert [read_result(runs / "sweep" / f"trial-{n:05d}").status for n in range(2)] == ["finished"] * 2
    assert_nothing_is_left(made)


def test_a_run_before_its_time_is_up_is_queued_again_and_ends_as_if_nothing_had_been(
    made: Slurm, records: Path
) -> None:
    runs = made.folder / "runs"
    flags = (*SETTINGS, "--epochs", EPOCHS)
    job = made.submit("train", records, runs, "one", *flags, wait=False)
    wait_for("third epoch", lambda: epochs_done(runs / "one") >= 3)
    made.call("scancel", "--batch", "--signal=USR1", job)  # as Slurm does by --signal
    wait_for("return to the queue", lambda: made.job(job)["Restarts"] == "1")
    stopped_at = epochs_done(runs / "one")
    assert stopped_at < EPOCHS
    assert not (runs / "one" / "result.json").exists()
    time.sleep(3)  # a node refuses a job that it has just been told to end
    made.call("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm lets it wait two minutes
    wait_for("end", lambda: made.job(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"))
    assert made.job(job)["JobState"] == "COMPLETED", made.logs()
    kinds = [event.kind for event in read_events(runs / "one")]
    assert [kind for kind in kinds if kind != "stop"] == ["start", "resume", "finished"]
    result = read_result(runs / "one")
    assert (result.status, result.workers, result.epochs) == ("finished", 2, EPOCHS)
    here = [sys.executable, "-m", "lvseg.cli", "train", str(records), *map(str, flags), "--workers", "0"]
    subprocess.run([*here, "--runs", str(runs), "--name", "calm"], env=made.environment, check=True)
    assert_same_weights(runs / "one", runs / "calm")
    assert_nothing_is_left(made)


def test_a_job_that_fails_says_so(made: Slurm, records: Path) -> None:
    job = made.submit("train", records, made.folder / "runs", "odd", "--batch-size", 0, status=2)
    assert "batch_size" in (made.folder / f"lvseg-train-{job}.log").read_text()
