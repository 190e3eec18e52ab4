"""TensorBoard over a sweep: HParams of all trials, from a folder and from an object store."""

import json
import urllib.request
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from lvseg.cli import main
from lvseg.dashboard.tensorboard import _launch, copy_events
from lvseg.store import location

BEST = "metric/val_dice"


def write_trial(folder: Path, rate: float, dice: float) -> None:
    """The events that a run writes, without TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    writer = EventFileWriter(str(folder / "tensorboard"))
    settings = hparams.hparams_pb({"learning_rate": rate, "model": "fcn"})
    writer.add_event(Event(summary=settings, step=0, wall_time=1.0))
    scalar = Summary(value=[Summary.Value(tag=BEST, simple_value=dice)])
    writer.add_event(Event(summary=scalar, step=1, wall_time=2.0))
    writer.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number in range(3):
        write_trial(tmp_path / f"runs/sweep/trial-0000{number}", 10.0**-number, number / 10)
    (tmp_path / "runs/sweep/trial-00000/history.csv").write_text("not of TensorBoard")
    return tmp_path / "runs"


def post(url: str, content: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_hparams_show_the_whole_sweep(runs: Path) -> None:
    url = _launch(runs, "127.0.0.1", 0)
    assert url.startswith("http://127.0.0.1:")
    experiment = post(f"{url}data/plugin/hparams/experiment", {"experimentName": ""})
    infos = {info["name"]: info for info in experiment["hparamInfos"]}  # type: ignore[attr-defined]
    assert "learning_rate" in infos
    names = [info["name"] for info in experiment["metricInfos"]]  # type: ignore[attr-defined]
    assert any(name["tag"] == BEST for name in names)
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"hparam": "learning_rate"}, {"metric": names[0]}],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = post(f"{url}data/plugin/hparams/session_groups", asked)["sessionGroups"]
    assert sorted(group["hparams"]["learning_rate"] for group in groups) == [0.01, 0.1, 1.0]  # type: ignore[attr-defined]


def test_only_events_are_copied_and_only_what_is_new(runs: Path, tmp_path: Path) -> None:
    store = location("memory://lvseg-events")
    events = next((runs / "sweep/trial-00001/tensorboard").iterdir())
    away = store / "sweep/trial-00001/tensorboard" / events.name
    content = events.read_bytes()
    try:
        away.write_bytes(content[:40])
        (store / "sweep/trial-00001/history.csv").write_bytes(b"epoch")
        assert copy_events(store, tmp_path / "copy") == 40
        copy = tmp_path / "copy/sweep/trial-00001/tensorboard" / events.name
        assert [path for path in (tmp_path / "copy").rglob("*") if path.is_file()] == [copy]
        with copy.open("rb") as reader:
            reader.read()
            away.write_bytes(content)
            assert copy_events(store, tmp_path / "copy") == len(content) - 40
            assert reader.read() == content[40:], "who reads it already goes on in the same file"
        assert copy_events(store, tmp_path / "copy") == 0
    finally:
        store.fs.rm(store.path, recursive=True)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tensorboard", str(tmp_path / "none")]) == 1
    assert "none: no such folder; expected a folder of runs" in capsys.readouterr().err
