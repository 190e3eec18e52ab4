"""What breaks on a cluster while it works: the run or sweep ends as if nothing had been.

``make test-cluster`` runs the quick ones, ``make test-faults`` all; each tells the seconds to the next epoch.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lvseg.leaderboard import build
from lvseg.results import read_history, read_result
from lvseg.training.status import read_events
from tests.distributed.weights import assert_same_weights
from tests.histories import epochs_done
from tests.nodes.cluster import Cluster, Node, cluster, ended, wait_for
from tests.nodes.conftest import EPOCHS, PHANTOM, RECORDS, SETTINGS
from tests.ports import free_port
from tests.processes import kill_all

pytestmark = pytest.mark.cluster

LONG = ("--epochs", EPOCHS, "--max-failures", 6)
SPREAD = ("--workers", 2, "--placement", "strict-spread")
LOSS_TOLERANCE = 5e-5


class Training:
    """A submitted run that is to be disturbed."""

    def __init__(
        self,
        nodes: Cluster,
        runs: Path,
        name: str,
        *flags: object,
        workers: tuple[object, ...] = SPREAD,
        submit: tuple[object, ...] = (),
    ) -> None:
        self.nodes, self.folder, self.submit = nodes, runs / name, submit
        self.words = ("train", RECORDS, *SETTINGS, *LONG, *workers, *flags, "--runs", runs, "--name", name)
        self.process = self.again()

    def again(self) -> subprocess.Popen[str]:
        self.process = self.nodes.start("submit", *self.submit, *self.words)
        return self.process

    def reach(self, epoch: int) -> None:
        def reached() -> bool:
            assert self.process.poll() is None or epochs_done(self.folder) >= epoch, self.process.communicate()[0]
            return epochs_done(self.folder) >= epoch

        wait_for(f"epoch {epoch}", reached)

    def seconds_to_next_epoch(self, cause: Callable[[], object]) -> float:
        """From the fault to an epoch that the run finished after it had started again."""
        starts = self.starts()
        started = time.monotonic()
        cause()
        wait_for("restart", lambda: self.starts() > starts)
        done = epochs_done(self.folder)
        wait_for("epoch after it", lambda: epochs_done(self.folder) > done or self.process.poll() is not None)
        return time.monotonic() - started

    def starts(self) -> int:
        return sum(event.kind in ("start", "resume") for event in read_events(self.folder))


def assert_as_calm(folder: Path, calm: Path) -> None:
    ours, theirs = read_history(folder), read_history(calm)
    assert [row.epoch for row in ours] == list(range(1, EPOCHS + 1))
    assert [row.loss for row in ours] == pytest.approx([row.loss for row in theirs], abs=LOSS_TOLERANCE)
    assert [row.val_loss for row in ours] == pytest.approx([row.val_loss for row in theirs], abs=LOSS_TOLERANCE)
    assert_same_weights(folder, calm)
    ranked = {row.result.name for group in build(folder.parent).groups for row in group.rows}
    assert {folder.name, calm.name} <= ranked


def worker_of(node: Node) -> psutil.Process:
    (worker,) = node.running("RayTrainWorker")
    return worker


def test_a_node_dies_and_another_comes(nodes: Cluster, calm: Path, runs: Path, tell: list[str]) -> None:
    training = Training(nodes, runs, "node")
    training.reach(3)

    def pull_the_plug() -> None:
        nodes.workers[-1].kill()
        nodes.workers.pop()
        nodes.add_workers(1)

    seconds = training.seconds_to_next_epoch(pull_the_plug)
    ended(training.process)
    tell.append(f"node killed, a fresh one added: {seconds:.0f} s to the next epoch")
    assert "lost" in [event.kind for event in read_events(training.folder)]
    assert_as_calm(training.folder, calm)


@pytest.mark.slow
def test_the_driver_dies(nodes: Cluster, calm: Path, runs: Path, tell: list[str]) -> None:
    training = Training(nodes, runs, "driver")
    training.reach(3)

    def kill_and_submit_again() -> None:
        drivers = [each for each in nodes.head.running("lvseg.cli train") if "submit" not in each.cmdline()]
        assert drivers
        kill_all(drivers)
        training.process.wait(120)
        assert training.process.returncode
        training.again()

    seconds = training.seconds_to_next_epoch(kill_and_submit_again)
    ended(training.process)
    tell.append(f"driver killed, the same name submitted again: {seconds:.0f} s to the next epoch")
    assert_as_calm(training.folder, calm)


@pytest.mark.slow
def test_a_worker_process_dies(nodes: Cluster, calm: Path, runs: Path, tell: list[str]) -> None:
    training = Training(nodes, runs, "worker")
    training.reach(3)
    seconds = training.seconds_to_next_epoch(worker_of(nodes.workers[0]).kill)
    ended(training.process)
    tell.append(f"worker killed: {seconds:.0f} s to the next epoch")
    assert_as_calm(training.folder, calm)


@pytest.mark.slow
def test_a_worker_process_hangs(nodes: Cluster, calm: Path, runs: Path, tell: list[str]) -> None:
    training = Training(nodes, runs, "hung", "--collective-timeout-s", 15)
    training.reach(3)
    seconds = training.seconds_to_next_epoch(lambda: worker_of(nodes.workers[0]).send_signal(signal.SIGSTOP))
    ended(training.process)
    tell.append(f"worker stopped (SIGSTOP), --collective-timeout-s 15: {seconds:.0f} s to the next epoch")
    assert_as_calm(training.folder, calm)


@pytest.mark.slow
def test_an_elastic_run_goes_on_with_the_node_that_is_left(
    nodes: Cluster, calm: Path, runs: Path, tell: list[str]
) -> None:
    # Two cores are a node of this cluster, so each worker has one for itself.
    training = Training(nodes, runs, "elastic", workers=("--workers", "1:2", "--cpus-per-worker", 2))
    training.reach(3)

    def pull_the_plug() -> None:
        nodes.workers[-1].kill()
        nodes.workers.pop()

    seconds = training.seconds_to_next_epoch(pull_the_plug)
    ended(training.process)
    tell.append(f"node killed, --workers 1:2: {seconds:.0f} s to the next epoch, on one worker")
    nodes.add_workers(1)
    assert_as_calm(training.folder, calm)


@pytest.mark.slow
@pytest.mark.parametrize("patience", [600, 10])
def test_the_network_between_workers_is_cut(
    nodes: Cluster, calm: Path, runs: Path, tell: list[str], separate: bool, patience: int
) -> None:
    if not separate:
        pytest.skip("needs network namespaces")
    training = Training(nodes, runs, f"cut-{patience}", "--collective-timeout-s", patience)
    training.reach(3)
    starts, done, started = training.starts(), epochs_done(training.folder), time.monotonic()
    nodes.network.cut_workers(True)
    time.sleep(30)
    still = epochs_done(training.folder)
    nodes.network.cut_workers(False)
    assert still <= done + 1, "the cut did not cut"
    wait_for("epoch after the cut", lambda: epochs_done(training.folder) > still)
    seconds = time.monotonic() - started
    ended(training.process)
    tell.append(
        f"network between workers cut for 30 s, --collective-timeout-s {patience}: {seconds:.0f} s from the cut to the "
        f"next epoch, {training.starts() - starts} restart(s)"
    )
    assert_as_calm(training.folder, calm)


@pytest.mark.slow
def test_a_node_dies_under_a_sweep(nodes: Cluster, records: str, runs: Path, tell: list[str]) -> None:
    flags = ("--trials", 4, "--epochs", 6, "--runs", runs)
    nodes.run("submit", "tune", records, *SETTINGS, *flags, "--name", "sweep-calm")
    tuning = nodes.start("submit", "tune", records, *SETTINGS, *flags, "--name", "sweep-node")
    wait_for("trials on a node", lambda: bool(nodes.workers[-1].running("ImplicitFunc")))
    wait_for("an epoch", lambda: any(epochs_done(path) for path in (runs / "sweep-node").glob("trial-*")))
    started = time.monotonic()
    nodes.workers[-1].kill()
    nodes.workers.pop()
    nodes.add_workers(1)
    ended(tuning)
    tell.append(f"node killed under a sweep, a fresh one added: {time.monotonic() - started:.0f} s to its end")
    for number in range(4):
        ours, theirs = (runs / f"sweep-{name}" / f"trial-{number:05d}" for name in ("node", "calm"))
        assert read_result(ours).status == "finished"
        assert [row.loss for row in read_history(ours)] == pytest.approx(
            [row.loss for row in read_history(theirs)], abs=LOSS_TOLERANCE
        )
    assert len([row for group in build(runs / "sweep-node").groups for row in group.rows]) == 4


@contextmanager
def redis(made: Cluster) -> Iterator[Callable[[], None]]:
    """A store for what the head knows, on the head's machine; gives what starts the head with it."""
    port, password = free_port(), "not-a-secret"
    words = ["redis-server", "--port", port, "--bind", made.address, "--requirepass", password, "--save", ""]
    command = [*made.prefix, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=made.folder) as server:
        try:
            store = {"RAY_REDIS_ADDRESS": f"{made.address}:{port}"}
            yield lambda: made.start_head("--redis-password", password, **store)
        finally:
            server.terminate()


