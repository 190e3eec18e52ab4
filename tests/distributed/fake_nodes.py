"""``python -m tests.distributed.fake_nodes RECORDS FOLDER``: sweeps on a cluster that grows from 1 to 8 fake nodes."""

import json
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed.session import _quiet_libraries
from lvseg.distributed.tune import plan_resources, run_sweep
from lvseg.space import Dimension
from lvseg.sweep import Sweep
from tests.distributed.places import groups_left
from tests.distributed.pretend import pretend

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
START_S = 180
KINDS = {"cpu": (False, None), "gpu": (True, None), "quarter": (True, 0.25)}


def main(records: Path, folder: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    _quiet_libraries(verbose=False)
    found = []
    for nodes in (1, 2, 4, 8):
        while len(cluster.list_all_nodes()) < nodes:
            cluster.add_node(wait=False, **{key: value for key, value in NODE.items() if key != "include_dashboard"})
        cluster.wait_for_nodes(timeout=START_S)
        found.append({"nodes": nodes} | {kind: sweep(records, folder / f"{nodes}-{kind}", kind) for kind in KINDS})
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(found))


def sweep(records: Path, folder: Path, kind: str) -> dict[str, int]:
    gpu, share = KINDS[kind]
    made = Sweep(
        folder=folder,
        base=TrainConfig(epochs=1, picture_every=0, gpu=gpu, cpus_per_worker=1),
        space={"learning_rate": Dimension(kind="loguniform", values=(1e-5, 1.0))},
        tune=TuneConfig(trials=3, gpus_per_trial=share),
        records=records,
    )
    resources = plan_resources(made)
    results = run_sweep(made, resources, trainable=pretend)
    finished = sum(result.status == "finished" for result in results)
    return {"planned": resources.concurrency, "finished": finished, "groups_left": len(groups_left())}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
