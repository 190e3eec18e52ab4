"""How a cluster is shared out among trials: pure arithmetic, and the same on clusters of fake nodes."""

import itertools

import pytest

from lvseg.distributed.capacity import Allotment, Need, allot, places
from lvseg.distributed.placement import Node
from lvseg.errors import ConfigError

FOUR = [Node(cpus=4)] * 4
GPUS = [Node(cpus=4, gpus=2)] * 4


def packed(nodes: list[Node], allotment: Allotment, workers: int) -> bool:
    """Whether that many workers can really be put on the nodes, one by one, wherever there is room."""
    free = [[node.cpus, [1.0] * int(node.gpus)] for node in nodes]
    for _ in range(allotment.concurrency * workers):
        for place in free:
            device = next((n for n, left in enumerate(place[1]) if left >= allotment.gpus - 1e-9), None)
            if place[0] >= allotment.cpus and (not allotment.gpus or device is not None):
                place[0] -= allotment.cpus
                if allotment.gpus:
                    place[1][device] -= allotment.gpus
                break
        else:
            return False
    return True


@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_what_is_planned_can_be_placed_and_nothing_is_wasted(count: int, gpus: int) -> None:
    sizes = [Node(cpus=2, gpus=gpus), Node(cpus=7, gpus=gpus)]
    for workers, trials, wish, share in itertools.product((1, 2, 3), (1, 5, 40), (None, 1, 3), (0.25, 1.0)):
        nodes = [sizes[index % 2] for index in range(count)]
        need = Need(trials=trials, workers=workers, concurrency=wish, gpus=share if gpus else 0.0)
        try:
            allotment = allot(nodes, need)
        except ConfigError:
            assert places(nodes, 1, need.gpus) < workers
            continue
        assert packed(nodes, allotment, workers)
        assert 1 <= allotment.concurrency <= min(trials, wish or trials)
        more = Allotment(cpus=allotment.cpus, gpus=allotment.gpus, concurrency=allotment.concurrency + 1)
        assert allotment.concurrency == min(trials, wish or trials) or not packed(nodes, more, workers)


@pytest.mark.parametrize(
    ("nodes", "need", "expected"),
    [
        ([Node(cpus=2)], Need(trials=8), (1, 2)),
        ([Node(cpus=2)], Need(trials=1), (2, 1)),
        ([Node(cpus=2)], Need(trials=8, workers=2), (1, 1)),
        (FOUR, Need(trials=2), (4, 2)),
        (FOUR, Need(trials=8), (2, 8)),
        (FOUR, Need(trials=8, cpus=3), (3, 4)),
        (FOUR, Need(trials=8, workers=4), (1, 4)),
        (FOUR, Need(trials=8, concurrency=1), (4, 1)),
        (GPUS, Need(trials=20, gpus=1), (2, 8)),
        (GPUS, Need(trials=20, gpus=0.25), (1, 16)),
        (GPUS, Need(trials=3, workers=4, gpus=1), (2, 2)),
        ([Node(cpus=16, gpus=1)], Need(trials=20, gpus=0.25), (4, 4)),
        ([Node(cpus=0), Node(cpus=8, gpus=1)], Need(trials=4, gpus=1), (8, 1)),
    ],
)
def test_cores_are_shared_out(nodes: list[Node], need: Need, expected: tuple[int, int]) -> None:
    allotment = allot(nodes, need)
    assert (allotment.cpus, allotment.concurrency) == expected
    assert not allotment.waits


@pytest.mark.parametrize(
    ("nodes", "need", "message"),
    [
        ([Node(cpus=2)], Need(trials=1, workers=3), "a trial of 3 does not fit: the cluster has 2 CPUs"),
        ([Node(cpus=2)] * 2, Need(trials=1, cpus=3), "with 3 CPUs each does not fit on one node: .* has 4 CPUs"),
        (FOUR, Need(trials=1, gpus=1), "does not fit: the cluster has 0 GPUs"),
        (GPUS, Need(trials=1, workers=9, gpus=1), "a trial of 9 does not fit: the cluster has 8 GPUs"),
    ],
)
def test_what_can_never_fit_is_refused(nodes: list[Node], need: Need, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        allot(nodes, need)


def test_a_cluster_that_can_grow_is_not_refused() -> None:
    asleep = [Node(cpus=0)]
    assert allot(asleep, Need(trials=6), can_grow=True) == Allotment(cpus=1, gpus=0.0, concurrency=6, waits=True)
    group = Need(trials=6, workers=4, gpus=1)
    assert allot(asleep, group, can_grow=True) == Allotment(cpus=1, gpus=1, concurrency=1, waits=True)
    wish = Need(trials=6, workers=4, gpus=1, concurrency=3)
    assert allot(asleep, wish, can_grow=True).concurrency == 3
    assert allot(FOUR, Need(trials=40), can_grow=True) == Allotment(cpus=1, gpus=0.0, concurrency=16)
