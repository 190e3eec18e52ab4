"""A conversion that was killed, called again, ends with the bytes of one that was not."""

import dataclasses
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvseg.config import ConvertConfig
from lvseg.distributed.convert import convert
from lvseg.errors import RecordsError
from lvseg.store import UPath, location
from tests.s3 import BUCKET, s3_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONFIG = ConvertConfig(val_fraction=0.34, shard_images=2)
SETTINGS = ["--val-fraction", "0.34", "--shard-images", "2"]
PATIENCE_SECONDS = 240


def content(folder: UPath) -> dict[str, bytes]:
    """Every file below a folder."""
    found: dict[str, bytes] = {}
    for path in folder.iterdir():
        below = content(path) if path.is_dir() else {"": path.read_bytes()}
        found |= {f"{path.name}/{name}".rstrip("/"): data for name, data in below.items()}
    return found


def notes_in(records: UPath) -> int:
    try:
        return sum(path.name.endswith(".note") for path in (records / ".plan").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return 0


def kill_after(notes: int, source: Path, records: UPath, folder: str) -> None:
    """Start a conversion in a process of its own, with a Ray cluster of its own, and kill it among the record files."""
    command = [sys.executable, "-m", "lvseg.cli", "convert", str(source), str(records), *SETTINGS]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment | {"RAY_TMPDIR": folder, "PYTHONPATH": root},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and notes_in(records) < notes and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9, "it ended before it could be killed"
    assert notes_in(records) >= notes
    assert not (records / "manifest.json").exists()


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """A short path: Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def unbroken(cluster: None, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    records = tmp_path_factory.mktemp("unbroken")
    convert(phantom, records, CONFIG)
    return content(UPath(records))


def test_killed_on_disk(unbroken: dict[str, bytes], phantom: Path, tmp_path: Path, ray_folder: str) -> None:
    records = UPath(tmp_path / "records")
    kill_after(random.randint(1, 12), phantom, records, ray_folder)
    convert(phantom, records, CONFIG)
    assert content(records) == unbroken


def test_killed_on_an_object_store(
    unbroken: dict[str, bytes], phantom: Path, monkeypatch: pytest.MonkeyPatch, ray_folder: str
) -> None:
    with s3_server() as environment:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            kill_after(random.randint(1, 12), phantom, location(f"s3://{BUCKET}/records"), ray_folder)
        # The cluster of the other tests was started without these variables.
        account = {"key": environment["AWS_ACCESS_KEY_ID"], "secret": environment["AWS_SECRET_ACCESS_KEY"]}
        endpoint = environment["AWS_ENDPOINT_URL"]
        records = UPath(f"s3://{BUCKET}/records", **account, endpoint_url=endpoint, use_listings_cache=False)
        convert(phantom, records, CONFIG)
        assert content(records) == unbroken


class BrokenOffError(Exception):
    pass


def break_off(source: Path, records: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """End a conversion when all record files are written; returns their inodes."""

    def stop(*_: object) -> None:
        raise BrokenOffError

    with monkeypatch.context() as patch:
        patch.setattr("lvseg.distributed.convert.sum_up", stop)
        with pytest.raises(BrokenOffError):
            convert(source, records, CONFIG)
    return inodes(records)


def inodes(records: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in records.glob("*.parquet")}


def test_finished_files_stay_and_damaged_ones_are_written_again(
    unbroken: dict[str, bytes], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = break_off(phantom, tmp_path, monkeypatch)
    cut, unnoted, lost, *_ = sorted(before)
    (tmp_path / cut).write_bytes((tmp_path / cut).read_bytes()[:-100])
    (tmp_path / ".plan" / f"{unnoted}.note").unlink()
    (tmp_path / lost).unlink()
    (tmp_path / f".{cut}.0a1b2c3d.partial").write_bytes(b"half")
    convert(phantom, tmp_path, CONFIG)
    after = inodes(tmp_path)
    kept = before.keys() - {cut, unnoted, lost}
    assert kept
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after[unnoted] != before[unnoted]
    assert content(UPath(tmp_path)) == unbroken


def test_killed_between_manifest_and_clearing_up(
    unbroken: dict[str, bytes], phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = break_off(phantom, tmp_path, monkeypatch)
    (tmp_path / "manifest.json").write_bytes(unbroken["manifest.json"])
    convert(phantom, tmp_path, CONFIG)
    assert inodes(tmp_path) == before
    assert content(UPath(tmp_path)) == unbroken
    with pytest.raises(RecordsError, match="holds a record set already"):
        convert(phantom, tmp_path, CONFIG)


def test_a_changed_source_is_not_mixed_with_old_files(
    cluster: None, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, records = tmp_path / "source", tmp_path / "records"
    shutil.copytree(phantom, source)
    break_off(source, records, monkeypatch)
    contour = sorted(source.glob("contourfiles/*/i-contours/*.txt"))[0]
    points = contour.read_text().splitlines()
    contour.write_text("\n".join([points[1], points[0], *points[2:]]) + "\n")
    convert(source, records, CONFIG)
    convert(source, tmp_path / "fresh", CONFIG)
    assert content(UPath(records)) == content(UPath(tmp_path / "fresh"))


def test_other_settings_start_again(
    cluster: None, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records"
    break_off(phantom, records, monkeypatch)
    course = dataclasses.replace(CONFIG, labels="course", shard_images=5)
    convert(phantom, records, course)
    convert(phantom, tmp_path / "fresh", course)
    assert content(UPath(records)) == content(UPath(tmp_path / "fresh"))
