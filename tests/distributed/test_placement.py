"""What fits where, on made-up tables of nodes, against counting it out."""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from lvseg.config import TrainConfig
from lvseg.distributed.placement import (
    Node,
    Want,
    matching,
    require_place,
    runs_at_once,
    selectors,
    share_of_cpus,
    wanted,
)
from lvseg.errors import ConfigError

GPU_NODE = Node(cpus=4, gpus=1, labels={"ray.io/accelerator-type": "A100", "zone": "a"})
OLD_GPU_NODE = Node(cpus=8, gpus=2, labels={"ray.io/accelerator-type": "T4", "zone": "b"})
CPU_NODE = Node(cpus=16)


def want(workers: int = 1, gpus: int = 0, placement: str = "pack", **labels: str) -> Want:
    return Want(workers=workers, gpus=gpus, placement=placement, labels=labels)  # type: ignore[arg-type]


def ways(nodes: Sequence[Node], one: Want, cpus: int) -> Iterator[tuple[int, ...]]:
    """Every way to put a run's workers on nodes, as workers on each."""
    for places in itertools.combinations_with_replacement(range(len(nodes)), one.workers):
        counts = tuple(places.count(index) for index in range(len(nodes)))
        if one.placement == "strict-spread" and max(counts) > 1:
            continue
        if one.placement == "strict-pack" and max(counts) < one.workers:
            continue
        yield counts


def counted_out(nodes: Sequence[Node], one: Want, cpus: int) -> int:
    """The most runs at a time, by trying every way for one run after another."""
    best = 0
    for counts in ways(nodes, one, cpus):
        left = [
            Node(cpus=node.cpus - count * cpus, gpus=node.gpus - count * one.gpus)
            for node, count in zip(nodes, counts, strict=True)
        ]
        if all(node.cpus >= 0 and node.gpus >= 0 for node in left):
            best = max(best, 1 + counted_out(left, one, cpus))
    return best


@pytest.mark.parametrize("placement", ["pack", "spread", "strict-pack", "strict-spread"])
@pytest.mark.parametrize("sizes", [(3, 2, 1), (4, 1), (2, 2, 2), (1, 1), (5,)])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_as_many_runs_as_can_be_counted_out(placement: str, sizes: tuple[int, ...], workers: int) -> None:
    nodes = [Node(cpus=size, gpus=size // 2) for size in sizes]
    for gpus, cpus in ((0, 1), (0, 2), (1, 1)):
        one = want(workers, gpus, placement)
        assert runs_at_once(nodes, one, cpus) == counted_out(nodes, one, cpus)


def test_labels_choose_nodes() -> None:
    nodes = [GPU_NODE, OLD_GPU_NODE, CPU_NODE]
    config = TrainConfig(workers=2, gpu=True, node_label=("zone=a,b", "ray.io/accelerator-type=!T4"))
    assert selectors(config.node_label) == {"zone": "in(a,b)", "ray.io/accelerator-type": "!T4"}
    assert matching(nodes, wanted(config).labels) == [GPU_NODE]
    assert matching(nodes, selectors(["zone=!a,b"])) == [CPU_NODE]
    assert matching(nodes, {}) == nodes
    with pytest.raises(ConfigError, match=r"^node_label: none of the 3 node\(s\) has zone=c$"):
        require_place(nodes, want(zone="c"), 1)
    with pytest.raises(ConfigError, match="node_label"):
        TrainConfig(node_label=("zone",))


def test_cores_are_shared_out_among_the_nodes_that_have_gpus() -> None:
    """The many cores of the nodes without GPUs are no reason to ask for more than a node with one has."""
    nodes = [GPU_NODE] * 4 + [CPU_NODE] * 3
    assert share_of_cpus(nodes, want(4, gpus=1)) == 4
    assert share_of_cpus([OLD_GPU_NODE] * 2, want(4, gpus=1)) == 4
    assert share_of_cpus([OLD_GPU_NODE] * 2, want(2, gpus=2)) == 8
    assert share_of_cpus([OLD_GPU_NODE, GPU_NODE], want(3, gpus=1)) == 4
    assert share_of_cpus([Node(cpus=3)], want(2)) == 1
    assert share_of_cpus([Node(cpus=3), Node(cpus=1)], want(2, placement="strict-spread")) == 1
    assert share_of_cpus([Node(cpus=64)], want(2), runs=4) == 8
    assert share_of_cpus([], want(2)) == 1


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^gpus_per_worker: 2 worker\(s\) of 2 GPU\(s\) need 4, this .* have 2$"):
        require_place([GPU_NODE] * 2, want(2, gpus=2), 1)
    with pytest.raises(ConfigError, match=r"^placement: 3 worker\(s\) of 1 CPU\(s\) do not fit on the 2 fitting"):
        require_place([Node(cpus=4)] * 2, want(3, placement="strict-spread"), 1)
    with pytest.raises(ConfigError, match=r"^workers: 2 worker\(s\) of 1 CPU\(s\) and 2 GPU\(s\) do not fit"):
        require_place([Node(cpus=9, gpus=1)] * 4, want(2, gpus=2), 1)
    require_place([Node(cpus=4)] * 3, want(3, placement="strict-spread"), 4)


@pytest.mark.parametrize("nodes", [64, 1000])
def test_a_large_cluster_is_planned(nodes: int) -> None:
    """A GPU node of four cores each, and some without a GPU."""
    table = [GPU_NODE] * nodes + [CPU_NODE] * 8
    assert runs_at_once(table, want(1, gpus=1), 4) == nodes
    assert runs_at_once(table, want(nodes, gpus=1, placement="strict-spread"), 4) == 1
    assert share_of_cpus(table, want(4, gpus=1, placement="strict-spread"), runs=nodes // 4) == 4
    assert runs_at_once([Node(cpus=96, gpus=8)] * (nodes // 8), want(8, gpus=1, placement="strict-pack"), 12) == (
        nodes // 8
    )


def test_gpus_of_a_worker_need_images_each() -> None:
    assert TrainConfig(workers=2, gpu=True, gpus_per_worker=4, batch_size=8).gpus_per_worker == 4
    with pytest.raises(ConfigError, match="an image for each GPU, got 7 for 2 worker"):
        TrainConfig(workers=2, gpu=True, gpus_per_worker=4, batch_size=7)
    with pytest.raises(ConfigError, match="gpus_per_worker needs gpu"):
        TrainConfig(gpus_per_worker=2, batch_size=8)
