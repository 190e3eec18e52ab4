"""Table and plots, as data."""

import dataclasses
from pathlib import Path

import pytest

from lvseg.dashboard.figures import METRICS, _dimension, draw_curves, draw_importance, draw_parallel
from lvseg.dashboard.table import SETTING, columns, rows
from lvseg.dashboard.trials import Reader, Section
from lvseg.report.curves import COLORS
from lvseg.results import EpochRow
from lvseg.store import location
from tests.dashboard.conftest import SweepFolders


def section_of(folders: SweepFolders) -> Section:
    return Reader(location(folders.runs), 1).look().sections[0]


def test_the_table_has_the_settings_that_differ(sweep: SweepFolders) -> None:
    section = section_of(sweep)
    fields = [column["field"] for column in columns(section)]
    assert [field for field in fields if field.startswith(SETTING)] == [
        f"{SETTING}optimizer",
        f"{SETTING}learning_rate",
    ]
    table = rows(section)
    assert [row["key"] for row in table] == [trial.key for trial in section.trials]
    assert table[0] | {"key": ""} == {
        "key": "",
        "rank": 1,
        "name": "trial-00000",
        "state": "finished",
        "dice": 0.9,
        "interval": "–",
        "epochs": 6,
        "planned_epochs": 6,
        "images_per_second": 41.5,
        f"{SETTING}optimizer": "adam",
        f"{SETTING}learning_rate": 1e-4,
        "pooled": pytest.approx(0.92),
        "best_epoch": 4,
        "ended": "2026-01-02 03:04",
        "error": None,
    }
    assert (table[8]["state"], table[8]["rank"], table[8]["epochs"]) == ("running", None, 2)
    assert (table[9]["state"], table[9]["error"]) == ("failed", "out of memory")
    place = fields.index("interval")
    assert fields[place + 1 : place + 4] == ["pooled", "best_epoch", "images_per_second"], "the reason lies over them"


def test_every_column_of_the_history_that_can_be_chosen_is_one() -> None:
    assert METRICS.keys() <= EpochRow.__dataclass_fields__.keys()


def test_curves_of_the_best_have_names_and_colours_the_others_are_one_trace(sweep: SweepFolders) -> None:
    section = section_of(sweep)
    figure = draw_curves(section, "val_dice")
    assert [trace.name for trace in figure.data] == ["4 more", *(f"trial-{n:05d}" for n in (4, 3, 2, 1, 0))]
    best = figure.data[-1]
    assert list(best.y) == [row.val_dice for row in section.trials[0].history]
    assert len({trace.line.color for trace in figure.data}) == 6
    others = figure.data[0]
    assert others.y.count(None) == 4, "a gap between two runs"
    assert set(others.customdata) == {f"trial-{n:05d}" for n in (5, 6, 7, 8)}


def test_failed_runs_have_names_and_colours_where_there_are_no_others(sweep: SweepFolders) -> None:
    section = section_of(sweep)
    failed = dataclasses.replace(section.of("failed")[0], history=section.trials[0].history)
    figure = draw_curves(dataclasses.replace(section, trials=(failed,)), "val_dice")
    assert [(trace.name, trace.line.color) for trace in figure.data] == [("trial-00009", COLORS[0])]


def test_a_selected_run_has_a_thick_curve_of_its_own(sweep: SweepFolders) -> None:
    figure = draw_curves(section_of(sweep), "val_loss", selected="rates/trial-00007")
    widths = {trace.name: trace.line.width for trace in figure.data}
    assert widths["trial-00007"] > widths["trial-00000"] > widths["3 more"]


def test_plots_follow_the_filter(sweep: SweepFolders) -> None:
    section = section_of(sweep)
    keys = ["rates/trial-00003", "rates/trial-00005"]
    assert [trace.name for trace in draw_curves(section, "val_dice", keys=keys).data] == ["trial-00005", "trial-00003"]
    (lines,) = draw_parallel(section, keys).data
    assert list(lines.dimensions[-1]["values"]) == pytest.approx([0.84, 0.8])


def test_parallel_axes_are_settings_and_dice(sweep: SweepFolders) -> None:
    (lines,) = draw_parallel(section_of(sweep)).data
    assert [axis.label for axis in lines.dimensions] == ["optimizer", "learning<br>rate", "Dice"]
    words, rate, dice = lines.dimensions
    assert (list(words.ticktext), list(words["values"][:2])) == (["adam", "sgd"], [0, 1])
    assert rate["values"][:3] == pytest.approx([-4, -3.5, -3]), "a logarithmic axis"
    assert list(dice["values"]) == list(lines.line.color)


@pytest.mark.parametrize(
    ("values", "places", "ticks"),
    [
        ([16, None, 64, 8], [1, 3, 2, 0], ["8", "16", "64", "absent"]),
        (
            ["dice", "cross-entropy", "dice+cross-entropy", "dice"],
            [1, 0, 2, 1],
            ["cross-entro…", "dice", "dice+cross-…"],
        ),
        ([1, 2, 4, 1], [1, 2, 4, 1], ["1", "2", "4"]),
        ([True, False, True, True], [1, 0, 1, 1], ["False", "True"]),
    ],
)
def test_an_axis_of_few_values_has_a_tick_for_each(values, places, ticks) -> None:
    axis = _dimension("setting", values)
    assert (axis["values"], axis["ticktext"]) == (places, ticks)
    assert len(axis["tickvals"]) == len(axis["ticktext"])


def test_a_number_that_some_of_many_runs_lack_is_below_the_axis() -> None:
    axis = _dimension("weight_decay", [10.0 ** (-number / 4) for number in range(20)] + [None])
    assert axis["values"][:2] == pytest.approx([0, -0.25])
    assert axis["values"][-1] == axis["tickvals"][0] == pytest.approx(-4.75 - 0.15 * 4.75)
    assert axis["ticktext"][0] == "absent"
    assert len(axis["ticktext"]) < 12


def test_words_that_begin_alike_stay_apart() -> None:
    axis = _dimension("schedule", ["a-very-long-beginning-1", "a-very-long-beginning-2"])
    assert len(set(axis["ticktext"])) == 2


def test_importance_follows_the_filter(sweep: SweepFolders) -> None:
    section = section_of(sweep)
    assert draw_importance(section, [trial.key for trial in section.ranked[:6]]).data
    assert draw_importance(section, [trial.key for trial in section.ranked[:5]]).data == ()


def test_importance_bars_stand_in_order(sweep: SweepFolders) -> None:
    figure = draw_importance(section_of(sweep))
    shares = {name: share for trace in figure.data for name, share in zip(trace.y, trace.x, strict=True)}
    assert shares.keys() == {"learning rate", "optimizer"}
    assert sum(shares.values()) == pytest.approx(1)
    assert list(figure.layout.yaxis.categoryarray) == sorted(shares, key=shares.__getitem__)


def test_too_few_runs_are_said(tmp_path: Path) -> None:
    folders = SweepFolders(tmp_path)
    folders.trial(0)
    section = section_of(folders)
    for figure in (draw_parallel(section), draw_importance(section), draw_curves(section, "val_dice", keys=[])):
        assert figure.data == ()
        assert figure.layout.annotations[0].text
