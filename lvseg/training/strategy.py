"""How a run's replicas work together: one device, the GPUs of one worker, or several workers."""

from __future__ import annotations

import tensorflow as tf

from lvseg.config import TrainConfig


def make_strategy(config: TrainConfig, workers: int) -> tf.distribute.Strategy | None:
    """The strategy of a run with so many workers, or None where there is one replica alone.

    To be made before any other TensorFlow operation. A worker's replicas are the GPUs that it sees.
    """
    communication = tf.distribute.experimental.CommunicationImplementation
    if workers > 1:
        options = tf.distribute.experimental.CommunicationOptions(
            timeout_seconds=config.collective_timeout_s,
            implementation=communication.NCCL if config.gpu else communication.RING,
        )
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    return tf.distribute.MirroredStrategy() if config.gpus_per_worker > 1 else None
