import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lvseg.progress import Reporter, make_progress, reporter, sweep_progress, watch_run
from lvseg.results import EpochRow, write_history


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


@pytest.mark.parametrize(
    ("rows", "note", "expected"),
    [
        (2, None, "one: 2/2 loss 0.2500  val Dice 0.2500  0.2 images/s"),
        (2, {"epoch": 2, "step": 0, "steps": 0, "loss": 0.25, "epochs": 2}, "one: 2/2 loss 0.2500"),
    ],
)
def test_a_run_is_watched_through_its_folder(
    tmp_path: Path, rows: int, note: dict[str, float] | None, expected: str
) -> None:
    folder, console = tmp_path / "one", make_console()
    with watch_run(folder, 2, console):
        folder.mkdir()
        write_history(folder, [make_row(epoch + 1) for epoch in range(rows)])
        if note:
            (folder / "progress.json").write_text(json.dumps(note))
    lines = text_of(console).splitlines()
    assert lines[0] == "one: 0/2 starting workers"
    assert lines[-1].startswith(expected)


@pytest.mark.parametrize(
    ("rows", "note", "expected"),
    [
        (0, None, None),
        (0, {"epoch": 1, "step": 3, "steps": 4, "loss": 0.5}, (0.75, "loss 0.5000")),
        (1, {"epoch": 2, "step": 2, "steps": 4, "loss": 0.5}, (1.5, "loss 0.2500")),
        (1, {"epoch": 2, "step": 4, "steps": 4, "loss": 0.5}, (1.99, "loss 0.2500")),
        (2, {"epoch": 2, "step": 4, "steps": 4, "loss": 0.5}, (2.0, "loss 0.2500")),
        (0, "garbled", None),
    ],
)
def test_how_far_a_run_is(tmp_path: Path, rows: int, note: object, expected: tuple[float, str] | None) -> None:
    from lvseg.progress import _state

    if rows:
        write_history(tmp_path, [make_row(epoch + 1) for epoch in range(rows)])
    if note is not None:
        (tmp_path / "progress.json").write_text("{gar" if note == "garbled" else json.dumps(note))
    state = _state(tmp_path)
    if expected is None:
        assert state is None
    else:
        assert state is not None
        assert state[0] == expected[0]
        assert state[1].startswith(expected[1])
