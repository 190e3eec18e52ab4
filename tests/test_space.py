import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.space import KINDS, Dimension, choose, combinations, read_space

BASE = TrainConfig(batch_size=4, workers=2)


def read(tmp_path: Path, content: Any) -> dict[str, Dimension]:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_space(path, BASE)


def test_the_default_space_is_the_course_s_task() -> None:
    space = read_space(None, TrainConfig())
    assert set(space) == {"learning_rate", "decay_rate", "decay_steps"}


@pytest.mark.parametrize(
    ("key", "entry", "expected"),
    [
        ("model", ["fc", "unet"], Dimension(kind="choice", values=("fc", "unet"))),
        ("batch-size", {"choice": [2, 4]}, Dimension(kind="choice", values=(2, 4))),
        ("batch_size", {"grid": [2, 8]}, Dimension(kind="grid", values=(2, 8))),
        ("decay_rate", {"uniform": [0.8, 1]}, Dimension(kind="uniform", values=(0.8, 1.0))),
        ("learning-rate", {"loguniform": [1e-4, 1e-2]}, Dimension(kind="loguniform", values=(1e-4, 1e-2))),
        ("epochs", {"randint": [3, 9]}, Dimension(kind="randint", values=(3, 9))),
        ("decay_steps", {"qrandint": [100, 500, 50]}, Dimension(kind="qrandint", values=(100, 500, 50))),
        ("warmup_steps", {"lograndint": [1, 500]}, Dimension(kind="lograndint", values=(1, 500))),
        ("staircase", [True, False], Dimension(kind="choice", values=(True, False))),
    ],
)
def test_each_kind(tmp_path: Path, key: str, entry: Any, expected: Dimension) -> None:
    space = read(tmp_path, {key: entry})
    assert space == {key.replace("-", "_"): expected}
    assert [type(value) for value in space[key.replace("-", "_")].values] == [type(v) for v in expected.values]


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == {"choice", "grid", "uniform", "loguniform", "randint", "qrandint", "lograndint"}


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("learning_rate: {loguniform: [1e-4, 1e-2]}\n")
    assert read_space(path, BASE)["learning_rate"].values == (1e-4, 1e-2)


