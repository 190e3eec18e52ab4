"""What is said when Ray does not start; nothing is started here."""

import pytest
import ray

from lvseg.distributed.session import ADDRESS_VARIABLE, ray_session
from lvseg.errors import ClusterError


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        (None, Exception("The current node timed out\nduring startup."), "Ray does not start here: The current node"),
        (None, TimeoutError(), "Ray does not start here: TimeoutError"),
        ("10.0.0.1:6379", ConnectionError("no GCS"), "RAY_ADDRESS 10.0.0.1:6379: no connection to the cluster: no GCS"),
    ],
)
def test_one_line(monkeypatch: pytest.MonkeyPatch, address: str | None, error: Exception, said: str) -> None:
    def fail(**settings: object) -> None:
        raise error

    ended = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    if address:
        monkeypatch.setenv(ADDRESS_VARIABLE, address)
    with pytest.raises(ClusterError) as caught, ray_session():
        pytest.fail("there is no session")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert ended == [True]
