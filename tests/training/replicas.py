"""Run by ``test_replicas.py`` in a process of its own: the same steps on one replica and on two.

TensorFlow's devices can be divided only before it starts. Prints JSON: case → replicas → numbers.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.training.ema import WeightAverage
from lvseg.training.optimizers import apply_gradients, make_optimizer
from lvseg.training.schedules import make_schedule

CASES = {
    "adam": TrainConfig(optimizer="adam", weight_decay=0.1, clip_norm=0.5, learning_rate=0.1),
    "adam float16": TrainConfig(precision="float16", clip_norm=0.5, learning_rate=0.1),
    "sgd float16": TrainConfig(optimizer="sgd", precision="float16", weight_decay=0.1, learning_rate=0.1),
}
STEPS, BROKEN_STEP = 5, 2
"""In the broken step one image, and so one replica alone, has a gradient that is not finite."""


def run(config: TrainConfig, strategy: tf.distribute.Strategy) -> dict[str, list[float]]:
    """Fit a line to four points, in one call of a loop over ``strategy.run``; returns the state afterwards."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(STEPS, 4, 3)).astype("float32"), random.normal(size=(STEPS, 4)).astype("float32")
    if config.precision == "float16":
        x[BROKEN_STEP, 3] = np.inf
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        kernel = keras.Variable(np.full((3, 1), 2, "float32"), name="kernel")
        variables = [kernel, keras.Variable(np.ones(1, "float32"), name="bias")]
        schedule = make_schedule(config, STEPS)
        optimizer = make_optimizer(config, schedule)
        optimizer.build(variables)
        average = WeightAverage(variables, 0.9)

    def step(x: tf.Tensor, y: tf.Tensor) -> None:
        own = tf.distribute.get_replica_context().replica_id_in_sync_group * (4 // replicas)
        x, y = (tf.slice(t, [own] + [0] * (len(t.shape) - 1), [4 // replicas, *t.shape[1:]]) for t in (x, y))
        with tf.GradientTape() as tape:
            error = (x @ variables[0].value)[:, 0] + variables[1].value - y
            loss = optimizer.scale_loss(tf.reduce_sum(error**2) / 4)
        apply_gradients(optimizer, tape.gradient(loss, [v.value for v in variables]), variables, config)

    @tf.function
    def steps() -> None:
        for i in tf.range(STEPS):
            strategy.run(step, args=(tf.constant(x)[i], tf.constant(y)[i]))
            average.update(i)

    steps()
    state = {v.name: v.numpy().ravel().tolist() for v in [*variables, *optimizer.variables]}
    for name, variable in zip(("kernel", "bias"), average.variables, strict=True):
        for copy in strategy.experimental_local_results(variable):
            state.setdefault(f"average of {name}", copy.numpy().ravel().tolist())
            assert copy.numpy().ravel().tolist() == state[f"average of {name}"]
    with average.swapped_in():
        state["swapped in"] = variables[0].numpy().ravel().tolist()
    state["swapped out"] = variables[0].numpy().ravel().tolist()
    return state


def main() -> None:
    """Print the results."""
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [half, half])
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = {name: [run(c, tf.distribute.get_strategy()), run(c, two)] for name, c in CASES.items()}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
