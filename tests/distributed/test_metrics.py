"""What Prometheus finds on Ray's metrics endpoint while a run trains, and after."""

import time
import urllib.request
from collections.abc import Callable, Mapping

import pytest
import ray

from lvseg.distributed import metrics as module
from lvseg.distributed.metrics import GAUGES, RunGauges
from lvseg.training.status import RunProgress

DEADLINE_S = 120
PROGRESS = RunProgress(
    phase="training",
    epochs=30,
    epochs_done=4,
    epoch=5,
    step=15,
    steps=60,
    loss=0.125,
    dice=0.75,
    val_dice=0.5,
    best_val_dice=0.625,
    images_per_second=24.5,
)
EXPECTED = {
    "ray_lvseg_train_loss": 0.125,
    "ray_lvseg_train_dice": 0.75,
    "ray_lvseg_val_dice": 0.5,
    "ray_lvseg_best_val_dice": 0.625,
    "ray_lvseg_epochs_done": 4.25,
    "ray_lvseg_epochs": 30.0,
    "ray_lvseg_images_per_second": 24.5,
}


class FakeGauge:
    said: list[tuple[str, float, Mapping[str, str]]]

    def __init__(self, name: str, about: str, tag_keys: tuple[str, ...]) -> None:
        self.name = name
        assert about
        assert tag_keys == ("run",)

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        FakeGauge.said.append((self.name, value, tags))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, Mapping[str, str]]]:
    monkeypatch.setattr(module, "Gauge", FakeGauge)
    FakeGauge.said = []
    return FakeGauge.said


def test_numbers_that_are_not_known_are_not_said(said: list) -> None:
    gauges = RunGauges("sweep/trial-00001", repeat_s=1000)
    gauges.heard(RunProgress(phase="compiling", epochs=3, loss=float("nan")))
    gauges.close(done=False)
    label = {"run": "sweep/trial-00001"}
    assert said == [("lvseg_epochs_done", 0.0, label), ("lvseg_epochs", 3.0, label)]


def test_the_label_is_bounded_and_the_end_is_the_end(said: list) -> None:
    gauges = RunGauges("x" * 1000, repeat_s=0.01)
    gauges.heard(PROGRESS)
    gauges.close(done=True)
    count = len(said)
    assert all(len(tags["run"]) <= 128 for _, _, tags in said)
    time.sleep(0.05)
    assert len(said) - count <= len(GAUGES), "a turn that had begun"


@ray.remote(num_cpus=0)
class Trainer:
    """Stands for rank 0."""

    def __init__(self) -> None:
        self._gauges = RunGauges("sweep/trial-00001")
        self._gauges.heard(PROGRESS)

    def end(self) -> None:
        self._gauges.close(done=True)


def scrape() -> dict[str, tuple[float, str]]:
    """Gauge → (value, labels), of lvseg's own."""
    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    found = [line.partition("{") for line in lines if line.startswith("ray_lvseg_")]
    parts = [(name, *rest.rpartition("} ")) for name, _, rest in found]
    return {name: (float(value), labels) for name, labels, _, value in parts}


def wait_for(ready: Callable[[dict[str, tuple[float, str]]], bool]) -> dict[str, tuple[float, str]]:
    end = time.monotonic() + DEADLINE_S
    while not ready(found := scrape()):
        assert time.monotonic() < end, found
        time.sleep(1)
    return found


@pytest.mark.ray
def test_a_run_is_on_the_endpoint_as_long_as_it_trains(cluster: None) -> None:
    trainer = Trainer.remote()
    found = wait_for(lambda found: found.keys() == EXPECTED.keys())
    assert {name: value for name, (value, _) in found.items()} == EXPECTED
    assert all('run="sweep/trial-00001"' in labels for _, labels in found.values())
    ray.get(trainer.end.remote())
    assert wait_for(lambda found: not found) == {}
    ray.kill(trainer)
