"""What every verb needs: the terminal, and checks of names and folders."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from lvseg.errors import ConfigError
from lvseg.ledger import LEDGER_FOLDER
from lvseg.store import UPath, is_local

INTERRUPTED = 130
_JOB_COPY = "runtime_resources/working_dir_files"


def open_console() -> Console:
    """A terminal that shows text as it is."""
    return Console(highlight=False, emoji=False, markup=False)


def checked_name(name: str) -> str:
    """The name of a run or a sweep, if it can be a folder's."""
    if name == LEDGER_FOLDER:
        raise ConfigError(f"name {name!r} is taken by the store of results; choose another name")
    if not name or name.startswith(".") or any(character in name for character in '/\\:*?"<>|\0'):
        raise ConfigError(f"name must be a plain folder name, got {name!r}")
    return name


def named_folder(runs: UPath, name: str | None, kind: str) -> UPath:
    """The folder of a run or a sweep; one without a name is called by its kind and the time.

    Raises:
        ConfigError: no name for a folder, or a folder that a submitted job would lose.
    """
    from lvseg.run_folder import default_name

    require_durable("runs", runs)
    return runs / checked_name(default_name(kind) if name is None else name)


def require_durable(field: str, folder: UPath) -> None:
    """In a submitted job the current folder is Ray's copy, thrown away after the job."""
    if is_local(folder) and not folder.is_absolute() and _JOB_COPY in Path.cwd().as_posix():
        raise ConfigError(
            f"{field} must be an absolute path in a submitted job, on storage that every node sees, got {folder}"
        )
