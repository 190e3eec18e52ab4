"""A real S3 API server on loopback, in a process of its own: moto's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import requests
import s3fs

from tests.ports import free_port

BUCKET = "lvseg-test"
SECRET = "unmistakable-secret-key-0123456789"
SERVE = "from moto.server import main; main()"


@contextmanager
def s3_server(host: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Start the server with an empty bucket ``BUCKET``; end it by process id.

    Args:
        host: Address that it listens on.
        prefix: What starts a command where that address is.

    Yields:
        The environment variables with which AWS clients use it.
    """
    port = free_port()
    endpoint = f"http://{host}:{port}"
    server = subprocess.Popen(
        [*prefix, sys.executable, "-c", SERVE, "-H", host, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A proxy or real credentials of the user must not reach it.
        env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
    )
    s3fs.S3FileSystem.clear_instance_cache()  # a client of an earlier server would be handed out again
    try:
        _wait(server, endpoint, prefix)
        yield {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": host,
        }
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(server: subprocess.Popen[bytes], endpoint: str, prefix: Sequence[str]) -> None:
    put = f"import requests; s = requests.Session(); s.trust_env = False; s.put('{endpoint}/{BUCKET}', timeout=5)"
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError(f"moto's server ended with {server.returncode}")
        if _made_bucket(f"{endpoint}/{BUCKET}", prefix, put):
            return
        time.sleep(0.1)
    raise RuntimeError(f"moto's server did not answer at {endpoint}")


def _made_bucket(url: str, prefix: Sequence[str], put: str) -> bool:
    if prefix:
        return subprocess.run([*prefix, sys.executable, "-c", put], capture_output=True, check=False).returncode == 0
    session = requests.Session()
    session.trust_env = False
    try:
        return session.put(url, timeout=5).ok
    except requests.ConnectionError:
        return False
