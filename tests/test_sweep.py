"""A sweep's folder, without Ray and without training."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from lvseg.config import TrainConfig, TuneConfig
from lvseg.errors import ConfigError, RunError
from lvseg.ledger import read
from lvseg.results import EpochRow, read_history
from lvseg.run_folder import fail_run, finish_run, open_run
from lvseg.space import Dimension
from lvseg.sweep import Sweep, close_early, final_result, open_sweep, recorded_settings, recorded_warm_start
from lvseg.sweep_cost import cost
from lvseg.training.context import LocalContext
from lvseg.training.state import Outcome, RunState
from lvseg.warm_start import warm_start
from tests.discs import write_records

RATE = {"learning_rate": Dimension(kind="loguniform", values=(1e-4, 1e-1))}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    write_records(tmp_path / "records", train=8, val=4)
    base = TrainConfig(epochs=6, precision="float32")
    return Sweep(
        folder=tmp_path / "runs" / "one", base=base, space=RATE, tune=TuneConfig(), records=tmp_path / "records"
    )


def changed(sweep: Sweep, folder: str = "one", base: dict[str, Any] | None = None, **tune: Any) -> Sweep:
    return dataclasses.replace(
        sweep,
        folder=sweep.folder.parent / folder,
        base=dataclasses.replace(sweep.base, **(base or {})),
        tune=dataclasses.replace(sweep.tune, **tune),
    )


def _row(epoch: int, rate: float, dice: float) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        learning_rate=rate,
        loss=0.1,
        accuracy=0.9,
        dice=0.9,
        val_loss=0.1,
        val_accuracy=0.9,
        val_dice=dice,
        val_dice_pooled=dice,
        images_per_second=20.0,
        seconds=1.5,
    )


def train(sweep: Sweep, number: int, rate: float, dice: list[float], *, ends: bool) -> None:
    """What a trial leaves that has come so far."""
    manifest = open_sweep(sweep)
    run = sweep.trial(sweep.folder / sweep.trial_name(number, None), manifest)
    run = dataclasses.replace(run, config=dataclasses.replace(sweep.base, learning_rate=rate))
    open_run(run)
    state, context = RunState(parameters=7), LocalContext(run.folder / "checkpoints")
    for epoch, value in enumerate(dice, start=1):
        row = _row(epoch, rate, value)
        improved = value > state.best_val_dice
        state.epoch = epoch
        state.history.append(dataclasses.asdict(row))
        if improved:
            state.best_epoch, state.best_val_dice, state.best_by_case = epoch, value, {"CASE-1": value}
        aside = Path(run.folder) / "aside"
        aside.mkdir(exist_ok=True)
        (aside / "model.weights.h5").write_text(f"weights of epoch {epoch}")
        (aside / "state.json").write_text(json.dumps(dataclasses.asdict(state)))
        context.report({"epoch": epoch, "improved": improved}, aside)
    if ends:
        finish_run(run, Outcome(state=state), context.best_checkpoint)


def test_a_trial_that_is_ended_early_is_as_good_as_its_best_epoch(sweep: Sweep) -> None:
    train(sweep, 3, 0.01, [0.5, 0.7, 0.6], ends=False)
    folder = sweep.folder / "trial-00003"
    run = sweep.trial(folder, open_sweep(sweep))
    result = close_early(run)
    assert result is not None
    assert result == final_result(folder)
    assert (result.status, result.epochs, result.best_epoch, result.val_dice) == ("stopped early", 3, 2, 0.7)
    assert (result.val_dice_by_case, result.parameters, result.seconds) == ({"CASE-1": 0.7}, 7, 4.5)
    assert result.config["learning_rate"] == 0.01
    assert (folder / "best.weights.h5").read_text() == "weights of epoch 2"
    assert [row.val_dice for row in read_history(folder)] == [0.5, 0.7, 0.6]
    assert [entry.run for entry in read(sweep.folder.parent)] == ["one/trial-00003"]
    assert open_run(dataclasses.replace(run, config=dataclasses.replace(sweep.base, learning_rate=0.01))) == result


def test_a_trial_that_is_ended_at_its_last_epoch_is_finished(sweep: Sweep) -> None:
    train(sweep, 0, 0.01, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ends=False)
    result = close_early(sweep.trial(sweep.folder / "trial-00000", open_sweep(sweep)))
    assert result is not None
    assert result.status == "finished"


def test_a_trial_without_an_epoch_has_no_result(sweep: Sweep) -> None:
    train(sweep, 0, 0.01, [], ends=False)
    assert close_early(sweep.trial(sweep.folder / "trial-00000", open_sweep(sweep))) is None


def test_a_failed_trial_is_not_final(sweep: Sweep) -> None:
    run = sweep.trial(sweep.folder / "trial-00000", open_sweep(sweep))
    fail_run(run, "no")
    assert final_result(run.folder) is None


def test_what_each_trial_varies_is_read_from_its_folder(sweep: Sweep) -> None:
    train(sweep, 0, 0.01, [0.1], ends=False)
    train(sweep, 2, 0.02, [0.1], ends=True)
    assert recorded_settings(sweep) == {0: {"learning_rate": 0.01}, 2: {"learning_rate": 0.02}}


def test_a_name_belongs_to_one_search_whose_budget_may_change(sweep: Sweep) -> None:
    open_sweep(sweep)
    for budget in ({"trials": 99}, {"concurrency": 2}, {"max_hours": 1.0}, {"target_dice": 0.9}):
        open_sweep(changed(sweep, **budget))
    open_sweep(changed(sweep, base={"workers": 0}))
    for other in ({"search": "tpe"}, {"search_seed": 3}, {"scheduler": "asha"}, {"base": {"epochs": 7}}):
        with pytest.raises(RunError, match="taken by another sweep"):
            open_sweep(changed(sweep, **other))


def test_a_warm_start_takes_the_best_comparable_runs_in_the_space(sweep: Sweep) -> None:
    for number, (rate, dice) in enumerate([(0.01, 0.5), (0.02, 0.8), (0.03, 0.7), (0.02, 0.8), (0.5, 0.99)]):
        train(sweep, number, rate, [dice], ends=True)
    after = changed(sweep, "two", warm_start=2)
    assert warm_start(after) == ({"learning_rate": 0.02}, {"learning_rate": 0.03})
    write_records(sweep.records.parent / "others", train=8, val=5)
    with pytest.raises(ConfigError, match="no finished run on these records"):
        warm_start(dataclasses.replace(after, records=sweep.records.parent / "others"))
    # What a sweep began with stays, whatever is trained meanwhile.
    open_sweep(dataclasses.replace(after, warm=warm_start(after)))
    assert recorded_warm_start(after.folder) == ({"learning_rate": 0.02}, {"learning_rate": 0.03})


def test_the_cost_is_told_beforehand(sweep: Sweep) -> None:
    asked = changed(sweep, trials=9, scheduler="asha", rung_epochs=1, reduction_factor=3, base={"epochs": 9})
    told = cost(asked)
    # 9 trials make 1 epoch, 3 go on to 3, 1 goes on to 9.
    assert (told.epochs, told.expected_epochs) == (81, 9 + 3 * 2 + 6)
    assert (told.images_per_epoch, told.images, told.images_per_second) == (8, 81 * 8, None)
    train(sweep, 0, 0.01, [0.5, 0.6], ends=True)
    assert cost(changed(sweep, "two")).images_per_second == 20.0


def test_a_cross_validation_is_a_run_for_each_fold(sweep: Sweep) -> None:
    folded = dataclasses.replace(sweep, space={}, base=dataclasses.replace(sweep.base, folds=3))
    assert (folded.trials, folded.draws) == (3, 1)
    assert folded.trial_name(0, 2) == "fold-2"
    assert dataclasses.replace(folded, space=RATE).trial_name(1, 0) == "trial-00001-fold-0"
    assert cost(folded).images_per_epoch == 8
