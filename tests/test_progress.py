import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lvseg import progress as module
from lvseg.logs import epoch_line, make_line
from lvseg.progress import Reporter, _Printed, describe, make_progress, reporter, sweep_progress, watch_run
from lvseg.results import EpochRow, write_history
from lvseg.training.status import PROGRESS_NAME, RunProgress, read_progress, record_event, write_progress


def make_console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def make_row(epoch: int) -> EpochRow:
    names = [name for name in EpochRow.__dataclass_fields__ if name != "epoch"]
    return EpochRow(epoch=epoch, **dict.fromkeys(names, 0.25))


def test_without_a_terminal_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    console = make_console()
    progress = make_progress(console)
    now = 100.0
    monkeypatch.setattr(progress, "get_time", lambda: now)
    shown = Reporter("convert", console, progress, 4)
    for done in range(5):
        shown.update(done, 4, f"file {done}")
        now += 8
    assert text_of(console).splitlines() == [
        "convert: 0/4 file 0",
        "convert: 2/4 file 2",
        "convert: 4/4 file 4",
    ]


def test_the_end_is_printed_once() -> None:
    console = make_console()
    with reporter("convert", console, 2) as shown:
        for _ in range(3):
            shown.update(2, 2)
    assert text_of(console).split() == ["convert:", "2/2"]


def test_on_a_terminal_a_bar_is_drawn() -> None:
    console = make_console(terminal=True)
    with reporter("convert", console, 4) as shown:
        shown.update(4, 4, "done")
    assert "4/4" in text_of(console)
    assert "convert: 4/4" not in text_of(console)


def test_a_sweep_adds_up_its_trials() -> None:
    seen: list[tuple[float, float, str]] = []
    report = sweep_progress(8, lambda *state: seen.append(state))
    for trial, epoch, dice in [("trial-0", 1, 0.5), ("trial-1", 1, 0.7), ("trial-0", 2, float("nan"))]:
        report(trial, epoch, dice)
    assert [done for done, *_ in seen] == [1, 2, 3]
    assert seen[-1] == (3, 8, "trial-0 epoch 2, best val Dice 0.7000")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the watch reads, in a list to change them."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def lines_of(console: Console) -> list[str]:
    """What was printed, without the time before every line."""
    lines = [line.partition(" ") for line in text_of(console).splitlines()]
    assert all(time.endswith("Z") for time, _, _ in lines)
    return [line for _, _, line in lines]


def note(folder: Path, **values: Any) -> None:
    write_progress(folder, RunProgress(**{"phase": "training", "epochs": 9, "updated": str(values)} | values))


def test_a_run_is_watched_through_its_folder(tmp_path: Path) -> None:
    folder, console = tmp_path / "one", make_console()
    with watch_run(folder, 2, console):
        folder.mkdir()
        write_history(folder, [make_row(1), make_row(2)])
        note(folder, epochs_done=2, epoch=2, seconds_left=0.0)
        record_event(folder, "finished", 2, val_dice=0.25)
    first, last, finished = lines_of(console)
    assert first == 'lvseg progress run=one phase="starting workers"'
    assert finished == "lvseg event run=one kind=finished epoch=2 val_dice=0.25"
    assert last.startswith("lvseg epoch run=one epoch=2/2 loss=0.25 dice=0.25 ")


def test_where_no_bar_is_a_line_comes_every_quarter_minute(tmp_path: Path, clock: list[float]) -> None:
    console = make_console()
    watch = _Printed(tmp_path, 9, console, logged=False)
    for step in range(1, 5):
        clock[0] += 8
        note(tmp_path, epoch=1, step=step, steps=4, loss=step / 8, seconds_left=3725.2)
        watch.look()
    clock[0] += 14
    write_history(tmp_path, [make_row(1)])
    note(tmp_path, epochs_done=1, epoch=1)
    watch.look()
    clock[0] += 1
    watch.look()
    watch.look(ended=True)
    assert lines_of(console)[1:] == [
        f"lvseg progress run={tmp_path.name} phase=training epoch=1/9 step=2/4 loss=0.25 eta=1:02:05",
        f"lvseg progress run={tmp_path.name} phase=training epoch=1/9 step=4/4 loss=0.5 eta=1:02:05",
        epoch_line(tmp_path.name, make_row(1), 9),
    ]


