"""The tables of sizes in ``cluster/README.md`` and ``docs/scale.md`` are calculations; here they are made again."""

import math
from pathlib import Path

import pytest

from lvseg.training.cache import SPARE
from lvseg.training.plan import MEMORY_SHARE

README = Path(__file__).parents[2] / "cluster/README.md"
SCALE = Path(__file__).parents[2] / "docs/scale.md"
PIXELS = 256 * 256
LABELLED, IMAGES = 18, 200
"""Images of a study: with a contour (Sunnybrook: 805 of 45 studies), and all (10 slices of 20 phases)."""
NODE_MEMORY, NODE_DISK = 10e9, 150e9
RATE, EPOCHS = 200, 30
"""Assumed: images/s of one GPU."""
IMAGE_BYTES = PIXELS * (2 + 1)
LATENCY_S, IMAGES_A_GPU = 20e-6, 4
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}

pytestmark = pytest.mark.deploy


def size(count: float) -> str:
    unit, scale = next(pair for pair in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if count >= pair[1])
    return f"{count / scale:.3g} {unit}"


def data_row(studies: int, shard_images: int) -> str:
    images = studies * LABELLED
    held = images * IMAGE_BYTES
    cells = (
        f"{studies:,}",
        size(studies * IMAGES * PIXELS * 2),
        f"{images:,}",
        size(held),
        f"{math.ceil(images / shard_images):,} of {shard_images:,}",
        f"{math.ceil(held / (MEMORY_SHARE * NODE_MEMORY)):,}",
        f"{math.ceil(held * SPARE / NODE_DISK):,}",
        f"{images * EPOCHS / RATE / 3600:,.3g}",
    )
    return f"| {' | '.join(cells)} |"


def all_reduce_s(gradient_bytes: float, gpus: int, link: float) -> float:
    """A ring: each GPU sends all but its own share twice, in 2 (N - 1) messages one after another."""
    return 2 * (gpus - 1) / gpus * gradient_bytes / link + 2 * (gpus - 1) * LATENCY_S


def reduce_row(name: str, parameters: int) -> str:
    step_s = IMAGES_A_GPU / RATE
    cells = [name, size(parameters * 4)]
    for gpus in (64, 1000):
        for link in LINKS.values():
            seconds = all_reduce_s(parameters * 4, gpus, link)
            cells.append(f"{1000 * seconds:.3g} ms, {step_s / (step_s + seconds):.0%}")
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize(
    ("studies", "shard_images"), [(45, 256), (1_000, 256), (10_000, 256), (100_000, 4096), (1_000_000, 4096)]
)
def test_what_data_of_a_size_needs(studies: int, shard_images: int) -> None:
    assert data_row(studies, shard_images) in README.read_text()


@pytest.mark.parametrize(
    ("model", "width", "parameters"),
    [("fcn", None, 1_857_848), ("unet", None, 1_409_154), ("unet", 64, 5_632_258)],
)
def test_what_the_gradients_need(model: str, width: int | None, parameters: int) -> None:
    from lvseg.config import TrainConfig
    from lvseg.models import build_model

    built = build_model(TrainConfig(model=model, unet_width=width), (64, 64))
    assert built.count_params() == parameters
    name = f"{model}, {width} channels" if width else model
    assert reduce_row(name, parameters) in SCALE.read_text()


def test_what_a_larger_batch_brings() -> None:
    step_s = 16 / RATE
    share = step_s / (step_s + all_reduce_s(1_409_154 * 4, 64, LINKS["10 Gbit/s"]))
    assert f"`unet` over 10 Gbit/s goes from 64%\n  to {share:.0%}." in SCALE.read_text()


@pytest.mark.parametrize("gpus", [64, 1000])
def test_what_the_store_must_deliver(gpus: int) -> None:
    assert f"{gpus:,} GPUs: {size(gpus * RATE * IMAGE_BYTES)}/s" in SCALE.read_text()


@pytest.mark.parametrize(("model", "parameters"), [("unet", 1_409_154), ("fcn", 1_857_848)])
def test_what_a_checkpoint_takes(model: str, parameters: int) -> None:
    assert f"{size(16 * parameters)} of `{model}`" in SCALE.read_text()


@pytest.mark.parametrize("images", [1_000, 18_000])
def test_what_a_sweeps_checkpoints_ask_of_the_store(images: int) -> None:
    rate = 1000 * 16 * 1_409_154 / (images / RATE)
    assert f"{size(rate)}/s on {images:,} images" in SCALE.read_text()
