"""What the tests of several rooms share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvseg.quiet import TENSORFLOW_KERNELS
from tests.processes import SLOW_START

os.environ.update(TENSORFLOW_KERNELS)  # before any test loads TensorFlow: the numbers of a run and of its workers
os.environ.update(SLOW_START)


@pytest.fixture(scope="session", autouse=True)
def pseudonym_key() -> Iterator[None]:
    """A key of the tests' own: none is made in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVSEG_PSEUDONYM_KEY", "tests")
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def sunnybrook() -> Path:
    """The folder that holds ``sunnybrook-dicom/`` and ``sunnybrook-png/``; skips where it is not there."""
    name = os.environ.get("LVSEG_SUNNYBROOK")
    if not name:
        pytest.skip("LVSEG_SUNNYBROOK names no folder")
    folder = Path(name)
    if not (folder / "sunnybrook-dicom").is_dir():
        pytest.fail(f"LVSEG_SUNNYBROOK={name}: expected a folder that holds sunnybrook-dicom/")
    return folder
