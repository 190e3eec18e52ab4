"""The Slurm scripts: linted, and run with stand-ins for Slurm and Ray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("cluster/slurm/*.sbatch"))

pytestmark = pytest.mark.deploy

# Each stand-in notes how it was called; ray then runs the command, as symmetric-run does on the head.
STAND_INS = {
    "srun": 'echo "srun $*" >> "$NOTES"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": 'echo "ray $*" >> "$NOTES"; while [[ $1 != -- ]]; do shift; done; shift; ${RAY_FAILS:+exit 0}; "$@"',
    "lvseg": 'echo "lvseg $RAY_ADDRESS $RAY_AUTH_MODE $(stat -c %a "$RAY_AUTH_TOKEN_PATH") $*" >> "$NOTES"\n'
    "$LVSEG_DOES",
    "scontrol": 'echo "scontrol $*" >> "$NOTES"',
}


def run(folder: Path, script: str, *arguments: str, **variables: str) -> tuple[int, list[str]]:
    """Exit status of a script, and what was called, a line each."""
    binaries = folder / "environment/bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    for name, body in STAND_INS.items():
        (binaries / name).write_text(f"#!/bin/bash\n{body}\n")
        (binaries / name).chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LVSEG_ENVIRONMENT": str(folder / "environment"),
        "HEAD_IP": "192.0.2.1",
        "NOTES": str(folder / "notes"),
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "32",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_TMPDIR": str(folder / "scratch"),
    }
    done = subprocess.run(
        ["bash", ROOT / "cluster/slurm" / script, *arguments], env=environment | variables, cwd=folder, timeout=30
    )
    return done.returncode, (folder / "notes").read_text().splitlines()


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "cluster/slurm/ray-job.sh"], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, "-x", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_job_has_its_nodes_to_itself_and_can_be_queued_again(script: Path) -> None:
    flags = [line.removeprefix("#SBATCH ") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--ntasks-per-node=1", "--exclusive", "--requeue"} <= set(flags)
    assert any(flag.startswith("--signal=B:USR1@") for flag in flags)


def test_train_uses_every_gpu_of_the_job(tmp_path: Path) -> None:
    status, notes = run(tmp_path, "train.sbatch", "/s/records", "/s/runs", "one", "--model", "unet")
    assert status == 0
    (ray,) = [note for note in notes if note.startswith("ray ")]
    address = "192.0.2.1:20041"
    assert ray.startswith(f"ray symmetric-run --address {address} --min-nodes 2 --num-cpus 32 --num-gpus 4 -- ")
    (called,) = [note for note in notes if note.startswith("lvseg ")]
    assert called == (
        f"lvseg {address} token 600 train /s/records --runs /s/runs --name one"
        " --workers 8 --gpu --cpus-per-worker 8 --model unet"
    )
    assert notes[-1].endswith(f"rm -rf /tmp/ray-41 {tmp_path}/scratch/lvseg-cache-41")
    assert list((tmp_path / ".ray").iterdir()) == []


def test_convert_and_tune(tmp_path: Path) -> None:
    _, converted = run(tmp_path / "a", "convert.sbatch", "/s/source", "/s/records")
    _, tuned = run(tmp_path / "b", "tune.sbatch", "/s/records", "/s/runs", "sweep", "--trials", "64")
    assert any(note.endswith("convert /s/source /s/records") and note.startswith("lvseg") for note in converted)
    assert any("--num-gpus 4 --" in note for note in converted)
    expected = "tune /s/records --runs /s/runs --name sweep --gpu --cpus-per-worker 8 --trials 64"
    assert any(note.endswith(expected) and note.startswith("lvseg") for note in tuned)


def test_nodes_without_gpus(tmp_path: Path) -> None:
    _, trained = run(tmp_path / "a", "train.sbatch", "/s/records", "/s/runs", "one", SLURM_GPUS_ON_NODE="0")
    _, tuned = run(tmp_path / "b", "tune.sbatch", "/s/records", "/s/runs", "sweep", SLURM_GPUS_ON_NODE="0")
    assert any("--num-gpus 0 --" in note for note in trained)
    assert any(note.endswith("--name one --workers 2 --cpus-per-worker 32") for note in trained)
    assert any(note.endswith("--name sweep --cpus-per-worker 1") for note in tuned)


def test_the_exit_status_is_the_verbs(tmp_path: Path) -> None:
    status, notes = run(tmp_path, "convert.sbatch", "a", "b", LVSEG_DOES="exit 2")
    assert status == 2
    assert not [note for note in notes if note.startswith("scontrol")]


def test_a_cluster_that_does_not_start_is_a_failure(tmp_path: Path) -> None:
    status, notes = run(tmp_path, "convert.sbatch", "a", "b", RAY_FAILS="yes")
    assert status == 1
    assert not [note for note in notes if note.startswith("lvseg")]


def test_before_the_time_is_up_a_run_is_stopped_and_queued_again(tmp_path: Path) -> None:
    (tmp_path / "runs/one").mkdir(parents=True)
    does = tmp_path / "does"
    does.write_text(
        '#!/bin/bash\nkill -USR1 "$BATCH"\nfor _ in {1..100}; do [[ -e runs/one/stop ]] && exit 75; sleep 0.05; done\n'
    )
    does.chmod(0o755)
    # $$ of the batch script: it sources ray-job.sh, so the variable is known there.
    status, notes = run(
        tmp_path, "train.sbatch", "r", str(tmp_path / "runs"), "one", LVSEG_DOES=str(does), BASH_ENV=make_env(tmp_path)
    )
    assert status == 75
    assert "scontrol requeue 41" in notes


def make_env(folder: Path) -> str:
    """Read by every bash that runs a script; the first, the batch script, leaves its process id."""
    path = folder / "batch-env"
    path.write_text("export BATCH=${BATCH:-$$}\n")
    return str(path)
