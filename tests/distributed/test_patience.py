import os

import pytest
from ray.train.v2._internal import constants

from lvseg.distributed.patience import START_TIMEOUT_S, patience

NAMES = (
    constants.HEALTH_CHECK_INTERVAL_S_ENV_VAR,
    constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    constants.WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR,
    constants.COLLECTIVE_TIMEOUT_S_ENV_VAR,
)


def test_ray_train_is_told_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the names that this version of Ray reads, and hands on to its controller."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(NAMES[2], "7")
    with patience(2, 90):
        assert [os.environ[name] for name in NAMES] == ["0.2", str(START_TIMEOUT_S), "7", "90"]
        assert set(NAMES) <= constants.ENV_VARS_TO_PROPAGATE
    assert [os.environ.get(name) for name in NAMES] == [None, None, "7", None]


@pytest.mark.parametrize(
    ("workers", "interval"), [(1, 0.2), (64, 0.32), (1000, constants.DEFAULT_HEALTH_CHECK_INTERVAL_S)]
)
def test_many_workers_are_asked_less_often(workers: int, interval: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAMES[0], raising=False)
    with patience(workers, 90):
        assert float(os.environ[NAMES[0]]) == interval
