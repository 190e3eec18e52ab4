"""Many nodes with made-up GPUs: planning, placement and a sweep's bookkeeping; nothing is trained.

Every node is a real raylet of Ray's own test cluster, with resources that are not there.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed import tune
from lvseg.distributed.placement import live_nodes, matching, runs_at_once, share_of_cpus, wanted
from lvseg.leaderboard import build
from lvseg.results import EpochRow
from lvseg.run_folder import finish_run, open_run
from lvseg.space import Dimension
from lvseg.training.state import Outcome, RunState
from tests.discs import write_records

pytestmark = pytest.mark.cluster

NODES, GPUS = 16, 4
"""64 GPUs; of a node's."""
CPUS = 8
START_S = 120


@pytest.fixture(scope="module")
def many() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_DISABLE_DOCKER_CPU_WARNING", "1")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            ray.init(address=made.address, logging_level="ERROR", log_to_driver=False)
            for number in range(NODES):
                kind = "A100" if number % 4 else "T4"
                made.add_node(
                    wait=False, num_cpus=CPUS, num_gpus=GPUS, labels={"kind": kind}, object_store_memory=80_000_000
                )
            made.wait_for_nodes(timeout=START_S)
            yield
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


def test_the_plan_and_the_places_agree(many: None) -> None:
    nodes = live_nodes()
    assert sum(node.gpus for node in nodes) == NODES * GPUS
    all_gpus = TrainConfig(workers=NODES * GPUS, batch_size=NODES * GPUS, gpu=True)
    assert share_of_cpus(nodes, wanted(all_gpus)) == CPUS // GPUS
    assert Counter(placed(all_gpus, CPUS // GPUS)).values() == Counter(dict.fromkeys(range(NODES), GPUS)).values()

    apart = TrainConfig(workers=NODES, batch_size=NODES, gpu=True, placement="strict-spread")
    assert len(set(placed(apart, 2))) == NODES
    together = TrainConfig(workers=GPUS, gpu=True, placement="strict-pack")
    assert len(set(placed(together, 2))) == 1
    whole = TrainConfig(workers=NODES, batch_size=NODES * GPUS, gpu=True, gpus_per_worker=GPUS)
    assert share_of_cpus(nodes, wanted(whole)) == CPUS
    assert len(set(placed(whole, CPUS))) == NODES

    good = dataclasses.replace(apart, workers=NODES * 3 // 4, node_label=("kind=A100",))
    kinds = {node["NodeID"]: node["Labels"].get("kind") for node in ray.nodes()}
    assert {kinds[node] for node in placed(good, 2)} == {"A100"}
    assert len(matching(nodes, wanted(good).labels)) == NODES * 3 // 4
    assert runs_at_once(nodes, dataclasses.replace(wanted(good), workers=1), 2) == GPUS * NODES * 3 // 4


def train_nothing(params: dict[str, float], *, sweep: tune.Sweep, resources: tune.Resources) -> None:
    """A trial that leaves a result, and the node and GPU that it had."""
    from ray import tune as ray_tune

    from lvseg.records import read_manifest

    context = ray.get_runtime_context()
    folder = sweep.folder / tune.trial_name(ray_tune.get_context().get_trial_id())
    run = sweep.trial(folder, read_manifest(sweep.records))
    run = dataclasses.replace(run, config=dataclasses.replace(sweep.base, **params)).settled()
    if open_run(run) is not None:
        ray_tune.report({"epoch": 1, tune.METRIC: 0.0})
        return
    dice = params["learning_rate"]
    row = EpochRow(
        **dict.fromkeys((field.name for field in dataclasses.fields(EpochRow)), 0.5)
        | {"epoch": 1, "val_dice": dice, "val_dice_pooled": dice, "val_dice_myocardium": None}
    )
    state = RunState(epoch=1, history=[dataclasses.asdict(row)], best_epoch=1, best_val_dice=dice)
    ids = context.get_accelerator_ids()["GPU"]
    (Path(sweep.folder).parent / "places" / folder.name).write_text(f"{context.get_node_id()} {','.join(ids)}")
    time.sleep(1)  # long enough to be beside others
    finish_run(run, Outcome(state=state, parameters=1), None)
    ray_tune.report({"epoch": 1, tune.METRIC: dice})


def test_a_sweep_over_64_gpus_keeps_its_books(many: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(tmp_path / "records")
    (tmp_path / "places").mkdir()
    sweep = tune.Sweep(
        folder=tmp_path / "runs" / "sweep",
        base=TrainConfig(gpu=True, epochs=1, precision="float32", node_label=("kind=A100,T4",)),
        space={"learning_rate": Dimension(kind="loguniform", values=(1e-4, 1e-2))},
        tune=TuneConfig(trials=72),
        records=tmp_path / "records",
    )
    monkeypatch.setattr(tune, "run_trial", train_nothing)
    resources = tune.plan_resources(sweep)
    assert (resources.concurrency, resources.cpus) == (NODES * GPUS, CPUS // GPUS)
    results = tune.run_sweep(sweep, resources)
    assert [result.name for result in results] == [f"trial-{number:05d}" for number in range(72)]
    assert all(result.status == "finished" for result in results)
    places = [path.read_text() for path in (tmp_path / "places").iterdir()]
    assert len(places) == 72
    assert len({place.split()[0] for place in places}) > NODES // 2
    assert all(len(place.split()[1].split(",")) == 1 for place in places)
    (group,) = build(sweep.folder.parent).groups
    assert [row.result.val_dice for row in group.rows] == sorted((r.val_dice for r in results), reverse=True)

    before = {path: path.stat().st_mtime_ns for path in sweep.folder.glob("trial-*/result.json")}
    (sweep.folder / "trial-00007" / "result.json").unlink()
    again = tune.run_sweep(sweep, resources)
    assert [result.config for result in again] == [result.config for result in results]
    changed = [path.parent.name for path, at in before.items() if path.stat().st_mtime_ns != at]
    assert changed == ["trial-00007"]
