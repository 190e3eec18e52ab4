"""A sweep's space, search and schedule in Ray Tune's terms."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Repeater, Searcher
from ray.tune.search.repeater import TRIAL_INDEX

from lvseg.space import LISTED, LOGARITHMIC, WHOLE, Dimension, Settings, choose
from lvseg.sweep import Sweep, recorded_settings

NUMBER, GRID, FOLD = "trial_number", "grid", "fold"
"""Keys of a trial's parameters that are no settings."""
EPOCH, OBJECTIVE, SCORE = "epoch", "best_val_dice", "val_dice"
"""What trials report: the epoch, the best validation Dice so far, and that of the epoch."""


def parameters(sweep: Sweep) -> dict[str, Any]:
    """Ray Tune's search space; for TPE none, since the search draws it."""
    if sweep.tune.search == "tpe":
        return {}
    space: dict[str, Any] = {key: _domain(dimension) for key, dimension in sweep.drawn.items()}
    cells = sweep.grid[: sweep.draws] if sweep.tune.search == "grid" else sweep.grid
    if sweep.folds > 1:
        cells = [cell | {FOLD: fold} for cell in cells for fold in range(sweep.folds)]
    if sweep.gridded or sweep.folds > 1:
        space[GRID] = tune.grid_search(cells)
    return space


def samples(sweep: Sweep) -> int:
    """How often the space is drawn from."""
    if sweep.tune.search == "tpe":
        return sweep.trials
    return sweep.draws // len(sweep.grid) if sweep.tune.search == "random" and sweep.space else 1


def settings_of(sweep: Sweep, params: Mapping[str, Any]) -> Settings:
    """A trial's settings from its parameters: conditional ones only where they count."""
    flat = {**params, **(params.get(GRID) or {})}
    chosen = choose(sweep.space, sweep.base, lambda key, _: flat[key])
    fold = _fold(params)
    return chosen if fold is None else chosen | {FOLD: int(fold)}


def trial_place(sweep: Sweep, trial_id: str, params: Mapping[str, Any]) -> str:
    """Name of a trial's folder: by its number, and its fold."""
    number = params.get(NUMBER)
    if number is None:
        number = int(trial_id.rsplit("_", 1)[-1]) // sweep.folds
    return sweep.trial_name(int(number), _fold(params))


def _fold(params: Mapping[str, Any]) -> int | None:
    return (params.get(GRID) or {}).get(FOLD, params.get(TRIAL_INDEX))


def _domain(dimension: Dimension) -> Any:
    if dimension.kind in LISTED:
        return tune.choice(list(dimension.values))
    low, high = dimension.values[:2]
    if dimension.kind == "randint":
        return tune.randint(low, high + 1)
    if dimension.kind == "lograndint":
        return tune.lograndint(low, high + 1)
    if dimension.kind == "qrandint":
        return tune.qrandint(low, high, dimension.values[2])
    return tune.uniform(low, high) if dimension.kind == "uniform" else tune.loguniform(low, high)


def search_algorithm(sweep: Sweep, concurrency: int) -> Any:
    """What draws the trials' settings; the same sweep called again has the same trials."""
    if sweep.tune.search == "tpe":
        return _tpe(sweep, concurrency)
    # The draw is seeded: trial N has the same settings again. Folds of a trial share its draw. In population based
    # training they change on the way: it goes on with those that trials have now.
    known = recorded_settings(sweep) if sweep.tune.scheduler == "pbt" else {}
    starts = [known[number] for number in sorted(known)] or list(sweep.warm)
    return BasicVariantGenerator(
        points_to_evaluate=[dict(settings) for settings in starts] or None,
        constant_grid_search=sweep.folds > 1,
        random_state=sweep.tune.search_seed,
        max_concurrent=concurrency,
    )


