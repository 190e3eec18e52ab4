"""One cluster of real nodes for the tests of this folder, and a record set on its store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.cluster import Cluster, cluster, have_namespaces
from tests.s3 import BUCKET

RECORDS = f"s3://{BUCKET}/records"
RUNS = "runs"
PHANTOM = ("--patients", 3, "--size", 64, "--slices", 5, "--phases", 6)
TOLD = pytest.StashKey[list[str]]()
# Adam would blow rounding up where a gradient is next to nothing.
EXACT = ("--precision", "float32", "--optimizer", "sgd", "--learning-rate", 0.02)
SETTINGS = ("--model", "fcn", "--batch-size", 4, "--picture-every", 0, "--cpus-per-worker", 1, *EXACT)
EPOCHS = 20
"""Of a run that is to be disturbed: enough that it is not over before."""


@pytest.fixture(scope="session")
def separate() -> bool:
    """Whether nodes have network namespaces of their own here."""
    return have_namespaces()


@pytest.fixture(scope="session")
def nodes(separate: bool) -> Iterator[Cluster]:
    with cluster(separate) as made:
        yield made


@pytest.fixture(scope="session")
def runs(nodes: Cluster) -> Path:
    """A folder that every node sees."""
    return nodes.folder / RUNS


@pytest.fixture(scope="session")
def records(nodes: Cluster) -> str:
    """Made by a job: a phantom on the cluster's store."""
    made = nodes.run("phantom", nodes.folder / "phantom", *PHANTOM)
    assert "3 patients" in made
    said = nodes.run("submit", "convert", nodes.folder / "phantom", RECORDS, "--val-fraction", 0.34)
    assert "train: " in said, said
    return RECORDS


@pytest.fixture(scope="session")
def calm(nodes: Cluster, records: str, runs: Path) -> Path:
    """The run that nothing disturbs, without Ray; the disturbed ones must equal it."""
    nodes.run("train", records, *SETTINGS, "--epochs", EPOCHS, "--workers", 0, "--runs", runs, "--name", "calm")
    return runs / "calm"


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are shown at the end: seconds to recover."""
    return request.config.stash.setdefault(TOLD, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
