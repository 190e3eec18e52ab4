"""A real Slurm on one machine: a controller and nodes, each in a network namespace of its own.

A node has its own name, processes and ``/tmp`` too, as Ray's processes of one node must not see another's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.nodes.cluster import ALONE, REPOSITORY, Network, wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "sinfo", "srun")
JOB_S = 300
START_S = 60
CONF = """\
ClusterName=lvseg
SlurmctldHost=head({head})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "mount -t tmpfs tmpfs /tmp && hostname {name} && {{ slurmd -D & wait; }}"
"""The first process of a node waits for all that lose their parent, as a machine's does."""


def why_not() -> str | None:
    """Why there can be no Slurm here."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"needs Slurm and MUNGE: no {', '.join(missing)}"
    if any(path.is_relative_to("/tmp") for path in (REPOSITORY, Path(sys.prefix))):
        return "the nodes have a /tmp of their own, and do not see this checkout or its environment"
    return None


@dataclass(frozen=True)
class Slurm:
    """A cluster that jobs can be sent to."""

    folder: Path
    """Shared by all nodes."""
    prefix: tuple[str, ...]
    """What starts a command on the head's machine."""
    environment: dict[str, str]

    def call(self, *words: object, status: int = 0) -> str:
        """A command of Slurm's, called from the repository root; what it said."""
        done = subprocess.run(
            [*self.prefix, *map(str, words)],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=JOB_S,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr + self.logs()
        return done.stdout

    def submit(self, script: str, *arguments: object, wait: bool = True, status: int = 0) -> int:
        """One of lvseg's scripts, made fit for small nodes without GPUs; the job's number.

        Args:
            script: Its name.
            arguments: Of it.
            wait: To its end.
            status: With which that must come.
        """
        small = ["--cpus-per-task=1", "--mem=0", "--gpus-per-node=0", f"--output={self.folder}/%x-%j.log"]
        said = self.call(
            *("sbatch", "--parsable", *small, *["--wait"] * wait, f"cluster/slurm/{script}.sbatch", *arguments),
            status=status,
        )
        return int(said.split()[0])

    def job(self, number: int) -> dict[str, str]:
        """What the controller knows of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def logs(self) -> str:
        """Of the jobs so far."""
        return "".join(f"\n== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def slurm(nodes: int = 2) -> Iterator[Slurm]:
    """A controller and nodes of two cores."""
    folder = Path(tempfile.mkdtemp(prefix="lvseg-slurm", dir="/var/tmp"))
    folder.chmod(0o711)  # MUNGE's socket is for everyone
    network = Network(separate=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(network.remove)
        head, prefix = network.add()
        places = {f"n{number}": network.add() for number in range(1, nodes + 1)}
        lines = [f"NodeName={name} NodeAddr={address} CPUs=2" for name, (address, _) in places.items()]
        (folder / "slurm.conf").write_text(CONF.format(head=head, folder=folder, nodes="\n".join(lines)))
        # Named, so that no cgroup file system is looked for: nothing here uses one.
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        for name in ("state", "home", *(f"spool-{name}" for name in places)):
            (folder / name).mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM_"))}
        environment |= {"SLURM_CONF": f"{folder}/slurm.conf", "HOME": f"{folder}/home", "PYTHONPATH": str(REPOSITORY)}
        environment |= {"LVSEG_ENVIRONMENT": sys.prefix, "TF_CPP_MIN_LOG_LEVEL": "3"}
        # By default the nodes wait 60 s for a head that has ended.
        environment |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}

        def start(name: str, *words: str) -> None:
            with (folder / f"{name}.out").open("wb") as log:
                process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(process.wait, START_S)
            stack.callback(process.kill)

        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
        start("munge", "munged", "--foreground", f"--socket={folder}/munge.socket", *files)
        wait_for("MUNGE", (folder / "munge.socket").exists, START_S)
        start("controller", *prefix, "unshare", "--uts", "sh", "-c", "hostname head && exec slurmctld -D")
        for name, (_, own) in places.items():
            start(name, *own, *ALONE, "--mount", "--uts", "bash", "-c", NODE.format(name=name))
        made = Slurm(folder=folder, prefix=prefix, environment=environment)

        def idle() -> bool:
            time.sleep(0.5)
            asked = subprocess.run(
                [*prefix, "sinfo", "--noheader", "--Node", "--format=%T"],
                env=environment,
                capture_output=True,
                text=True,
            )
            return asked.stdout.split() == ["idle"] * nodes

        wait_for("idle nodes", idle, START_S)
        yield made
