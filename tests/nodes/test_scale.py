"""Many nodes with made-up GPUs: planning, placement and a sweep's bookkeeping; nothing is trained.

Every node is a real raylet of Ray's own test cluster, with resources that are not there.
"""

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed.placement import live_nodes, matching, runs_at_once, share_of_cpus, wanted
from lvseg.distributed.tune import plan_resources, run_sweep
from lvseg.leaderboard import build
from lvseg.space import Dimension
from lvseg.sweep import Sweep
from tests.discs import write_records
from tests.nodes.trials import AT_ONCE, BEGUN, PLACES, train_nothing

pytestmark = pytest.mark.cluster

GPUS = 64
CPUS = 128
AT_ONCE_TRIALS = 8
"""A process for each of 64 takes long to start on a small machine."""
START_S = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Many:
    """A cluster of that many GPUs."""

    nodes: int

    @property
    def gpus(self) -> int:
        """Of a node."""
        return GPUS // self.nodes

    @property
    def cpus(self) -> int:
        """Of a node."""
        return CPUS // self.nodes

    @property
    def trials(self) -> int:
        return 20 if self.nodes < GPUS else 72

    @property
    def good(self) -> int:
        """Nodes of the better kind."""
        return self.nodes * 3 // 4


@pytest.fixture(scope="module", params=[8, pytest.param(64, marks=pytest.mark.slow)])
def many(request: pytest.FixtureRequest) -> Iterator[Many]:
    many = Many(nodes=request.param)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        ray.init(address=made.address, logging_level="ERROR", log_to_driver=False)
        for number in range(many.nodes):
            labels = {"kind": "A100" if number < many.good else "T4"}
            shape = {"num_cpus": many.cpus, "num_gpus": many.gpus, "object_store_memory": 80_000_000}
            made.add_node(wait=False, labels=labels, **shape)
        made.wait_for_nodes(timeout=START_S)
        yield many
    finally:
        ray.shutdown()
        made.shutdown()


def placed(config: TrainConfig, cpus: int) -> list[str]:
    """Where Ray puts the workers of a run: a node's id for each."""
    want = wanted(config)
    group: PlacementGroup = placement_group(
        [want.bundle(cpus)] * want.workers,
        strategy=want.strategy,
        bundle_label_selector=[dict(want.labels)] * want.workers if want.labels else None,
    )
    try:
        assert group.wait(60), "no place"
        return list(placement_group_table(group)["bundles_to_node_id"].values())
    finally:
        remove_placement_group(group)


def test_the_plan_and_the_places_agree(many: Many) -> None:
    nodes = live_nodes()
    assert sum(node.gpus for node in nodes) == GPUS
    all_gpus = TrainConfig(workers=GPUS, batch_size=GPUS, gpu=True)
    assert share_of_cpus(nodes, wanted(all_gpus)) == CPUS // GPUS
    assert sorted(Counter(placed(all_gpus, CPUS // GPUS)).values()) == [many.gpus] * many.nodes

    apart = TrainConfig(workers=many.nodes, batch_size=many.nodes, gpu=True, placement="strict-spread")
    assert len(set(placed(apart, 2))) == many.nodes
    together = TrainConfig(workers=many.gpus, gpu=True, placement="strict-pack", batch_size=GPUS)
    assert len(set(placed(together, 2))) == 1
    whole = TrainConfig(workers=many.nodes, batch_size=GPUS, gpu=True, gpus_per_worker=many.gpus)
    assert share_of_cpus(nodes, wanted(whole)) == many.cpus
    assert len(set(placed(whole, many.cpus))) == many.nodes

    good = dataclasses.replace(apart, workers=many.good, node_label=("kind=A100",))
    kinds = {node["NodeID"]: node["Labels"].get("kind") for node in ray.nodes()}
    assert {kinds[node] for node in placed(good, 2)} == {"A100"}
    assert len(matching(nodes, wanted(good).labels)) == many.good
    assert runs_at_once(nodes, dataclasses.replace(wanted(good), workers=1), 2) == many.gpus * many.good


def assert_no_gpu_was_shared(places: Path) -> int:
    """How many GPUs were used at all."""
    held: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for path in places.iterdir():
        node, gpus, began, ended = json.loads(path.read_text())
        (gpu,) = gpus
        held[node, gpu].append((began, ended))
    for times in held.values():
        assert all(ended <= began for (_, ended), (began, _) in pairwise(sorted(times)))
    return len(held)


def test_a_sweep_over_64_gpus_keeps_its_books(many: Many, tmp_path: Path) -> None:
    write_records(tmp_path / "records")
    for name in (PLACES, BEGUN):
        (tmp_path / name).mkdir()
    (tmp_path / AT_ONCE).write_text(str(AT_ONCE_TRIALS))
    sweep = Sweep(
        folder=tmp_path / "runs" / "sweep",
        base=TrainConfig(gpu=True, epochs=1, picture_every=0, precision="float32", node_label=("kind=A100,T4",)),
        space={"learning_rate": Dimension(kind="loguniform", values=(1e-4, 1e-2))},
        tune=TuneConfig(trials=many.trials),
        records=tmp_path / "records",
    )
    resources = plan_resources(dataclasses.replace(sweep, tune=TuneConfig(trials=2 * GPUS)))
    assert (resources.concurrency, resources.cpus) == (GPUS, CPUS // GPUS)
    allotment = dataclasses.replace(resources.allotment, concurrency=AT_ONCE_TRIALS)
    resources = dataclasses.replace(resources, allotment=allotment)
    results = run_sweep(sweep, resources, trainable=train_nothing)
    assert [result.name for result in results] == [f"trial-{number:05d}" for number in range(many.trials)]
    assert all(result.status == "finished" for result in results)
    assert len(list((tmp_path / PLACES).iterdir())) == many.trials
    assert assert_no_gpu_was_shared(tmp_path / PLACES) >= AT_ONCE_TRIALS
    (group,) = build(sweep.folder.parent).groups
    assert [row.result.val_dice for row in group.rows] == sorted((r.val_dice for r in results), reverse=True)

    before = {path: path.stat().st_mtime_ns for path in sweep.folder.glob("trial-*/result.json")}
    (sweep.folder / "trial-00007" / "result.json").unlink()
    few = dataclasses.replace(resources, allotment=dataclasses.replace(allotment, concurrency=4))
    again = run_sweep(sweep, few, trainable=train_nothing)
    assert [result.config for result in again] == [result.config for result in results]
    changed = [path.parent.name for path, at in before.items() if path.stat().st_mtime_ns != at]
    assert changed == ["trial-00007"]
