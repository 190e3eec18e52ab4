"""Full-state checkpoints: weights, optimizer, and where the run stands. All that a resumed run needs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lvseg.errors import RunError
from lvseg.training.state import CHECKPOINT_WEIGHTS

_OPTIMIZER_NAME = "optimizer.npz"
_STATE_NAME = "state.json"


def save_checkpoint(folder: Path, model: keras.Model, optimizer: keras.Optimizer, state: dict[str, Any]) -> None:
    """Write the full state into an empty folder; ``state`` is any JSON value."""
    model.save_weights(folder / CHECKPOINT_WEIGHTS)
    values = {f"{index:04d}": keras.ops.convert_to_numpy(v) for index, v in enumerate(optimizer.variables)}
    np.savez(folder / _OPTIMIZER_NAME, **values)
    (folder / _STATE_NAME).write_text(json.dumps(state), encoding="utf-8")


def load_checkpoint(folder: Path, model: keras.Model, optimizer: keras.Optimizer) -> dict[str, Any]:
    """Set model and optimizer to the saved values and return the saved state.

    Raises:
        RunError: the checkpoint is damaged or of another model.
    """
    try:
        load_weights(folder / CHECKPOINT_WEIGHTS, model)
        with np.load(folder / _OPTIMIZER_NAME, allow_pickle=False) as file:
            for name, variable in zip(sorted(file.files), optimizer.variables, strict=True):
                variable.assign(file[name])
        return json.loads((folder / _STATE_NAME).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{folder}: damaged checkpoint: {' '.join(str(error).split())}") from None


def load_weights(path: Path, model: keras.Model) -> None:
    """Set the model's weights from a file that ``save_checkpoint`` wrote.

    Raises:
        RunError: the file is missing, damaged, or of another model.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such weights file")
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: not weights of this {model.name}: {' '.join(str(error).split())[:200]}") from None
