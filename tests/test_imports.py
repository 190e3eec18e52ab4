"""Imports point one way; seen in the source, so that a lazy import inside a function counts too."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = (
    {"errors"},
    {"config", "findings", "quiet", "slices", "store", "tfrecord"},
    {"rasterize", "preprocess", "recipes", "results", "ledger", "evaluation", "logs", "versions"},
    {"sources", "phantom", "split"},
    {"records", "quality", "outputs"},
    {"models", "losses", "pipeline"},
    {"training", "run_folder", "space", "sweep"},
    {"leaderboard", "report", "progress", "scoring", "warm_start", "sweep_cost", "inference", "export", "dashboard"},
    {"distributed"},
    {"cli", "demo"},
)
"""Rooms of lvseg, from the ground up: a room imports from its own level and those before it."""

LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LAPTOP_ROOMS = {"dashboard", "evaluation", "leaderboard", "ledger", "outputs", "report", "results"}
"""Rooms that run where neither TensorFlow nor Ray is installed."""

HEAVY = {"ray", "tensorflow", "keras"}


def imported_names(node: ast.AST, package: str) -> Iterator[str]:
    """Absolute dotted names that one syntax node imports; of ``from a import b`` both ``a`` and ``a.b``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
        yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def imports_of(source: str, package: str) -> set[str]:
    return {name for node in ast.walk(ast.parse(source)) for name in imported_names(node, package)}


def read_folder(folder: str) -> dict[str, set[str]]:
    """Dotted module name → what it imports."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        package = module if is_package else ".".join(parts[:-1])
        found[module] = imports_of(path.read_text(encoding="utf-8"), package)
    return found


def room_of(module: str) -> str | None:
    """``lvseg.records.files`` → ``records``; None for ``lvseg`` itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "lvseg" and len(parts) > 1 else None


def top_level(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    return read_folder("lvseg")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    import ray.data", {"ray.data"}),
        ("from ray import train", {"ray", "ray.train"}),
        ("from .files import x", {"lvseg.records.files", "lvseg.records.files.x"}),
        ("from .. import slices", {"lvseg", "lvseg.slices"}),
        ("import importlib\nimportlib.import_module('ray')", {"importlib", "ray"}),
    ],
)
def test_the_walk_sees_every_kind_of_import(source: str, expected: set[str]) -> None:
    assert imports_of(source, "lvseg.records") == expected


def test_every_room_has_a_level(modules: dict[str, set[str]]) -> None:
    rooms = {room for module in modules if (room := room_of(module))}
    assert {"config", "errors", "slices"} <= rooms
    assert rooms - LEVEL_OF.keys() == set(), "give the new room its place in LEVELS"


def test_imports_point_one_way(modules: dict[str, set[str]]) -> None:
    rooms = {room for module in modules if (room := room_of(module))}
    upward = [
        f"{module} imports {name}"
        for module, names in modules.items()
        for name in names
        if (room := room_of(module)) in LEVEL_OF
        and (other := room_of(name)) in rooms & LEVEL_OF.keys()
        and LEVEL_OF[other] > LEVEL_OF[room]
    ]
    assert upward == []


def test_only_the_distributed_room_imports_ray(modules: dict[str, set[str]]) -> None:
    assert [m for m, names in modules.items() if "ray" in top_level(names) and room_of(m) != "distributed"] == []


def test_only_rooms_of_files_import_pydicom(modules: dict[str, set[str]]) -> None:
    users = {room_of(module) for module, names in modules.items() if "pydicom" in top_level(names)}
    assert users <= {"outputs", "sources", "phantom"}


def test_rooms_for_a_laptop_reach_neither_tensorflow_nor_ray(modules: dict[str, set[str]]) -> None:
    reached = {module for module in modules if room_of(module) in LAPTOP_ROOMS}
    waiting = list(reached)
    while waiting:
        new = {name for name in modules[waiting.pop()] if name in modules} - reached
        reached |= new
        waiting += new
    assert [module for module in sorted(reached) if top_level(modules[module]) & HEAVY] == []


def test_jobs_only_call_the_command_line_or_the_distributed_room() -> None:
    allowed = {"cli", "distributed", "config", "errors"}
    used = {room for names in read_folder("jobs").values() for name in names if (room := room_of(name))}
    assert used <= allowed


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_package_is_a_declared_dependency(modules: dict[str, set[str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in ("dashboard", "mlflow", "onnx") for line in extras[name])]
    declared = {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]
    distributions = packages_distributions()
    packages = top_level(set().union(*modules.values())) - set(sys.stdlib_module_names) - {"lvseg"}
    undeclared = {
        package for package in packages if not declared & {normal(name) for name in distributions.get(package, [])}
    }
    assert undeclared == set()


@pytest.mark.parametrize("module", ["lvseg", "lvseg.config"])
def test_import_has_no_side_effects(module: str) -> None:
    code = (
        "import json, os, sys\n"
        "before = dict(os.environ)\n"
        f"import {module}\n"
        f"loaded = sorted({HEAVY!r} & sys.modules.keys())\n"
        "print(json.dumps({'environment': dict(os.environ) == before, 'loaded': loaded}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"environment": True, "loaded": []}
