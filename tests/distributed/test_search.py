"""What is searched, in Ray Tune's terms; no cluster, no trials."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune.experiment import Experiment
from ray.tune.search import SearchGenerator

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed.search import (
    OBJECTIVE,
    parameters,
    samples,
    search_algorithm,
    settings_of,
    trial_place,
)
from lvseg.distributed.tune import _why
from lvseg.errors import ConfigError
from lvseg.space import Dimension
from lvseg.sweep import Sweep

RATE = {"learning_rate": Dimension(kind="loguniform", values=(1e-5, 1.0))}
MIXED = {
    **RATE,
    "optimizer": Dimension(kind="choice", values=("adam", "sgd")),
    "momentum": Dimension(kind="uniform", values=(0.5, 0.9), when={"optimizer": ("sgd",)}),
    "decay_steps": Dimension(kind="qrandint", values=(100, 500, 50)),
    "warmup_steps": Dimension(kind="lograndint", values=(1, 100)),
    "class_weights": Dimension(kind="choice", values=((1.0, 2.0), None)),
}


def sweep_of(folder: Path, space: dict[str, Dimension], base: TrainConfig | None = None, **settings: Any) -> Sweep:
    warm = settings.pop("warm", ())
    base = base or TrainConfig()
    return Sweep(folder=folder, base=base, space=space, tune=TuneConfig(**settings), records=folder, warm=warm)


def score(settings: dict[str, Any]) -> float:
    """The higher the nearer the learning rate is to 0.01."""
    return 1 / (1 + abs(math.log10(settings["learning_rate"] / 0.01))) if "learning_rate" in settings else 0.5


def trials(sweep: Sweep) -> Iterator[tuple[str, dict[str, Any]]]:
    """(folder, settings) of every trial; each is written down as begun, and has a score."""
    tune.register_trainable("idle", lambda config: None)
    search = search_algorithm(sweep, 1000)
    search = search if sweep.tune.search != "tpe" else SearchGenerator(search)
    folder = str(sweep.folder / ".tune")
    search.add_configurations(
        [Experiment("one", "idle", config=parameters(sweep), num_samples=samples(sweep), storage_path=folder)]
    )
    while (trial := search.next_trial()) is not None:
        name, settings = trial_place(sweep, trial.trial_id, trial.config), settings_of(sweep, trial.config)
        (sweep.folder / name).mkdir(parents=True, exist_ok=True)
        config = dataclasses.asdict(dataclasses.replace(sweep.base, **settings))
        listed = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
        (sweep.folder / name / "config.yaml").write_text(yaml.safe_dump(listed))
        search.on_trial_complete(trial.trial_id, {OBJECTIVE: score(settings), "training_iteration": 1})
        yield name, settings


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_sweep_called_again_has_the_same_trials_and_new_ones(tmp_path: Path, search: str) -> None:
    first = list(trials(sweep_of(tmp_path, MIXED, search=search, trials=4)))
    again = list(trials(sweep_of(tmp_path, MIXED, search=search, trials=9)))
    assert [name for name, _ in again] == [f"trial-{number:05d}" for number in range(9)]
    assert again[:4] == first
    assert len({settings["learning_rate"] for _, settings in again}) == 9
    for _, settings in again:
        assert ("momentum" in settings) == (settings["optimizer"] == "sgd")
        assert settings["decay_steps"] % 50 == 0
        assert settings["class_weights"] in MIXED["class_weights"].values
        dataclasses.replace(TrainConfig(), **settings)


def test_tpe_learns_from_trials_of_earlier_calls(tmp_path: Path) -> None:
    first, later = [], []
    for seed in range(3):
        sweep = sweep_of(tmp_path / str(seed), RATE, search="tpe", trials=12, search_seed=seed)
        first += [score(settings) for _, settings in trials(sweep)]
        more = dataclasses.replace(sweep, tune=dataclasses.replace(sweep.tune, trials=32))
        later += [score(settings) for _, settings in trials(more)][12:]
    assert sum(later) / len(later) > 1.2 * sum(first) / len(first)


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_folds_share_a_draw(tmp_path: Path, search: str) -> None:
    found = list(trials(sweep_of(tmp_path, MIXED, TrainConfig(folds=2), search=search, trials=2)))
    assert [name for name, _ in found] == [f"trial-0000{n}-fold-{k}" for n in (0, 1) for k in (0, 1)]
    assert [settings.pop("fold") for _, settings in found] == [0, 1, 0, 1]
    drawn = [settings for _, settings in found]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_warm_start_comes_first(tmp_path: Path, search: str) -> None:
    warm = ({"learning_rate": 0.01}, {"learning_rate": 0.02})
    found = [
        settings["learning_rate"]
        for _, settings in trials(sweep_of(tmp_path, RATE, search=search, trials=4, warm_start=2, warm=warm))
    ]
    assert found[:2] == [0.01, 0.02]
    assert len(set(found)) == 4


def test_a_grid_has_each_combination_once(tmp_path: Path) -> None:
    space = {
        "optimizer": Dimension(kind="choice", values=("adam", "sgd")),
        "momentum": Dimension(kind="choice", values=(0.5, 0.9), when={"optimizer": ("sgd",)}),
    }
    whole = [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "sgd", "momentum": 0.9}]
    assert [settings for _, settings in trials(sweep_of(tmp_path / "a", space, search="grid"))] == whole
    assert [settings for _, settings in trials(sweep_of(tmp_path / "b", space, search="grid", trials=2))] == whole[:2]


def test_a_grid_in_a_random_space_is_run_whole_each_time(tmp_path: Path) -> None:
    space = {**RATE, "batch_size": Dimension(kind="grid", values=(2, 4))}
    sweep = sweep_of(tmp_path, space, trials=3)
    assert [settings["batch_size"] for _, settings in trials(sweep)] == [2, 4] * 3
    assert sweep.trials == 6


@pytest.mark.parametrize(
    ("space", "base", "settings", "message"),
    [
        (RATE, {}, {"search": "grid"}, "search grid runs listed values, learning_rate is loguniform"),
        ({"batch_size": Dimension(kind="grid", values=(2,))}, {}, {"search": "tpe"}, "batch_size is a grid"),
        ({"batch_size": Dimension(kind="choice", values=(2,))}, {}, {"scheduler": "pbt"}, "batch_size must stay"),
        (RATE, {"workers": 2}, {"scheduler": "pbt"}, "workers must be 1"),
        (RATE, {"folds": 3}, {"scheduler": "asha"}, "scheduler must be none, got asha"),
        (RATE, {}, {"gpus_per_trial": 0.5}, "gpus_per_trial needs gpu"),
        ({"batch_size": Dimension(kind="grid", values=(2,))}, {}, {"warm_start": 1}, "warm_start needs"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, space: dict[str, Dimension], base: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep_of(tmp_path, space, TrainConfig(**base), **settings).check()


@pytest.mark.parametrize(
    ("error", "silent", "why"),
    [
        (
            OutOfMemoryError("2 worker(s) were killed due to the node running low on memory."),
            False,
            "ran out of memory",
        ),
        (RuntimeError("worker died, perhaps killed by the OOM killer due to high memory usage"), False, "process died"),
        (RuntimeError("worker died"), True, "made no step for 60 s"),
    ],
)
def test_why_a_trial_died(error: Exception, silent: bool, why: str) -> None:
    assert _why(SimpleNamespace(get_pickled_error=lambda: error), silent, 60) == why
