"""Kill a conversion at random moments, call it again, compare the records byte by byte.

``python -m benchmarks.convert_kills`` makes a phantom, converts it once without disturbance, and then, on disk and
on an S3 server on loopback (moto's), starts the same conversion, kills its process with SIGKILL at a moment drawn
evenly from its first write to its end, at once starts it again, and compares every file.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import tyro
from rich.console import Console
from rich.table import Table

from lvseg.phantom import write_phantom
from lvseg.store import UPath, location, remove_tree
from tests.s3 import BUCKET, s3_server

ROOT = Path(__file__).parents[1]
SHARD_IMAGES = 2
NOTHING = "nothing"
LEFT_SECONDS = 15.0
"""Time in which the processes of a killed conversion's private cluster must have ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kills:
    """What is tried."""

    tries: int = 10
    """Kills on each store."""
    patients: int = 8
    """Patients of the phantom; about 13 images each."""
    seed: int = 0
    """Seed of the moments."""
    stores: tuple[Literal["disk", "s3"], ...] = ("disk", "s3")
    """Where to."""


def start(source: Path, records: UPath, folder: str) -> subprocess.Popen[bytes]:
    """Start a conversion in a process of its own with a private Ray cluster."""
    command = [sys.executable, "-m", "lvseg.cli", "convert", str(source), str(records)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.Popen(
        [*command, "--shard-images", str(SHARD_IMAGES)],
        cwd=ROOT,
        # Where other work keeps the machine busy, Ray may take long to start.
        env=environment | {"RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": "300"},
        stdout=subprocess.DEVNULL,
    )


def hashes(folder: UPath) -> dict[str, str]:
    """Hash of every file below a folder."""
    found: dict[str, str] = {}
    for path in folder.iterdir():
        if path.is_dir():
            found |= {f"{path.name}/{name}": value for name, value in hashes(path).items()}
        else:
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def state(records: UPath) -> str:
    """How far a conversion came."""
    try:
        names = [path.name for path in records.iterdir()]
        notes = sum(path.name.endswith(".note") for path in (records / ".plan").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    return f"{notes} files done" + (", manifest" if "manifest.json" in names else "")


def workers_left(children: list[psutil.Process]) -> int:
    """Processes of the killed conversion that could still write after ``LEFT_SECONDS``: all but Ray's own agents."""
    _, alive = psutil.wait_procs(children, timeout=LEFT_SECONDS)
    left = 0
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            left += child.status() != psutil.STATUS_ZOMBIE and "Agent" not in " ".join(child.cmdline())
    return left


def first_write(process: subprocess.Popen[bytes], records: UPath) -> None:
    """Wait until a conversion has written something."""
    while process.poll() is None and state(records) == NOTHING:
        time.sleep(0.02)


def kill_and_repeat(source: Path, records: UPath, moment: float) -> tuple[str, float, int]:
    """Returns how far it was, the seconds of the second call, and the workers that the first left behind.

    A conversion that has ended before it could be killed is made again.
    """
    with ray_folder() as folder:
        process = start(source, records, folder)
        first_write(process, records)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        reached = state(records)
    if reached == NOTHING:
        remove_tree(records)
        return kill_and_repeat(source, records, 0.9 * moment)
    with ray_folder() as folder:
        before = time.monotonic()
        if (status := start(source, records, folder).wait()) != 0:
            raise SystemExit(f"the second call failed with {status}")
        seconds = time.monotonic() - before
    return reached, seconds, workers_left(children)


@contextmanager
def ray_folder() -> Iterator[str]:
    """Folder for a private cluster; short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as folder:
        yield folder


def main(kills: Kills) -> int:
    """Run all tries; returns 1 when any record set differs."""
    console = Console()
    table = Table("store", "try", "killed after s", "it had", "second call s", "workers left", "same bytes")
    generator = random.Random(kills.seed)
    failed = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lvseg-kills-")))
        os.environ.update(stack.enter_context(s3_server()))
        source = folder / "source"
        write_phantom(source, patients=kills.patients, size=96, labelled_only=True)
        for store in kills.stores:
            root = location(folder if store == "disk" else f"s3://{BUCKET}")
            with ray_folder() as ray:
                process = start(source, root / "unbroken", ray)
                first_write(process, root / "unbroken")
                before = time.monotonic()
                if process.wait():
                    raise SystemExit("the undisturbed conversion failed")
            undisturbed, expected = time.monotonic() - before, hashes(root / "unbroken")
            console.print(f"{store}: undisturbed {undisturbed:.1f} s from first write to end, {len(expected)} files")
            for number in range(1, kills.tries + 1):
                moment = generator.random() * undisturbed
                reached, seconds, left = kill_and_repeat(source, root / f"try-{number}", moment)
                same = hashes(root / f"try-{number}") == expected
                failed += not same
                row = [
                    store,
                    str(number),
                    f"{moment:.1f}",
                    reached,
                    f"{seconds:.1f}",
                    str(left),
                    "yes" if same else "NO",
                ]
                table.add_row(*row)
                console.print(*row, sep="  ")
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Kills)))
