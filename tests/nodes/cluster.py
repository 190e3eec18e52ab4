"""A Ray cluster of real nodes on one machine: each a ``ray start --block`` of its own, with a token.

Where the machine allows it (root, ``ip netns``) every node has a network namespace with an address of its own and sees
only its own processes, and the network between workers can be cut. Elsewhere all are on loopback with ports of their
own. The head's network namespace also holds the store and the clients.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.ports import free_port
from tests.processes import SLOW_START, family, kill_all, running
from tests.s3 import s3_server

TOKEN = "fedcba9876543210fedcba9876543210"
START_S = 180
JOB_S = 600
REPOSITORY = Path(__file__).parents[2]
ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""A command that sees its own processes only: a driver of Ray looks for its node among all that it sees."""
RAY = Path(sys.executable).with_name("ray")
HEALTH_PORT = "dashboard-agent-listen-port"
AGENT_PORTS = (HEALTH_PORT, "dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port")
"""Named beforehand: a node waits 15 s at most for ports that its agents choose, too short on a busy machine."""
ASK = (
    "import sys, urllib.request as u; "
    "print(u.urlopen(u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}), timeout=5).status)"
)


def have_namespaces() -> bool:
    """Whether this process may make network namespaces and what is needed inside them; LVSEG_LOOPBACK=1 says no."""
    if os.environ.get("LVSEG_LOOPBACK") or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"lv{os.getpid()}try"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "b0", "type", "bridge")
        _run("ip", "netns", "exec", name, *ALONE, "true")
    except (subprocess.CalledProcessError, OSError):
        return False
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)
    return True


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def wait_for(what: str, reached: Callable[[], bool], seconds: float = JOB_S) -> float:
    """Wait until something is so; how long it took, s."""
    started = time.monotonic()
    while not reached():
        assert time.monotonic() < started + seconds, f"no {what} after {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - started


@dataclass
class Node:
    """One node: the processes below one ``ray start --block``."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[bytes]
    ports: dict[str, int] = field(default_factory=dict)

    def running(self, words: str) -> list[psutil.Process]:
        """The node's processes whose command holds some words."""
        return running(self.process.pid, words)

    def kill(self) -> None:
        """As if its plug were pulled."""
        kill_all(family(self.process.pid))
        self.process.wait(60)

    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")


_NETWORKS = itertools.count()


class Network:
    """Namespaces around a bridge in the head's, or loopback."""

    def __init__(self, separate: bool) -> None:
        self.separate = separate
        self._name = f"lv{os.getpid()}c{next(_NETWORKS)}"
        self._made: list[str] = []

    def add(self) -> tuple[str, tuple[str, ...]]:
        """Address of one more machine, and what starts a command on it; the first is the head's."""
        if not self.separate:
            return "127.0.0.1", ()
        index, name = len(self._made), f"{self._name}n{len(self._made)}"
        _run("ip", "netns", "add", name)
        self._made.append(name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        address = f"10.78.0.{1 + index}"
        if index == 0:
            _run("ip", "-n", name, "link", "add", "b0", "type", "bridge")
            device = "b0"
        else:
            head, device = self._made[0], "v0"
            _run("ip", "link", "add", device, "netns", name, "type", "veth", "peer", "name", f"p{index}", "netns", head)
            _run("ip", "-n", head, "link", "set", f"p{index}", "master", "b0", "up")
        _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", device)
        _run("ip", "-n", name, "link", "set", device, "up")
        return address, ("ip", "netns", "exec", name)

    def cut_workers(self, cut: bool) -> None:
        """Whether no worker reaches another; all of them reach the head."""
        head = self._made[0]
        for index in range(1, len(self._made)):
            state = "on" if cut else "off"
            _run("ip", "-n", head, "link", "set", f"p{index}", "type", "bridge_slave", "isolated", state)

    def remove(self) -> None:
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "delete", name], check=False)


