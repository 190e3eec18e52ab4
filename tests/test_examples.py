"""The files in ``examples/`` and the commands in the documents are what lvseg takes."""

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import lvseg.phantom
from lvseg import cli
from lvseg.cli import boards, data, export, jobs, monitoring, predict, training, tuning
from lvseg.config import TrainConfig, from_mapping, read_yaml
from lvseg.space import read_space

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "cluster/README.md",
    "docs/augmentation.md",
    "docs/training.md",
    "docs/leaderboard.md",
    "docs/predict.md",
    "docs/export.md",
    "docs/sweeps.md",
)


def test_the_example_settings_are_valid() -> None:
    settings = from_mapping(TrainConfig, read_yaml(ROOT / "examples/train.yaml"))
    assert (settings.model, settings.batch_size) == ("fcn", 4)


def test_the_example_space_is_valid_and_varies_what_it_says() -> None:
    space = read_space(ROOT / "examples/space.yaml", TrainConfig())
    assert {name: dimension.kind for name, dimension in space.items()} == {
        "model": "choice",
        "epochs": "choice",
        "batch_size": "choice",
        "learning_rate": "loguniform",
        "decay_rate": "uniform",
        "decay_steps": "choice",
    }


def documented_commands() -> Iterator[list[str]]:
    """Arguments after ``lvseg``, or verb and arguments of a job, of every command in a code block."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for _, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if command := re.match(r"lvseg (\w.*)", line):
                    yield shlex.split(command[1], comments=True)
                elif job := re.search(r"python jobs/(\w+)\.py (.*)", line):
                    yield [job[1], *shlex.split(job[2], comments=True)]


def test_documented_commands_are_accepted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    summary = SimpleNamespace(patients=0, images=0, endocardium_contours=0)
    monkeypatch.setattr(lvseg.phantom, "write_phantom", lambda *_, **__: summary)
    for room in (boards, data, export, jobs, monitoring, predict, training, tuning):
        for name, function in inspect.getmembers(room, inspect.isfunction):
            if function.__module__ == room.__name__:
                monkeypatch.setattr(room, name, lambda *_, **__: 0)
    commands = list(documented_commands())
    assert {command[0] for command in commands} == {
        "phantom",
        "check",
        "convert",
        "augment-preview",
        "train",
        "tune",
        "evaluate",
        "predict",
        "export",
        "leaderboard",
        "report",
        "dashboard",
        "tensorboard",
        "submit",
    }
    for command in commands:
        assert cli.main(command) == 0, command


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "cluster/README.md",
        "docs/data.md",
        "docs/augmentation.md",
        "docs/export.md",
        "docs/predict.md",
        "docs/outputs.md",
        "docs/sweeps.md",
        "docs/cluster-faults.md",
        "docs/scale.md",
        "docs/benchmarks.md",
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_file_tree_names_what_is_there() -> None:
    (tree,) = re.findall(r"```text\n(lvseg/ .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        folder = ROOT / "lvseg" if line.startswith("  ") else ROOT
        assert (folder / name).exists(), name
