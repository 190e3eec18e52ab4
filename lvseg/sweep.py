"""A sweep's folder: what it searches, which trials it has, and how a trial that ended early is closed.

::

    RUNS/SWEEP/
    ├── sweep.json        what is searched, and how
    ├── trial-00000/      a run folder like any other; of a cross-validation: trial-00000-fold-0, or fold-0
    └── .tune/            Ray Tune's own files

The trials' folders are all that a sweep needs to be gone on with: Ray Tune's own state is never read again.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from lvseg.config import SWEEP_IDENTITY, TrainConfig, TuneConfig, read_yaml
from lvseg.errors import ConfigError, RunError
from lvseg.records import Manifest, read_manifest
from lvseg.results import RESULT_FILE, RunResult, read_result, write_history
from lvseg.run_folder import CHECKPOINTS_NAME, CONFIG_NAME, Run, end_early, read_config
from lvseg.space import LISTED, Dimension, Settings, combinations, frozen
from lvseg.store import UPath, list_folder, write_text
from lvseg.training.context import CHECKPOINT_PREFIX
from lvseg.training.state import STATE_NAME, RunState

PLAN_NAME = "sweep.json"
"""What the sweep searches."""
DEFAULT_TRIALS = 8
_TRIAL = re.compile(r"trial-(\d+)(?:-fold-\d+)?|fold-\d+")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What to search."""

    folder: UPath
    """``RUNS/SWEEP``; each trial is a run folder in it."""
    base: TrainConfig
    """Settings that do not vary."""
    space: Mapping[str, Dimension]
    """Settings that do; none for a cross-validation of one configuration."""
    tune: TuneConfig
    """How many, how many at a time, and how they are chosen."""
    records: UPath
    """The record set."""
    warm: tuple[Settings, ...] = ()
    """Settings to begin with."""

    @property
    def draws(self) -> int:
        """Different settings that are tried, folds not counted."""
        if not self.space:
            return 1
        if self.tune.search == "grid":
            return min(len(self.grid), self.tune.trials or len(self.grid))
        cells = len(self.grid) if self.tune.search == "random" else 1
        return cells * (self.tune.trials or DEFAULT_TRIALS)

    @property
    def folds(self) -> int:
        """Runs for each of them."""
        return self.base.folds or 1 if self.base.fold is None else 1

    @property
    def trials(self) -> int:
        """Runs in all."""
        return self.draws * self.folds

    @property
    def gridded(self) -> dict[str, Dimension]:
        """Dimensions that are run whole."""
        wanted = LISTED if self.tune.search == "grid" else {"grid"}
        return {key: dimension for key, dimension in self.space.items() if dimension.kind in wanted}

    @property
    def drawn(self) -> dict[str, Dimension]:
        """The others."""
        return {key: dimension for key, dimension in self.space.items() if key not in self.gridded}

    @property
    def grid(self) -> list[Settings]:
        """Every combination of those that are run whole; one empty one where there are none."""
        return combinations(self.gridded, self.base)

    @property
    def most_epochs(self) -> int:
        """The longest that a trial can be."""
        dimension = self.space.get("epochs")
        return self.base.epochs if dimension is None else max(dimension.corners)

    def trial(self, folder: UPath, manifest: Manifest) -> Run:
        """The run of a trial, with the settings that do not vary."""
        return Run(folder=folder, config=self.base, records=self.records, manifest=manifest, sweep=self.folder.name)

    def first_run(self, manifest: Manifest) -> Run:
        """A run to look at before there is one; folds are of one kind, so of them the first."""
        config = dataclasses.replace(self.base, fold=0) if self.folds > 1 else self.base
        return dataclasses.replace(self.trial(self.folder, manifest), config=config)

    def trial_name(self, number: int, fold: int | None) -> str:
        """Of a trial's folder."""
        if not self.space and fold is not None:
            return f"fold-{fold}"
        return f"trial-{number:05d}" + ("" if fold is None else f"-fold-{fold}")

    def check(self) -> None:
        """Refuse a search that does not go with the space.

        Raises:
            ConfigError: names the setting.
        """
        search, scheduler = self.tune.search, self.tune.scheduler
        odd = [key for key, each in self.space.items() if each.kind not in LISTED]
        if search == "grid" and odd:
            raise ConfigError(f"search grid runs listed values, {odd[0]} is {self.space[odd[0]].kind}; list its values")
        grids = [key for key, each in self.space.items() if each.kind == "grid"]
        if search == "tpe" and grids:
            raise ConfigError(f"search tpe chooses values itself, {grids[0]} is a grid; make it a choice")
        if self.tune.warm_start and (search == "grid" or self.gridded):
            raise ConfigError("warm_start needs search random or tpe, and no grid in the space")
        if self.folds > 1 and scheduler != "none":
            raise ConfigError(f"folds are compared by whole trainings: scheduler must be none, got {scheduler}")
        if scheduler == "pbt":
            self._check_pbt()
        if self.tune.gpus_per_trial is not None and (not self.base.gpu or self.base.workers > 1):
            raise ConfigError("gpus_per_trial needs gpu and one worker")

    def _check_pbt(self) -> None:
        if self.base.workers > 1:
            raise ConfigError("scheduler pbt needs trials of one worker: workers must be 1")
        if fixed := sorted(self.space.keys() - PERTURBABLE):
            raise ConfigError(
                f"scheduler pbt changes settings within a training, {fixed[0]} must stay; can be changed: "
                f"{', '.join(sorted(PERTURBABLE))}"
            )
        if any(dimension.when for dimension in self.space.values()):
            raise ConfigError("scheduler pbt takes no conditional settings")


