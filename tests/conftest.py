"""What the tests of several rooms share."""

import os
from pathlib import Path

import pytest


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