def test_every_event_is_printed_once_and_at_once(tmp_path: Path, clock: list[float]) -> None:
    record_event(tmp_path, "start", 0)
    console = make_console()
    watch = _Printed(tmp_path, 9, console, logged=False)
    record_event(tmp_path, "resume", 1)
    watch.look()
    record_event(tmp_path, "rollback", 3, text="loss is not finite")
    watch.look()
    watch.look(ended=True)
    assert lines_of(console)[1:] == [
        f"lvseg event run={tmp_path.name} kind=resume epoch=1",
        f'lvseg event run={tmp_path.name} kind=rollback epoch=3 text="loss is not finite"',
    ]


def test_what_is_logged_is_not_said_twice(tmp_path: Path) -> None:
    console = make_console()
    with watch_run(tmp_path, 9, console, logged=True):
        record_event(tmp_path, "rollback", 3)
        write_history(tmp_path, [make_row(1)])
        note(tmp_path, epochs_done=1, epoch=1)
    assert [line for line in lines_of(console) if "kind=rollback" in line] == [
        f"lvseg event run={tmp_path.name} kind=rollback epoch=3"
    ]
    assert not any(line.startswith("lvseg epoch") for line in lines_of(console))


def test_on_a_terminal_a_run_has_a_bar_and_only_the_events_that_nothing_else_tells(tmp_path: Path) -> None:
    console = make_console(terminal=True)
    with watch_run(tmp_path, 9, console):
        record_event(tmp_path, "start", 0)
        record_event(tmp_path, "rollback", 3)
        note(tmp_path, epochs_done=3, epoch=4, step=2, steps=4, loss=0.5, val_dice=0.75, seconds_left=61.0)
    text = text_of(console)
    assert "ETA 0:01:01" in text
    assert "step 2/4  loss 0.5000  val Dice 0.7500" in text
    assert "3/9" in text
    assert "kind=rollback" in text
    assert "kind=start" not in text
    assert "lvseg progress" not in text


def test_what_an_earlier_start_left_is_not_shown(tmp_path: Path, clock: list[float]) -> None:
    write_history(tmp_path, [make_row(1), make_row(2)])
    note(tmp_path, epochs_done=2, epoch=3, step=1, steps=4)
    console = make_console()
    watch = _Printed(tmp_path, 9, console, logged=False)
    clock[0] += 60
    watch.look()
    assert len(lines_of(console)) == 1
    note(tmp_path, phase="loading images")
    watch.look()
    note(tmp_path, phase="compiling", epochs_done=1, epoch=2)
    watch.look()
    assert lines_of(console)[1:] == [f'lvseg progress run={tmp_path.name} phase="loading images" eta=?']
    note(tmp_path, epochs_done=2, epoch=2)
    watch.look(ended=True)
    assert lines_of(console)[2].startswith(f"lvseg epoch run={tmp_path.name} epoch=2/9"), "done again"


@pytest.mark.parametrize(
    ("values", "completed", "text"),
    [
        ({"phase": "loading images"}, 0, "loading images"),
        ({"epoch": 1, "step": 3, "steps": 4, "loss": 0.5, "dice": 0.25}, 0.75, "step 3/4  loss 0.5000  Dice 0.2500"),
        ({"epochs_done": 1, "epoch": 2, "step": 2, "steps": 4, "val_dice": 0.5}, 1.5, "step 2/4  val Dice 0.5000"),
        ({"phase": "validating", "epochs_done": 1, "epoch": 2, "step": 4, "steps": 4}, 1.99, "validating"),
        ({"phase": "done", "epochs_done": 2, "epoch": 2, "images_per_second": 41.234}, 2, "41.2 images/s"),
    ],
)
def test_how_far_a_run_is(tmp_path: Path, values: dict[str, Any], completed: float, text: str) -> None:
    note(tmp_path, **values)
    progress = read_progress(tmp_path)
    assert progress is not None
    assert progress.completed == pytest.approx(completed)
    assert describe(progress) == text


@pytest.mark.parametrize("content", ["{gar", "[]", '{"epoch": 1}', "null"])
def test_progress_that_is_none_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / PROGRESS_NAME).write_text(content)
    assert read_progress(tmp_path) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.042137, "0.04214"),
        (1e-7, "1e-07"),
        (float("nan"), "nan"),
        ("3/30", "3/30"),
        ('a "b"', r'"a \"b\""'),
        ("", '""'),
    ],
)
def test_a_value_in_a_line_has_no_blank_without_quotes(value: object, text: str) -> None:
    assert make_line("event", run="one", x=value, nothing=None) == f"lvseg event run=one x={text}"
