"""What each step of the U-Net's design is worth: training speed as a ratio to a plain U-Net with batch normalisation.

``python -m benchmarks.models`` makes one training step of every net in turn, several rounds; forward, backward and
Adam, on noise. ``--clock cpu`` takes the processor's time instead of the wall's: with one thread that is the figure to
trust on a machine that has other work to do. CPU only; what the nets are is described in ``docs/models.md``.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import TrainConfig
from lvseg.errors import LvsegError
from lvseg.quiet import import_keras

if TYPE_CHECKING:
    import keras

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
WIDTHS = (16, 32, 64, 128, 256)
WARM_UP = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    nets: tuple[str, ...] = ()
    """Which, by the names in the table; default: all. The first is what the others are compared with."""
    size: int = 256
    """Rows and columns."""
    batch_size: int = 4
    """Images in a step."""
    threads: int = os.cpu_count() or 1
    """TensorFlow's."""
    rounds: int = 5
    """Steps of each net, in turn."""
    clock: Literal["wall", "cpu"] = "wall"
    """Whose seconds."""
    onednn: bool = True
    """TensorFlow's oneDNN kernels; without AVX-512 they are off unless TF_ENABLE_ONEDNN_OPTS=1 is set."""
    xla: bool = False
    """Compile the step with XLA."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of all nets but the yardsticks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """A plain U-Net, and what leads from it to lvseg's, a step at a time."""

    widths: tuple[int, ...] = WIDTHS
    batch_norm: bool = False
    sums: bool = False
    """Skip connections are added, not concatenated."""
    stem: bool = False
    """The first convolution halves the image."""
    nearest: bool = False
    """1×1 convolution and nearest neighbour on the way up, not a transposed convolution."""
    decoder_convolutions: int = 2


YARDSTICKS = {
    "plain, batch norm": Yardstick(batch_norm=True),
    "plain": Yardstick(),
    "+ sums": Yardstick(sums=True),
    "+ stem": Yardstick(sums=True, stem=True, widths=WIDTHS[1:]),
    "+ nearest": Yardstick(sums=True, stem=True, widths=WIDTHS[1:], nearest=True),
}
MODELS = {
    "unet": {"model": "unet"},
    "unet, residual": {"model": "unet", "unet_residual": True},
    "unet, attention": {"model": "unet", "unet_attention": True},
    "unet, instance norm": {"model": "unet", "norm": "instance"},
    "unet, group norm": {"model": "unet", "norm": "group"},
    "unet-light": {"model": "unet-light"},
    "fcn": {"model": "fcn"},
}
"""One convolution a level on the way up is what turns the last yardstick into ``unet``."""


def plain_unet(design: Yardstick, side: int) -> keras.Model:
    import keras

    layers = keras.layers

    def convolutions(x: keras.KerasTensor, width: int, count: int) -> keras.KerasTensor:
        for _ in range(count):
            x = convolution(x, width, 3)
        return x

    def convolution(x: keras.KerasTensor, width: int, kernel: int, strides: int = 1) -> keras.KerasTensor:
        x = layers.Conv2D(width, kernel, strides=strides, padding="same", use_bias=not design.batch_norm)(x)
        return layers.ReLU()(layers.BatchNormalization()(x) if design.batch_norm else x)

    x = inputs = keras.Input((side, side, 1))
    skips = []
    for level, width in enumerate(design.widths):
        shrinks = design.stem and level == 0
        x = convolution(x, width, 4, strides=2) if shrinks else layers.MaxPooling2D(2)(x) if level else x
        x = convolutions(x, width, 1 if shrinks else 2)
        skips.append(x)
    for skip in skips[-2::-1]:
        width = skip.shape[-1]
        if design.nearest:
            x = layers.UpSampling2D(2)(layers.Conv2D(width, 1)(x))
        else:
            x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = layers.Add()([skip, x]) if design.sums else layers.Concatenate()([skip, x])
        x = convolutions(x, width, design.decoder_convolutions)
    logits = layers.Conv2DTranspose(2, 2, strides=2)(x) if design.stem else layers.Conv2D(2, 1)(x)
    return keras.Model(inputs, logits)


def build(name: str, benchmark: Benchmark) -> keras.Model:
    from lvseg.models import build_model

    if name in YARDSTICKS:
        return plain_unet(YARDSTICKS[name], benchmark.size)
    config = TrainConfig(**MODELS[name], precision=benchmark.precision)
    return build_model(config, (benchmark.size, benchmark.size))


def make_step(model: keras.Model, benchmark: Benchmark) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    images = tf.random.normal((benchmark.batch_size, benchmark.size, benchmark.size, 1))
    labels = tf.cast(images[..., 0] > 1, tf.int32)
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=benchmark.xla)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
            loss = tf.reduce_mean(entropy)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return lambda: float(step())


def measure(steps: dict[str, Callable[[], float]], benchmark: Benchmark) -> dict[str, list[float]]:
    """Seconds of every step, by net."""
    now = CLOCKS[benchmark.clock]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + benchmark.rounds):
        for name, step in steps.items():
            started = now()
            step()
            if number >= WARM_UP:
                seconds[name].append(now() - started)
    return seconds


def table_of(benchmark: Benchmark, models: dict[str, keras.Model], seconds: dict[str, list[float]]) -> Table:
    from lvseg.models.cost import count_flops

    table = Table(title=f"Training step, batch {benchmark.batch_size}, {benchmark.size}x{benchmark.size}")
    table.add_column("net", no_wrap=True)
    for heading in ("parameters", "GFLOP", f"images/s ({benchmark.clock})", "ratio", "range"):
        table.add_column(heading, justify="right", no_wrap=True)
    first = next(iter(seconds.values()))
    for name, model in models.items():
        ratios = [mine / other for mine, other in zip(first, seconds[name], strict=True)]
        table.add_row(
            name,
            f"{model.count_params():,}",
            f"{count_flops(model) / 1e9:.2f}",
            f"{benchmark.batch_size / statistics.median(seconds[name]):.1f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
        )
    kernels = f"oneDNN {'on' if benchmark.onednn else 'off'}, XLA {'on' if benchmark.xla else 'off'}"
    table.caption = (
        f"{benchmark.precision}, {benchmark.threads} thread(s), {kernels}; median of {benchmark.rounds} rounds"
    )
    return table


def main(args: Sequence[str] | None = None) -> int:
    console = Console(highlight=False, emoji=False, markup=False)
    try:
        benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
        os.environ.update(CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS=str(int(benchmark.onednn)))
        import_keras()
        import tensorflow as tf

        from lvseg.training.loop import configure_threads

        tf.get_logger().setLevel("ERROR")  # one step function for each net is meant

        configure_threads(benchmark.threads)
        models = {name: build(name, benchmark) for name in benchmark.nets or (*YARDSTICKS, *MODELS)}
        steps = {name: make_step(model, benchmark) for name, model in models.items()}
        console.print(table_of(benchmark, models, measure(steps, benchmark)))
    except LvsegError as error:
        print(f"models: error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
