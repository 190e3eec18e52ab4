"""How far a run is, by its history."""

from pathlib import Path

from lvseg.errors import RunError
from lvseg.results import read_history
from lvseg.store import UPath


def epochs_done(folder: Path | UPath) -> int:
    """Epochs in the history; 0 while there is none."""
    try:
        return len(read_history(folder))
    except RunError:
        return 0
