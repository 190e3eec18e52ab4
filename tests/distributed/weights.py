"""Comparing what two runs have learned."""

from pathlib import Path

import h5py
import numpy as np

WEIGHTS_TOLERANCE = 2e-5
"""Sums over workers are taken in another order: float32 rounding, spread by some Adam steps."""


def last_weights(run: Path) -> dict[str, np.ndarray]:
    """The weights of a run's last checkpoint, by their path in the file."""
    newest = max((run / "checkpoints").glob("epoch-*"))
    found: dict[str, np.ndarray] = {}
    with h5py.File(newest / "model.weights.h5") as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
    return found


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = last_weights(first), last_weights(second)
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=0, atol=WEIGHTS_TOLERANCE, err_msg=name)
