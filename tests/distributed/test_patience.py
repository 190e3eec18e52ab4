import os

import pytest
from ray.train.v2._internal import constants

from lvseg.distributed.patience import START_TIMEOUT_S, patience

NAMES = (
    constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    constants.WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR,
    constants.COLLECTIVE_TIMEOUT_S_ENV_VAR,
)


def test_ray_train_is_told_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the names that this version of Ray reads, and hands on to its controller."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(NAMES[1], "7")
    with patience(90):
        assert [os.environ[name] for name in NAMES] == [str(START_TIMEOUT_S), "7", "90"]
        assert set(NAMES) <= constants.ENV_VARS_TO_PROPAGATE
    assert [os.environ.get(name) for name in NAMES] == [None, "7", None]