PERTURBABLE = frozenset(
    {"learning_rate", "decay_rate", "decay_steps", "final_rate", "decay_power", "weight_decay", "clip_norm", "momentum"}
    | {field.name for field in dataclasses.fields(TrainConfig) if field.name.startswith("augment_")}
)
"""Settings that may change while weights and optimizer state stay."""


def open_sweep(sweep: Sweep) -> Manifest:
    """Refuse what cannot work and claim the sweep's folder; needs no Ray session.

    Raises:
        ConfigError, RecordsError: nothing could run at all.
        RunError: the sweep's name is taken, or its folder cannot be written.
    """
    manifest = read_manifest(sweep.records)
    sweep.check()
    sweep.first_run(manifest).check_fits()
    _claim_folder(sweep, manifest)
    return manifest


def _plan(sweep: Sweep, manifest: Manifest) -> dict[str, Any]:
    space = {key: dataclasses.asdict(dimension) for key, dimension in sweep.space.items()}
    content = {
        "base": sweep.base.identity(),
        "space": space,
        "search": {name: getattr(sweep.tune, name) for name in SWEEP_IDENTITY},
        "records_sha256": manifest.records_sha256,
    }
    return dict(json.loads(json.dumps(content)))


def _claim_folder(sweep: Sweep, manifest: Manifest) -> None:
    """Write what the sweep searches, or check that the folder's sweep is the same: it is then gone on with."""
    path = sweep.folder / PLAN_NAME
    plan = _plan(sweep, manifest)
    try:
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            if {key: before.get(key) for key in plan} != plan:
                raise RunError(
                    f"sweep name {sweep.folder.name} is taken by another sweep (see {path}); choose another name"
                )
        elif sweep.folder.exists() and any(sweep.folder.iterdir()):
            raise RunError(f"{sweep.folder}: holds other files, not a sweep; choose another name")
        else:
            write_text(path, json.dumps(plan | {"warm": list(sweep.warm)}, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{sweep.folder}: cannot be written: {error.strerror or error}") from None
    except ValueError:
        raise RunError(f"{path}: damaged; choose another name") from None


def recorded_warm_start(folder: UPath) -> tuple[Settings, ...] | None:
    """What the sweep in a folder began with; None where there is no sweep yet."""
    try:
        return tuple(json.loads((folder / PLAN_NAME).read_text(encoding="utf-8")).get("warm", ()))
    except (OSError, ValueError, AttributeError):
        return None


def trial_folders(sweep: Sweep) -> list[UPath]:
    """The trials' folders that are there, in order."""
    names = sorted(
        name for name, is_folder in list_folder(sweep.folder).items() if is_folder and _TRIAL.fullmatch(name)
    )
    return [sweep.folder / name for name in names]


def recorded_settings(sweep: Sweep) -> dict[int, Settings]:
    """What each trial so far has of the settings that vary, by its number."""
    found = {}
    for folder in trial_folders(sweep):
        number = _TRIAL.fullmatch(folder.name)
        if number and number[1] is not None and (folder / CONFIG_NAME).exists():
            config = read_yaml(folder / CONFIG_NAME)
            found[int(number[1])] = {key: frozen(config.get(key)) for key in sweep.space}
    return found


def final_result(folder: UPath) -> RunResult | None:
    """How a trial ended; None where it has not, or failed and may be tried again."""
    if not (folder / RESULT_FILE).exists():
        return None
    result = read_result(folder)
    return None if result.status == "failed" else result


def close_early(run: Run) -> RunResult | None:
    """Write the result of a trial that a scheduler ended: it is as good as its best epoch, and final.

    Returns:
        The result; None where the trial has not finished an epoch.
    """
    states = {folder: _state(folder) for folder in _checkpoints(run.folder)}
    known = {folder: state for folder, state in states.items() if state is not None and state.epoch}
    if not known:
        return None
    state = max(known.values(), key=lambda state: (state.epoch, state.step))
    best = [folder for folder in known if _epoch_of(folder) == state.best_epoch]
    run = dataclasses.replace(run, config=read_config(run.folder))
    # The trial was ended while it reported: before it wrote that epoch's line.
    write_history(run.folder, state.rows())
    return end_early(run, state, max(best, key=lambda folder: folder.name, default=None))


def _checkpoints(folder: UPath) -> list[UPath]:
    checkpoints = folder / CHECKPOINTS_NAME
    return [checkpoints / name for name in list_folder(checkpoints) if name.startswith(CHECKPOINT_PREFIX)]


def _epoch_of(checkpoint: UPath) -> int:
    return int(checkpoint.name.removeprefix(CHECKPOINT_PREFIX).split("-")[0])


def _state(checkpoint: UPath) -> RunState | None:
    try:
        return RunState(**json.loads((checkpoint / STATE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # it was being written
