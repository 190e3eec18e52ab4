"""Full-state checkpoints: weights, optimizer, and where the run stands. All that a resumed run needs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from lvseg.errors import RunError
from lvseg.training.state import CHECKPOINT_WEIGHTS

if TYPE_CHECKING:
    from lvseg.training.engine import Engine

_TRAINING_NAME = "training.npz"
_STATE_NAME = "state.json"


def save_checkpoint(folder: Path, engine: Engine, state: dict[str, Any]) -> None:
    """Write the full state into an empty folder; ``state`` is any JSON value.

    The weights file holds the weights that are scored: the averaged ones, where the run has an average.
    """
    with engine.scored_weights():
        engine.model.save_weights(folder / CHECKPOINT_WEIGHTS)
    numbered: dict[str, Any] = {f"{n:05d}": values for n, values in enumerate(training_values(engine))}
    np.savez(folder / _TRAINING_NAME, **numbered)
    (folder / _STATE_NAME).write_text(json.dumps(state), encoding="utf-8")


def load_checkpoint(folder: Path, engine: Engine) -> dict[str, Any]:
    """Set the engine to the saved values and return the saved state.

    Raises:
        RunError: the checkpoint is damaged or of another model.
    """
    try:
        load_weights(folder / CHECKPOINT_WEIGHTS, engine.model)
        with np.load(folder / _TRAINING_NAME, allow_pickle=False) as file:
            set_training_values(engine, [file[name] for name in sorted(file.files)])
        return json.loads((folder / _STATE_NAME).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{folder}: damaged checkpoint: {' '.join(str(error).split())}") from None


def training_values(engine: Engine) -> list[NDArray[Any]]:
    """All that changes while a run trains: weights, optimizer, average."""
    return [keras.ops.convert_to_numpy(variable) for variable in engine.variables]


def set_training_values(engine: Engine, values: list[NDArray[Any]]) -> None:
    """Set what ``training_values`` gave.

    Raises:
        ValueError: of another model or optimizer.
    """
    for variable, value in zip(engine.variables, values, strict=True):
        variable.assign(value)


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
