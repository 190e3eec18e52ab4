"""What Ray Train does for TensorFlow on its workers: TF_CONFIG, and nothing else.

Ray's own ``TensorflowConfig`` does the same, but whoever names it loads TensorFlow and Keras: the driver and Ray
Train's controller, which need neither. It also moves ``tf.keras`` to legacy Keras on the workers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray._common.network_utils import build_address
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig


@dataclass
class TensorflowBackendConfig(BackendConfig):  # type: ignore[misc]
    """Workers under MultiWorkerMirroredStrategy. Names no framework: Ray would load it on rank 0 to ask its version."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What is done when a group of workers starts."""
        return _TensorflowBackend


class _TensorflowBackend(Backend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        addresses = worker_group.execute(_free_address)
        ray.get([worker_group.execute_single_async(rank, _tell, addresses, rank) for rank in range(len(worker_group))])


def _free_address() -> str:
    return str(build_address(*get_address_and_port()))


def _tell(addresses: list[str], rank: int) -> None:
    task = {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