@pytest.mark.slow
def test_the_head_is_lost_and_all_is_started_anew(tell: list[str], separate: bool) -> None:
    """Without a store of its own the head takes the cluster with it; runs stay."""
    with cluster(separate) as own:
        runs, training = with_training(own, "head")
        started = time.monotonic()
        own.head.kill()
        training.process.wait(120)
        for node in own.workers:
            wait_for("end of the node", lambda node=node: node.process.poll() is not None)  # type: ignore[misc]
        gone = time.monotonic() - started
        own.workers.clear()
        own.start_head()
        own.add_workers(2)
        seconds = training.seconds_to_next_epoch(training.again)
        ended(training.process)
        tell.append(
            f"head killed, no Redis: its nodes ended after {gone:.0f} s; all started anew and submitted again: "
            f"{seconds:.0f} s from there to the next epoch"
        )
        assert_as_calm(training.folder, runs / "calm")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_the_head_comes_back_with_redis(tell: list[str], separate: bool) -> None:
    """Its nodes stay, and a run whose driver is on another node goes on."""
    if not separate:
        pytest.skip("needs namespaces")
    with cluster(separate, workers=0) as own, redis(own) as start_head:
        own.head.kill()
        start_head()
        own.add_workers(2)
        (driver,) = own.add_workers(1, cpus=1, role="driver")
        runs, training = with_training(own, "redis", "--node-label", "role=!driver", driver="role=driver")
        assert driver.running("lvseg.cli train")
        starts, done = training.starts(), epochs_done(training.folder)
        started = time.monotonic()
        own.head.kill()
        start_head()
        back = time.monotonic() - started
        wait_for("end of the run", lambda: epochs_done(training.folder) == EPOCHS)
        tell.append(
            f"head killed and started again with Redis, driver elsewhere: back after {back:.0f} s, "
            f"{training.starts() - starts} restart(s) of the run, which was at epoch {done}"
        )
        assert all(node.process.poll() is None for node in own.workers)
        wait_for("result", lambda: (training.folder / "result.json").exists())
        assert_as_calm(training.folder, runs / "calm")


def with_training(own: Cluster, name: str, *flags: object, driver: str | None = None) -> tuple[Path, Training]:
    """On a cluster of its own: records, the undisturbed run, and one that has done three epochs."""
    runs = own.folder / "runs"
    own.run("phantom", own.folder / "phantom", *PHANTOM)
    own.run("submit", "convert", own.folder / "phantom", RECORDS, "--val-fraction", 0.34)
    own.run("train", RECORDS, *SETTINGS, "--epochs", EPOCHS, "--workers", 0, "--runs", runs, "--name", "calm")
    training = Training(own, runs, name, *flags, submit=("--driver-label", driver) if driver else ())
    training.reach(3)
    return runs, training
