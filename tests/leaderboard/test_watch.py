import io
from pathlib import Path

from rich.console import Console

from lvseg.leaderboard import View
from lvseg.leaderboard.watch import NOTHING_YET, watch
from lvseg.training.status import RunProgress, write_progress
from tests.results import make_result


def follow(runs: Path, changes: list, terminal: bool = False, interval: float = 5.0) -> str:
    """Watch while things happen, one at every pause, until Ctrl-C."""
    console = Console(file=io.StringIO(), width=80, height=20, force_terminal=terminal, color_system=None)
    waiting = iter(changes)

    def pause(seconds: float) -> None:
        assert seconds == interval
        change = next(waiting, None)
        if change is None:
            raise KeyboardInterrupt
        change()

    watch(runs, View(), console, interval, pause=pause)
    return console.file.getvalue()


def test_without_a_terminal_a_table_is_printed_when_it_has_changed(tmp_path: Path) -> None:
    runs = tmp_path / "sweep"
    trial = runs / "trial-1"

    def start() -> None:
        trial.mkdir(parents=True)
        (trial / "run.json").write_text("{}")
        write_progress(trial, RunProgress(phase="training", epochs=12, epochs_done=3, best_val_dice=0.5))

    text = follow(runs, [lambda: None, start, lambda: None, lambda: make_result("trial-1").write(trial), lambda: None])
    assert text.count(NOTHING_YET) == 1
    assert text.count("trial-1: 3 of 12 epochs, best val Dice 0.5000") == 1
    assert text.count("Records abababab") == text.count("0.8000") == 1
    assert text.index(NOTHING_YET) < text.index("3 of 12") < text.index("Records")


def test_on_a_terminal_the_table_is_drawn_in_place_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    make_result("one").write(tmp_path / "one")
    text = follow(tmp_path, [lambda: None, lambda: make_result("two", val_dice=0.85).write(tmp_path / "two")], True)
    assert "0.8000" in text
    assert "0.8500" in text
    assert text.endswith("\x1b[?25h"), "the cursor is shown again"
