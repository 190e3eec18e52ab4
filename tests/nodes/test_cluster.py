"""Convert, train, tune and rank as jobs on three real nodes, with a token, records on S3."""

from pathlib import Path

import pytest
import requests

from lvseg.results import read_result
from tests.nodes.cluster import Cluster, ended, wait_for
from tests.nodes.conftest import SETTINGS

pytestmark = pytest.mark.cluster


def test_from_source_to_leaderboard(nodes: Cluster, records: str, runs: Path, calm: Path) -> None:
    two = ("--workers", 2, "--placement", "strict-spread", "--epochs", 3)
    training = nodes.start("submit", "train", records, *SETTINGS, *two, "--runs", runs, "--name", "spread")
    wait_for("workers", lambda: all(node.running("RayTrainWorker") for node in nodes.workers[:2]))
    assert [len(node.running("RayTrainWorker")) for node in nodes.workers[:2]] == [1, 1]
    assert not nodes.head.running("RayTrainWorker")
    said = ended(training)
    assert "workers 2, each with 1 CPU(s) and 2 of the batch's 4 images" in said
    result = read_result(runs / "spread")
    assert (result.status, result.workers, result.epochs) == ("finished", 2, 3)

    label = ("--node-label", "number=2")
    sweep = ("--trials", 2, "--epochs", 2, *label, "--runs", runs, "--name", "sweep")
    tuning = nodes.start_by_hand("jobs/tune.py", records, *SETTINGS, *sweep)
    wait_for("a trial", lambda: bool(nodes.workers[1].running("ImplicitFunc")))
    assert not nodes.workers[0].running("ImplicitFunc")
    assert "2 trials, 2 at a time, each with 1 CPU(s)" in ended(tuning)

    ranked = nodes.run("submit", "leaderboard", runs)
    assert all(name in ranked for name in ("spread", "sweep/trial-00000", "sweep/trial-00001", "calm"))


def test_the_job_api_is_on_loopback_only(nodes: Cluster, separate: bool) -> None:
    if not separate:
        pytest.skip("the nodes share one loopback")
    assert nodes.status_of(f"{nodes.dashboard}/api/jobs/") == 200
    assert nodes.status_of(f"http://{nodes.address}:{nodes.ports['dashboard-port']}/api/jobs/") is None
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{nodes.dashboard}/api/jobs/", timeout=5)