def _tpe(sweep: Sweep, concurrency: int) -> Any:
    """Optuna's TPE (Bergstra et al. 2011) through Ray Tune, told of all trials that there have been.

    Trials that have begun are asked for first, with the settings that they had: they report again what they reported
    before, and so bring Optuna to where it was.
    """
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    known = recorded_settings(sweep)
    storage = optuna.storages.InMemoryStorage()
    # Random draws must not begin anew with those that have been made.
    seed = int(np.random.SeedSequence([sweep.tune.search_seed, len(known)]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=concurrency > 1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name = "lvseg"
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    begun = [known[number] for number in sorted(known)]
    for settings in [*begun, *sweep.warm[len(begun) :]]:
        study.enqueue_trial({key: _encoded(sweep.space[key], value) for key, value in settings.items()})
    search: Searcher = OptunaSearch(
        lambda trial: _ask(sweep, trial),
        metric=OBJECTIVE,
        mode="max",
        sampler=sampler,
        storage=storage,
        study_name=name,
    )
    search = _Numbered(search, sorted(known))
    if sweep.folds > 1:
        search = Repeater(search, repeat=sweep.folds, set_index=True)
    return ConcurrencyLimiter(search, max_concurrent=concurrency)


def _ask(sweep: Sweep, trial: Any) -> dict[str, Any]:
    """Define-by-run: a conditional setting is asked for only where its condition holds.

    What Optuna records are encoded values; the trial's own settings stand beside them, under ``GRID``.
    """

    def pick(key: str, dimension: Dimension) -> Any:
        if dimension.kind in LISTED:
            return _decoded(dimension, trial.suggest_categorical(key, [_code(value) for value in dimension.values]))
        low, high = dimension.values[:2]
        if dimension.kind not in WHOLE:
            return trial.suggest_float(key, low, high, log=dimension.kind in LOGARITHMIC)
        step = dimension.values[2] if dimension.kind == "qrandint" else 1
        return trial.suggest_int(key, low, high, step=step, log=dimension.kind in LOGARITHMIC)

    return {GRID: choose(sweep.space, sweep.base, pick)}


def _code(value: Any) -> Any:
    """Optuna's categories are plain values."""
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value)


def _encoded(dimension: Dimension, value: Any) -> Any:
    return _code(value) if dimension.kind in LISTED else value


def _decoded(dimension: Dimension, code: Any) -> Any:
    return next(value for value in dimension.values if _code(value) == code)


class _Numbered(Searcher):  # type: ignore[misc]
    """Gives every trial its number: those that have begun keep theirs.

    Ray Tune saves a search by what it calls ``searcher``, and Optuna's cannot be pickled; it need not be.
    """

    def __init__(self, searcher: Searcher, begun: list[int]) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self._drawing = searcher
        self._begun = list(begun)
        self._next = begun[-1] + 1 if begun else 0

    def suggest(self, trial_id: str) -> Any:
        """The searcher's settings, and the trial's number."""
        settings = self._drawing.suggest(trial_id)
        if not isinstance(settings, dict):
            return settings
        number = self._begun.pop(0) if self._begun else self._next
        self._next = max(self._next, number + 1)
        return {GRID: settings[GRID], NUMBER: number}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Passed on."""
        self._drawing.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Passed on."""
        self._drawing.on_trial_complete(trial_id, result, error)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Everything is set."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders say where the search stands."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def schedule(sweep: Sweep) -> Any:
    """What ends trials early, or has them learn from each other."""
    settings = sweep.tune
    if settings.scheduler == "asha":
        return tune.schedulers.ASHAScheduler(
            time_attr=EPOCH,
            metric=OBJECTIVE,
            mode="max",
            max_t=sweep.most_epochs,
            grace_period=min(settings.rung_epochs, sweep.most_epochs),
            reduction_factor=settings.reduction_factor,
            # The last epoch ends a trial by itself; its result is then a whole training's.
            stop_last_trials=False,
        )
    if settings.scheduler == "median":
        return tune.schedulers.MedianStoppingRule(
            time_attr=EPOCH,
            metric=OBJECTIVE,
            mode="max",
            grace_period=settings.rung_epochs,
            min_samples_required=3,
        )
    if settings.scheduler == "pbt":
        return _pbt(sweep)
    return tune.schedulers.FIFOScheduler()


def _pbt(sweep: Sweep) -> Any:
    """Population based training (Jaderberg et al. 2017), all trials at the same epoch when they exchange."""

    def keep_in_range(config: dict[str, Any]) -> dict[str, Any]:
        return config | {key: _within(dimension, config[key]) for key, dimension in sweep.space.items()}

    mutations = {
        key: _domain(each) if each.kind not in LISTED else list(each.values) for key, each in sweep.space.items()
    }
    return tune.schedulers.PopulationBasedTraining(
        time_attr=EPOCH,
        metric=SCORE,  # of the weights that are copied
        mode="max",
        perturbation_interval=sweep.tune.rung_epochs,
        hyperparam_mutations=mutations,
        custom_explore_fn=keep_in_range,
        synch=True,
        log_config=False,
    )


def _within(dimension: Dimension, value: Any) -> Any:
    """A setting that was multiplied may have left its range."""
    if dimension.kind in LISTED:
        return value
    low, high = dimension.values[:2]
    value = min(max(value, low), high)
    if dimension.kind == "qrandint":
        step = dimension.values[2]
        return low + round((value - low) / step) * step
    return round(value) if dimension.kind in WHOLE else value


class Budget(tune.Stopper):  # type: ignore[misc]
    """Ends the sweep when its time is over, or a trial is good enough."""

    def __init__(self, sweep: Sweep) -> None:
        self._end = None if sweep.tune.max_hours is None else time.monotonic() + 3600 * sweep.tune.max_hours
        self._target = sweep.tune.target_dice
        self.reached = False
        """A trial has reached the target."""
        self.over = False
        """The time is over."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Look at a trial's score; no single trial is ended for it."""
        if self._target is not None and result.get(OBJECTIVE, 0.0) >= self._target:
            self.reached = True
        return False

    def stop_all(self) -> bool:
        """Whether the sweep ends."""
        self.over = self._end is not None and time.monotonic() >= self._end
        return self.reached or self.over