@pytest.mark.parametrize(
    ("content", "named", "allowed"),
    [
        ({"learning_rat": [1]}, "learning_rat cannot be searched", "learning_rate, schedule, decay_rate"),
        ({"workers": [1, 2]}, "workers cannot be searched", "batch_size"),
        ({"gpu": [True]}, "gpu cannot be searched", "model"),
        ({"epochs": {"normal": [1, 2]}}, "epochs must be a list of values or one of", "loguniform, randint"),
        ({"epochs": 3}, "epochs must be", "choice, grid"),
        ({"epochs": {"choice": [1], "grid": [2]}}, "epochs must be", "choice, grid"),
        ({"epochs": []}, "epochs: choice", "needs a list of values"),
        ({"epochs": {"grid": 3}}, "epochs: grid", "needs a list of values, got 3"),
        ({"epochs": [1, 0]}, "epochs: epochs", "greater than or equal to 1, got 0"),
        ({"learning_rate": {"loguniform": [1e-4, 11]}}, "learning_rate", "less than or equal to 10"),
        ({"learning_rate": {"loguniform": [0, 1]}}, "learning_rate: loguniform", "0 < lowest < highest"),
        ({"decay_rate": {"uniform": [0.9, 0.8]}}, "decay_rate: uniform", "lowest < highest, got [0.9, 0.8]"),
        ({"decay_rate": {"uniform": [0.9]}}, "decay_rate: uniform", "a lowest and a highest number"),
        ({"decay_rate": {"uniform": ["a", "b"]}}, "decay_rate: uniform", "a lowest and a highest number"),
        ({"decay_rate": {"uniform": [0.5, float("nan")]}}, "decay_rate", "nan"),
        ({"epochs": {"uniform": [1, 9]}}, "epochs: uniform", "draws fractions; take randint or choice"),
        (
            {"decay_steps": {"loguniform": [10, 1000]}},
            "decay_steps: loguniform",
            "draws fractions; take randint or choice",
        ),
        ({"epochs": {"randint": [1.5, 9]}}, "epochs: randint", "whole numbers"),
        ({"decay_steps": {"qrandint": [100, 510, 50]}}, "decay_steps: qrandint", "a step that leads from lowest to"),
        ({"decay_steps": {"qrandint": [100, 500]}}, "decay_steps: qrandint", "and a step, got [100, 500]"),
        ({"warmup_steps": {"lograndint": [0, 500]}}, "warmup_steps: lograndint", "0 < lowest < highest"),
        ({"unet_width": {"uniform": [8, 32]}}, "unet_width: uniform", "draws fractions"),
        ({"fold": [0, 1]}, "fold cannot be searched", "model"),
        ({"momentum": {"uniform": [0.8, 0.9], "when": "sgd"}}, "momentum: when must map", "'sgd'"),
        ({"momentum": {"uniform": [0.8, 0.9], "when": {"optimiser": "sgd"}}}, "momentum: when: unknown", "optimizer"),
        (
            {"momentum": {"uniform": [0.8, 0.9], "when": {"optimizer": "sgd"}}},
            "momentum: when optimizer is",
            "never is",
        ),
        (
            {"epochs": {"choice": [3], "when": {"seed": 0}}, "seed": {"choice": [0], "when": {"epochs": 3}}},
            "epochs, seed depend on each other",
            "circle",
        ),
        (
            {"model": ["fcn", "unet"], "unet_width": [8, 16]},
            "model fcn, unet_width 8: unet_width is for the models unet",
            "say under when what belongs together",
        ),
        ({"staircase": {"uniform": [0, 1]}}, "staircase: uniform", "draws fractions; take randint or choice"),
        ({"model": {"uniform": [0, 1]}}, "model: model", "must be a valid string, got 0.0"),
        ({"model": ["fcn", "resnet"]}, "model", "fc, fcn, unet, unet-light, got 'resnet'"),
        ({"batch_size": [4, 1]}, "batch_size", "workers must be at most batch_size, got 2 and 1"),
        ({}, "the search space is empty", ""),
        ([1], "expected a mapping", "list"),
    ],
)
def test_a_wrong_space_names_file_key_and_what_is_allowed(
    tmp_path: Path, content: Any, named: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'space.yaml'}: {named}")
    assert allowed in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        read_space(tmp_path / "none.yaml", BASE)


CONDITIONAL = {
    "momentum": {"choice": [0.8, 0.9], "when": {"optimizer": "sgd"}},
    "optimizer": ["adam", "sgd"],
    "unet_width": {"choice": [8, 16], "when": {"model": ["unet", "unet-light"]}},
    "model": ["fcn", "unet"],
}


def test_a_conditional_setting_is_there_only_where_its_condition_holds(tmp_path: Path) -> None:
    space = read(tmp_path, CONDITIONAL)
    assert list(space).index("optimizer") < list(space).index("momentum")
    every = combinations(space, BASE)
    assert len(every) == 9  # (adam, sgd with two momenta) x (fcn, unet of two widths)
    for settings in every:
        assert ("momentum" in settings) == (settings["optimizer"] == "sgd")
        assert ("unet_width" in settings) == (settings["model"] == "unet")
        dataclasses.replace(BASE, **settings)


def test_a_condition_may_be_on_a_setting_that_does_not_vary(tmp_path: Path) -> None:
    space = read(tmp_path, {"decay_rate": {"uniform": [0.8, 1], "when": {"schedule": "exponential"}}})
    assert choose(space, BASE, lambda *_: 0.9) == {"decay_rate": 0.9}
    assert choose(space, dataclasses.replace(BASE, schedule="cosine"), lambda *_: 0.9) == {}


@pytest.mark.parametrize("name", ["space", "unet-space", "fcn-decay-space"])
def test_every_example_can_be_drawn_from(repository: Path, name: str) -> None:
    base = TrainConfig(model="unet-light" if name == "unet-space" else "fcn")
    space = read_space(repository / f"examples/{name}.yaml", base)
    draw = random.Random(1)
    for _ in range(20):
        settings = choose(space, base, lambda _, dimension: draw.choice(dimension.corners))
        dataclasses.replace(base, **settings)