class Cluster:
    """A head without cores, for drivers, and workers; ``environment`` is that of every process on it."""

    def __init__(self, folder: Path, network: Network, environment: dict[str, str]) -> None:
        self.folder, self.network, self.environment = folder, network, environment
        self.workers: list[Node] = []
        self.address, self.prefix = network.add()
        self.ports = {name: free_port() for name in ("port", "dashboard-port", "ray-client-server-port")}
        self.head: Node
        self._count = 0
        self._clients: list[subprocess.Popen[str]] = []

    @property
    def nodes(self) -> list[Node]:
        return [self.head, *self.workers]

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"

    def start_head(self, *flags: object, **environment: str) -> None:
        """Start the head, or start it again with the same address and ports."""
        own = ["--head", "--num-cpus", 0, "--dashboard-host", "127.0.0.1", *flags]
        for name, port in self.ports.items():
            own += [f"--{name}", port]
        self.head = self._start("head", self.address, self.prefix, own, environment)
        wait_for("answer of the job API", self._answers, START_S)

    def _answers(self) -> bool:
        assert self.head.process.poll() is None, self.head.log()
        healthy = f"http://127.0.0.1:{self.head.ports[HEALTH_PORT]}/api/local_raylet_healthz"
        return all(self.status_of(url) == 200 for url in (f"{self.dashboard}/api/jobs/", healthy))

    def status_of(self, url: str) -> int | None:
        done = subprocess.run(
            [*self.prefix, sys.executable, "-c", ASK, url, TOKEN], capture_output=True, text=True, check=False
        )
        return int(done.stdout) if done.returncode == 0 else None

    def add_workers(self, count: int, cpus: int = 2, **labels: str) -> list[Node]:
        """Start workers, all at once, with these labels, each with the label ``number`` besides."""
        added = []
        for _ in range(count):
            self._count += 1
            address, prefix = self.network.add()
            own = {**labels, "number": str(self._count)}
            flags: list[object] = ["--address", f"{self.address}:{self.ports['port']}", "--num-cpus", cpus]
            flags += ["--labels", ",".join(f"{key}={value}" for key, value in own.items())]
            added.append(self._start(f"w{self._count}", address, prefix, flags, {}))
        self.workers += added
        for node in added:
            wait_for(f"node {node.name}", lambda node=node: self._started(node), START_S)  # type: ignore[misc]
        return added

    def _started(self, node: Node) -> bool:
        assert node.process.poll() is None, node.log()
        return "Ray runtime started" in node.log()

    def _start(
        self, name: str, address: str, prefix: tuple[str, ...], flags: Sequence[object], environment: dict[str, str]
    ) -> Node:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        ports = {name: free_port() for name in AGENT_PORTS}
        common: list[object] = ["--node-ip-address", address, "--temp-dir", folder, "--disable-usage-stats"]
        common += ["--object-store-memory", 200_000_000]
        for port_name, port in ports.items():
            common += [f"--{port_name}", port]
        alone = ALONE if self.network.separate else ()
        words = [*prefix, *alone, RAY, "start", "--block", *common, *flags]
        with (folder / "node.log").open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in words],
                env=self.environment | {"LVSEG_CACHE": str(folder / "cache")} | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return Node(name=name, address=address, folder=folder, process=process, ports=ports)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """A command of lvseg on the head's machine."""
        return self._client([sys.executable, "-m", "lvseg.cli", *words], PYTHONPATH=str(REPOSITORY))

    def start_by_hand(self, *words: object) -> subprocess.Popen[str]:
        """A script as a job, by Ray's own command, from a checkout."""
        checkout = self.folder / "checkout"
        for name in ("lvseg", "jobs"):
            shutil.copytree(REPOSITORY / name, checkout / name, dirs_exist_ok=True)
        return self._client([RAY, "job", "submit", "--working-dir", checkout, "--", "python", *words])

    def _client(self, command: Sequence[object], **environment: str) -> subprocess.Popen[str]:
        client = subprocess.Popen(
            [*self.prefix, *map(str, command)],
            env=self.environment | {"RAY_API_SERVER_ADDRESS": self.dashboard} | environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._clients.append(client)
        return client

    def run(self, *words: object) -> str:
        """The same, to its end, which must be good; what it said."""
        return ended(self.start(*words))

    def end(self) -> None:
        for client in self._clients:  # those that a failed test left
            client.kill()
        for node in reversed(self.nodes):
            node.kill()


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    said, _ = process.communicate(timeout=JOB_S)
    assert process.returncode == status, said
    return said


@contextmanager
def cluster(separate: bool, workers: int = 2) -> Iterator[Cluster]:
    """A head, workers, and an S3 server, whose variables all processes have."""
    folder = Path(tempfile.mkdtemp(prefix="lv", dir="/tmp"))  # short: it holds sockets
    network = Network(separate)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(network.remove)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
        environment = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "TF_CPP_MIN_LOG_LEVEL": "3", **SLOW_START}
        environment["PATH"] = os.pathsep.join([str(RAY.parent), environment["PATH"]])  # as in an activated environment
        made = Cluster(folder, network, environment)
        made.environment |= stack.enter_context(s3_server(made.address, made.prefix))
        made.start_head()
        stack.callback(made.end)
        made.add_workers(workers)
        yield made
