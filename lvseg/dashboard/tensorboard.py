"""TensorBoard over a folder of runs, wherever that is."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from lvseg.errors import ConfigError, RunError
from lvseg.results import TENSORBOARD_FOLDER
from lvseg.store import UPath, is_local

__all__ = ["copy_events", "serve_tensorboard"]

COPY_S = 15.0
"""Time between two looks into an object store."""


def serve_tensorboard(runs: UPath, host: str, port: int, say: Callable[[str], None]) -> None:
    """Run TensorBoard in this process until Ctrl-C; of an object store the events are copied, again and again.

    Raises:
        ConfigError: the address cannot be had.
        RunError: no such folder.
    """
    if not runs.is_dir():
        raise RunError(f"{runs}: no such folder; expected a folder of runs")
    with suppress(KeyboardInterrupt), _local_events(runs) as folder:
        url = _launch(folder, host, port)
        say(f"{url} shows {runs}; Ctrl-C ends it")
        threading.Event().wait()


def _launch(folder: Path, host: str, port: int) -> str:
    from tensorboard import default, program

    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(argv=["", "--logdir", str(folder), "--host", host, "--port", str(port), "--reload_interval", "5"])
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise ConfigError(f"host {host}, port {port}: {error}") from None


@contextmanager
def _local_events(runs: UPath) -> Iterator[Path]:
    if is_local(runs):
        yield Path(str(runs))
        return
    end = threading.Event()
    with tempfile.TemporaryDirectory(prefix="lvseg-tensorboard-") as name:
        folder = Path(name)
        copy_events(runs, folder)
        thread = threading.Thread(target=_copy_often, args=(runs, folder, end), daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            end.set()
            thread.join()


def _copy_often(runs: UPath, folder: Path, end: threading.Event) -> None:
    while not end.wait(COPY_S):
        with suppress(OSError):  # the store is away for a moment
            copy_events(runs, folder)


def copy_events(runs: UPath, folder: Path) -> int:
    """Copy what is new of all runs' events; a file that has grown gets its new end, since TensorBoard reads on in it.

    Returns:
        Bytes that were copied.

    Raises:
        OSError: the store cannot be read.
    """
    copied = 0
    for name, facts in runs.fs.find(runs.path, detail=True).items():
        path = PurePosixPath(name).relative_to(PurePosixPath(runs.path))
        if TENSORBOARD_FOLDER not in path.parts[:-1]:
            continue
        target = folder / path
        there = target.stat().st_size if target.exists() else 0
        if facts["size"] <= there:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            copied += file.write(runs.fs.cat_file(name, start=there))
    return copied
