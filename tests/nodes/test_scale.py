"""Many nodes with made-up GPUs: planning, placement and a sweep's bookkeeping; nothing is trained.

Every node is a real raylet of Ray's own test cluster, with resources that are not there.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed.placement import live_nodes, matching, runs_at_once, share_of_cpus, wanted
from lvseg.distributed.trial import Scores, TrialPlan, run_trial
from lvseg.distributed.tune import plan_resources, run_sweep
from lvseg.leaderboard import build
from lvseg.run_folder import Run
from lvseg.space import Dimension
from lvseg.sweep import Sweep
from tests.discs import write_records
from tests.distributed import pretend

pytestmark = pytest.mark.cluster

GPUS = 64
CPUS = 128
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


def train_nothing(params: dict[str, Any], *, plan: TrialPlan) -> None:
    run_trial(params, plan=plan, train=train_and_tell)


def train_and_tell(run: Run, plan: TrialPlan, scores: Scores) -> None:
    """Leaves the node and the GPU that the trial had."""
    context = ray.get_runtime_context()
    gpus = ",".join(context.get_accelerator_ids()["GPU"])
    (Path(plan.sweep.folder).parent.parent / "places" / run.name).write_text(f"{context.get_node_id()} {gpus}")
    time.sleep(1)  # long enough to be beside others
    pretend.train(run, plan, scores)


def test_a_sweep_over_64_gpus_keeps_its_books(many: Many, tmp_path: Path) -> None:
    write_records(tmp_path / "records")
    (tmp_path / "places").mkdir()
    sweep = Sweep(
        folder=tmp_path / "runs" / "sweep",
        base=TrainConfig(gpu=True, epochs=1, picture_every=0, precision="float32", node_label=("kind=A100,T4",)),
        space={"learning_rate": Dimension(kind="loguniform", values=(1e-4, 1e-2))},
        tune=TuneConfig(trials=72),
        records=tmp_path / "records",
    )
    resources = plan_resources(sweep)
    assert (resources.concurrency, resources.cpus) == (GPUS, CPUS // GPUS)
    results = run_sweep(sweep, resources, trainable=train_nothing)
    assert [result.name for result in results] == [f"trial-{number:05d}" for number in range(72)]
    assert all(result.status == "finished" for result in results)
    places = [path.read_text() for path in (tmp_path / "places").iterdir()]
    assert len(places) == 72
    assert len({place.split()[0] for place in places}) > many.nodes // 2
    assert all(len(place.split()[1].split(",")) == 1 for place in places)
    (group,) = build(sweep.folder.parent).groups
    assert [row.result.val_dice for row in group.rows] == sorted((r.val_dice for r in results), reverse=True)

    before = {path: path.stat().st_mtime_ns for path in sweep.folder.glob("trial-*/result.json")}
    (sweep.folder / "trial-00007" / "result.json").unlink()
    again = run_sweep(sweep, resources, trainable=train_nothing)
    assert [result.config for result in again] == [result.config for result in results]
    changed = [path.parent.name for path, at in before.items() if path.stat().st_mtime_ns != at]
    assert changed == ["trial-00007"]
