"""The page's server: what it answers, and what it refuses."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from lvseg.cli import main
from lvseg.dashboard.app import is_loopback, make_app
from lvseg.dashboard.serve import open_server
from lvseg.dashboard.trials import Reader
from lvseg.errors import ConfigError
from lvseg.store import location
from tests.dashboard.conftest import SweepFolders


@pytest.fixture
def client(sweep: SweepFolders):
    return make_app(Reader(location(sweep.runs), 1), "runs", 1, "127.0.0.1").server.test_client()


def test_the_page_fetches_everything_from_its_own_server(client) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert 'src="http' not in response.text
    assert 'href="http' not in response.text
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]


def test_writes_are_refused(client) -> None:
    for method in ("put", "delete", "patch", "post", "options"):
        assert getattr(client, method)("/").status_code == 405
    assert client.delete("/_dash-update-component").status_code == 405
    large = {"data": b" " * 5_000_000, "content_type": "application/json"}
    assert client.post("/_dash-update-component", **large).status_code == 413


def test_a_name_that_points_here_from_elsewhere_is_refused(client, sweep: SweepFolders) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8050"}).status_code == 200
    anywhere = make_app(Reader(location(sweep.runs), 1), "runs", 1, "0.0.0.0").server.test_client()
    assert anywhere.get("/", headers={"Host": "cluster.example"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False), ("a.b", False)],
)
def test_what_only_this_machine_reaches(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_an_update_of_the_page_reads_the_runs(client) -> None:
    outputs = ["summary.children", "looked.children", "section.options", "section.value", "section-choice.hidden"]
    outputs += [f"{name}-version.data" for name in ("table", "curves", "ended")] + ["answered.data"]
    asked = {
        "output": f"..{'...'.join(outputs)}..",
        "outputs": [dict(zip(("id", "property"), output.split("."), strict=True)) for output in outputs],
        "inputs": [
            {"id": "asked", "property": "data", "value": 1},
            {"id": "section", "property": "value", "value": None},
        ],
        "state": [{"id": f"{name}-version", "property": "data", "value": None} for name in ("table", "curves", "ended")]
        + [{"id": "section", "property": "options", "value": []}],
        "changedPropIds": ["asked.data"],
    }
    answer = client.post("/_dash-update-component", json=asked)
    assert answer.status_code == 200
    told = json.dumps(answer.get_json()["response"]["summary"])
    assert all(word in told for word in (" finished", " running", " failed", "0.9000", "rates/trial-00000"))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_is_taken_is_named(sweep: SweepFolders, taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", str(sweep.runs), "--port", str(taken)]) == 2
    assert f"port {taken}: cannot listen there" in capsys.readouterr().err


def test_an_interval_must_be_a_time(sweep: SweepFolders) -> None:
    with pytest.raises(ConfigError, match="interval must be above 0"):
        open_server(location(sweep.runs), "127.0.0.1", 0, 0)


def test_it_listens_on_loopback_alone(sweep: SweepFolders) -> None:
    server = open_server(location(sweep.runs), "127.0.0.1", 0, 1)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        with socket.create_connection(server.socket.getsockname(), timeout=10) as connection:
            connection.sendall(b"GET /assets/page.css HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(64).split()[1] == b"200"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
