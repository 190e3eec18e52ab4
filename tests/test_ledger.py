import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvseg.ledger import LEDGER_FOLDER, Evaluated, append, compact, latest, read, report
from lvseg.results import CaseCounts
from lvseg.store import UPath, list_folder, location
from tests.results import make_result
from tests.s3 import BUCKET, s3_server

ROOT = Path(__file__).parents[1]
PROCESSES, THREADS = 4, 50

WRITERS = """
import sys, threading
from lvseg.ledger import append
from lvseg.store import location
from tests.results import make_result

where, process, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
runs, result = location(where), make_result()
together = threading.Barrier(threads)

def write(number):
    together.wait()
    append(runs, f"run-{process}-{number:03d}", result=result)

all_of_them = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
print("ready", flush=True)
sys.stdin.readline()
for thread in all_of_them: thread.start()
for thread in all_of_them: thread.join()
"""


def scores(part: str = "test", **changes: object) -> Evaluated:
    content = {
        "part": part,
        "labels": "centre",
        "training_labels": "centre",
        "split": "patient",
        "records_sha256": "cd" * 32,
        "dice": 0.5,
        "dice_pooled": 0.6,
        "images": 4,
        "undefined": 1,
        "dice_by_case": {"X": 0.5},
        "counts_by_case": {"X": CaseCounts(images=3, intersection=1, predicted=2, labelled=2)},
        "command": "lvseg evaluate run records",
        "versions": {"lvseg": "0.2"},
        "finished_at": "2026-01-03T00:00:00Z",
    }
    return Evaluated(**(content | changes))  # type: ignore[arg-type]


def no_damage(line: str) -> None:
    raise AssertionError(line)


def let_200_write(where: str, environment: dict[str, str], runs: UPath) -> None:
    """Start all writers at the same moment; read and compact while they write; every row must be there at the end."""
    command = [sys.executable, "-c", WRITERS, where]
    writers = [
        subprocess.Popen(
            [*command, str(process), str(THREADS)],
            cwd=ROOT,
            env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for process in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    counts = [0]
    while any(writer.poll() is None for writer in writers):
        counts.append(len(read(runs, no_damage)))
        time.sleep(0.1)
        if len(counts) % 3 == 0:
            compact(runs)
    assert [writer.wait() for writer in writers] == [0] * PROCESSES
    assert counts == sorted(counts), "a row that was seen is seen again"
    compact(runs)
    rows = read(runs, no_damage)
    assert [row.run for row in sorted(rows, key=lambda row: row.run)] == [
        f"run-{process}-{number:03d}" for process in range(PROCESSES) for number in range(THREADS)
    ]
    assert all(row.result == make_result() for row in rows)


@pytest.mark.slow
def test_200_writers_of_several_processes_lose_no_row(tmp_path: Path) -> None:
    let_200_write(str(tmp_path), {}, tmp_path)


@pytest.mark.slow
def test_200_writers_to_an_object_store_lose_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        where = f"s3://{BUCKET}/runs"
        let_200_write(where, environment, location(where))
        assert len(list_folder(location(where) / LEDGER_FOLDER)) == 1


def test_a_row_reads_back_as_it_was_written(tmp_path: Path) -> None:
    one = append(tmp_path, "one", result=make_result(val_dice=float("nan")))
    two = append(tmp_path, "one", evaluation=scores(dice_by_case={"X": float("nan")}))
    assert repr(read(tmp_path, no_damage)) == repr([one, two])
    assert read(tmp_path / "elsewhere") == []


def test_what_is_reported_later_supersedes_by_run_and_by_what_was_scored(tmp_path: Path) -> None:
    append(tmp_path, "one", result=make_result(status="failed", error="out of memory"))
    other = append(tmp_path, "sweep/one", result=make_result())
    test = append(tmp_path, "one", evaluation=scores("test"))
    append(tmp_path, "one", evaluation=scores("train"))
    again = append(tmp_path, "one", result=make_result())
    train = append(tmp_path, "one", evaluation=scores("train", dice=0.4))
    assert latest(read(tmp_path)) == [other, test, again, train]


def test_compaction_keeps_the_latest_rows_in_one_file(tmp_path: Path) -> None:
    for epochs in (1, 2, 3):
        last = append(tmp_path, "one", result=make_result(epochs=epochs))
    other = append(tmp_path, "two", result=make_result())
    assert compact(tmp_path) == 4
    assert read(tmp_path, no_damage) == [last, other]
    assert len(list_folder(tmp_path / LEDGER_FOLDER)) == 1
    assert compact(tmp_path) == 0
    assert compact(tmp_path, lambda entry: entry.run == "two") == 1
    assert read(tmp_path, no_damage) == [other]
    assert compact(tmp_path, lambda _: False) == 1
    assert read(tmp_path) == []


def test_a_reader_meets_the_rows_of_files_that_were_compacted_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [append(tmp_path, f"run-{number}", result=make_result()) for number in range(3)]
    import lvseg.ledger as ledger

    read_files = ledger.read_files
    compacted: list[int] = []

    def slow(folder: UPath, names: list[str]) -> dict[str, bytes]:
        if not compacted:  # after the listing, before the files are read
            compacted.append(1)
            compact(tmp_path)
        return read_files(folder, names)

    monkeypatch.setattr(ledger, "read_files", slow)
    assert read(tmp_path, no_damage) == rows


def test_a_damaged_file_is_named_and_neither_stops_readers_nor_is_deleted(tmp_path: Path) -> None:
    good = append(tmp_path, "one", result=make_result())
    folder = tmp_path / LEDGER_FOLDER
    (folder / "1-a.jsonl").write_text('{"schema": 1')
    newer = json.loads((folder / f"{good.id}.jsonl").read_text()) | {"schema": 2}
    (folder / "2-b.jsonl").write_text(json.dumps(newer))
    (folder / ".3-c.jsonl.0badcafe.partial").write_text("half")
    damaged: list[str] = []
    assert read(tmp_path, damaged.append) == [good]
    assert [line.partition(": not a row: ")[0] for line in damaged] == [
        f"{LEDGER_FOLDER}/1-a.jsonl",
        f"{LEDGER_FOLDER}/2-b.jsonl",
    ]
    append(tmp_path, "two", result=make_result())
    compact(tmp_path)
    assert {"1-a.jsonl", "2-b.jsonl"} < set(list_folder(folder))


def test_a_run_is_reported_to_the_folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(tmp_path / "sweep" / "trial-1", "sweep", result=make_result("trial-1", sweep="sweep"))
    report(tmp_path / "one", None, result=make_result("one"))
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "two")
    report(Path(), None, result=make_result("two"))
    assert [row.run for row in read(tmp_path)] == ["sweep/trial-1", "one", "two"]


def test_no_job_ends_because_the_store_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / LEDGER_FOLDER).write_text("a file where the folder should be")
    report(tmp_path / "one", None, result=make_result("one"))
    assert "one: not entered into the leaderboard" in caplog.text
    assert read(tmp_path) == []
