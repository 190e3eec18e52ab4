"""``ray job submit`` to a cluster that ``ray start --head`` made, as the README says, token and all."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lvseg.records import Manifest
from tests.ports import free_port
from tests.processes import SLOW_START, family, kill_all

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "0123456789abcdef0123456789abcdef"
START_S = 120
JOB_S = 300
RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    dashboard: str
    agent: str
    environment: dict[str, str]


def status_of(url: str, token: str | None) -> int | None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head node of its own: own ports, own folder (short: it holds sockets), ended by its process id."""
    folder = Path(tempfile.mkdtemp(prefix="lv", dir="/tmp"))
    dashboard, agent = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **SLOW_START}
    environment["PATH"] = os.pathsep.join([str(RAY.parent), environment["PATH"]])  # as in an activated environment
    flags = {
        "--port": free_port(),
        "--dashboard-port": dashboard,
        "--dashboard-host": "127.0.0.1",
        "--dashboard-agent-listen-port": agent,
        "--ray-client-server-port": free_port(),
        "--num-cpus": 3,
        "--temp-dir": folder,
    }
    arguments = [str(part) for flag in flags.items() for part in flag]
    url = f"http://127.0.0.1:{dashboard}"
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--disable-usage-stats", *arguments],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + START_S
            healthy = f"http://127.0.0.1:{agent}/api/local_raylet_healthz"
            while (status_of(f"{url}/api/jobs/", TOKEN), status_of(healthy, None)) != (200, 200):
                assert process.poll() is None, (folder / "head.log").read_text()
                assert time.monotonic() < deadline, "the head node did not start"
                time.sleep(0.5)
            yield Head(dashboard=url, agent=f"http://127.0.0.1:{agent}", environment=environment)
        finally:
            kill_all(family(process.pid))
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def submit(head: Head, repository: Path, *job: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", "submit", "--address", head.dashboard, "--working-dir", repository, "--", *job],
        env=head.environment,
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=JOB_S,
        check=False,
    )


@pytest.fixture(scope="module")
def working_dir(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout without the environment that lies in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("lvseg", "jobs"):
        shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_token_is_asked_for(head: Head) -> None:
    assert status_of(f"{head.dashboard}/api/jobs/", None) == 401
    assert status_of(f"{head.dashboard}/api/jobs/", "wrong" + TOKEN) in (401, 403)
    assert status_of(f"{head.dashboard}/api/jobs/", TOKEN) == 200


def test_the_agent_of_a_node_asks_for_it_too_but_tells_a_probe_its_health(head: Head) -> None:
    assert status_of(f"{head.agent}/api/job_agent/jobs/none/logs", None) == 401
    assert status_of(f"{head.agent}/api/job_agent/jobs/none/logs", "wrong" + TOKEN) == 403
    assert status_of(f"{head.agent}/api/local_raylet_healthz", None) == 200
    assert status_of(f"{head.dashboard}/api/gcs_healthz", None) == 200


def test_job_that_fails_says_so(head: Head, converted: tuple[Path, Manifest], working_dir: Path) -> None:
    relative = submit(head, working_dir, "python", "jobs/train.py", str(converted[0]), "--runs", "runs")
    assert relative.returncode != 0
    assert "runs must be an absolute path in a submitted job" in relative.stdout + relative.stderr


def lvseg_submit(head: Head, folder: Path, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).parents[2]
    environment = {"RAY_AUTH_TOKEN": token, "RAY_API_SERVER_ADDRESS": head.dashboard, "PYTHONPATH": str(repository)}
    return subprocess.run(
        [sys.executable, "-m", "lvseg.cli", "submit", *words],
        env=head.environment | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=JOB_S,
        check=False,
    )


def test_lvseg_submit(head: Head, tmp_path: Path) -> None:
    """Jobs that need neither TensorFlow nor workers, for the sake of time."""
    small = ("--patients", "1", "--size", "64", "--slices", "3", "--phases", "4")
    made = lvseg_submit(head, tmp_path, "--job-id", "made", "phantom", str(tmp_path / "made"), *small)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "1 patients, 12 images" in made.stdout
    assert made.stderr == ""
    assert (tmp_path / "made" / "truth.json").is_file()

    again = lvseg_submit(head, tmp_path, "--attach", "made")
    assert again.returncode == 0
    assert "1 patients, 12 images" in again.stdout

    (tmp_path / "settings.yaml").write_text("epochs: 2\n")
    failed = lvseg_submit(head, tmp_path, "train", str(tmp_path / "none"), "--config", "settings.yaml")
    assert failed.returncode == 2
    assert "runs must be an absolute path in a submitted job" in failed.stdout

    refused = lvseg_submit(head, tmp_path, "leaderboard", "runs", token="wrong" + TOKEN)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"lvseg: error: RAY_API_SERVER_ADDRESS {head.dashboard}: the cluster refuses this token; "
        "RAY_AUTH_TOKEN, or ~/.ray/auth_token, must hold the cluster's"
    ]
