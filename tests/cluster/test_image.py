"""The Dockerfile, linted; there is no container engine in the tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster/Dockerfile"

pytestmark = pytest.mark.deploy


def allowed() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert [name for name in allowed() if not (ROOT / name).exists()] == []
    assert {"lvseg", "pyproject.toml", "README.md", "LICENSE"} <= set(allowed())


def test_both_images_are_installed_from_hashed_locks_and_run_as_nobody_special() -> None:
    text = DOCKERFILE.read_text().replace("\\\n", "")
    stages = {
        match[1]: match[2] for match in re.finditer(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", text, re.DOTALL | re.M)
    }
    locks = re.findall(r"source=(requirements/\S+?),", text)
    assert sorted(locks) == ["requirements/gpu.txt", "requirements/lock.txt"]
    assert set(locks) <= set(allowed())
    assert text.count("pip install --require-hashes -r /lock.txt") == len(locks)
    for name in ("cpu", "gpu"):
        assert f"--from={name}-packages /opt/lvseg /opt/lvseg" in stages[name]
        instructions = [line for line in stages[name].splitlines() if line and not line.startswith("#")]
        assert instructions[-2:] == ["USER 1000:1000", 'CMD ["lvseg", "--help"]']


def test_no_secret_is_baked_in() -> None:
    assert not re.search(r"RAY_AUTH_TOKEN|auth_token|PSEUDONYM_KEY|AWS_SECRET", DOCKERFILE.read_text())
