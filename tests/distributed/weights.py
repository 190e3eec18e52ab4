"""Comparing what two runs have learned."""

import io
from pathlib import Path

import h5py
import numpy as np

from lvseg.store import UPath

WEIGHTS_TOLERANCE = 2e-5
"""Sums over workers are taken in another order: float32 rounding, spread by some Adam steps."""


def last_weights(run: Path | UPath) -> dict[str, np.ndarray]:
    """The weights of a run's last checkpoint, by their path in the file."""
    kept = (path for path in (run / "checkpoints").iterdir() if path.name.startswith("epoch-"))
    newest = max(kept, key=lambda path: path.name)
    found: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO((newest / "model.weights.h5").read_bytes())) as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
    return found


def assert_same_weights(first: Path | UPath, second: Path | UPath) -> None:
    ours, theirs = last_weights(first), last_weights(second)
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=0, atol=WEIGHTS_TOLERANCE, err_msg=name)
