"""A line beside a study's files: why some are not there, or not what one might expect."""

from __future__ import annotations

from lvseg.config import OutputKind
from lvseg.store import UPath, remove_file, write_text

__all__ = ["clear_note", "write_note"]


def write_note(folder: UPath, kind: OutputKind, text: str) -> str:
    """Write ``note-KIND.txt``.

    Returns:
        Its name.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / _name(kind), text + "\n")
    return _name(kind)


def clear_note(folder: UPath, kind: OutputKind) -> None:
    """Remove what was noted when the files were written before."""
    remove_file(folder / _name(kind))


def _name(kind: OutputKind) -> str:
    return f"note-{kind}.txt"
