"""The phantom's study, written once."""

from __future__ import annotations

import pytest

from lvseg.outputs import PredictedStudy
from tests.outputs.studies import phantom_study


@pytest.fixture(scope="session")
def cine(tmp_path_factory) -> PredictedStudy:
    """Three slices of five phases with DICOM sources that hold personal data."""
    return phantom_study(tmp_path_factory.mktemp("outputs") / "source", identifiers=True)
