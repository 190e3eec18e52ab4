"""Full-state checkpoints: weights, optimizer, and where the run stands. All that a resumed run needs.

::

    epoch-00005-1767323045123456789/
    ├── model.weights.h5   the weights that are scored
    ├── training.npz       all that changes while a run trains
    ├── state.json         RunState
    └── hashes.json        SHA-256 of the three

Reading them runs no code from them: arrays and JSON only.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from lvseg.errors import RunError
from lvseg.store import file_sha256
from lvseg.training.state import CHECKPOINT_WEIGHTS, STATE_NAME

if TYPE_CHECKING:
    from lvseg.store import UPath
    from lvseg.training.engine import Engine

_TRAINING_NAME = "training.npz"
_HASHES_NAME = "hashes.json"
_HASHED = (CHECKPOINT_WEIGHTS, _TRAINING_NAME, STATE_NAME)
_SHOWN_DIGITS = 16
"""Of a hash in an error: enough to tell two files apart."""
_SHOWN_SHAPES = 3
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, AttributeError, zipfile.BadZipFile)
"""What h5py, Keras and NumPy raise on damaged files, as a fuzz of all three showed."""


def save_checkpoint(folder: Path, engine: Engine, state: dict[str, Any]) -> None:
    """Write the full state into an empty folder; ``state`` is any JSON value.

    The weights file holds the weights that are scored: the averaged ones, where the run has an average.
    """
    with engine.scored_weights():
        engine.model.save_weights(folder / CHECKPOINT_WEIGHTS)
    numbered: dict[str, Any] = {f"{n:05d}": values for n, values in enumerate(training_values(engine))}
    np.savez(folder / _TRAINING_NAME, **numbered)
    (folder / STATE_NAME).write_text(json.dumps(state), encoding="utf-8")
    hashes = {name: file_sha256(folder / name) for name in _HASHED}
    (folder / _HASHES_NAME).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path, engine: Engine) -> dict[str, Any]:
    """Set the engine to the saved values and return the saved state.

    Raises:
        RunError: the checkpoint is damaged, was changed, or is of another model.
    """
    try:
        _check_hashes(folder)
        load_weights(folder / CHECKPOINT_WEIGHTS, engine.model)
        with np.load(folder / _TRAINING_NAME, allow_pickle=False) as file:
            set_training_values(engine, [file[name] for name in sorted(file.files)])
        return dict(json.loads((folder / STATE_NAME).read_text(encoding="utf-8")))
    except _UNREADABLE as error:
        raise RunError(f"{folder}: damaged checkpoint: {_one_line(error)}") from None


def _check_hashes(folder: Path) -> None:
    """Compare with what was written; checkpoints of earlier versions have no hashes."""
    if not (folder / _HASHES_NAME).exists():
        return
    hashes = json.loads((folder / _HASHES_NAME).read_text(encoding="utf-8"))
    for name in _HASHED:
        if not (folder / name).is_file():
            raise RunError(f"{folder / name}: damaged checkpoint: no such file")
        require_sha256(folder / name, hashes[name], folder / name)


def require_sha256(path: Path, expected: str, shown: Path | UPath) -> None:
    """Refuse a file with other bytes than those that were written.

    Raises:
        RunError: the hash differs; names the file by ``shown``.
    """
    found = file_sha256(path)
    if found != expected:
        raise RunError(
            f"{shown}: damaged or changed since it was written: sha-256 is {found[:_SHOWN_DIGITS]}…, "
            f"expected {str(expected)[:_SHOWN_DIGITS]}…"
        )


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


def load_weights(path: Path, model: keras.Model, shown: Path | UPath | None = None) -> None:
    """Set the model's weights from a file that ``save_checkpoint`` wrote.

    Args:
        path: HDF5 file; of it only arrays are read, and only those that lie in it.
        model: Built from settings; the file has no say in what it computes.
        shown: Name of the file in errors, where ``path`` is a copy.

    Raises:
        RunError: the file is missing, damaged, or of another model.
    """
    shown = shown or path
    if not path.is_file():
        raise RunError(f"{shown}: no such weights file")
    try:
        found = _array_shapes(path)
        expected = Counter(tuple(weight.shape) for weight in model.weights)
        if found != expected:
            raise ValueError(f"found {_list_shapes(found - expected)}, expected {_list_shapes(expected - found)}")
        model.load_weights(path)
    except _UNREADABLE as error:
        raise RunError(f"{shown}: not weights of this {model.name}: {_one_line(error)[:200]}") from None


def _array_shapes(path: Path) -> Counter[tuple[int, ...]]:
    """How many arrays of each shape an HDF5 file has.

    Raises:
        ValueError: something in it lies in another file.
    """
    with h5py.File(path, "r") as file:
        return _shapes_below(file)


def _shapes_below(group: h5py.Group) -> Counter[tuple[int, ...]]:
    # By hand: an error within h5py's own walk comes out as a SystemError.
    shapes: Counter[tuple[int, ...]] = Counter()
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{group.name}/{name} is a link, expected arrays in this file")
        item = group[name]
        if isinstance(item, h5py.Group):
            shapes += _shapes_below(item)
        elif item.external or item.is_virtual:
            raise ValueError(f"{item.name} lies in another file")
        else:
            shapes[tuple(item.shape)] += 1
    return shapes


def _list_shapes(shapes: Counter[tuple[int, ...]]) -> str:
    """``2 more of 3x3x64x64, 1 of 64`` in words for an error."""
    listed = [f"{count} of {'x'.join(map(str, shape)) or 'one number'}" for shape, count in shapes.items()]
    more = f" and {len(listed) - _SHOWN_SHAPES} more" if len(listed) > _SHOWN_SHAPES else ""
    return f"{', '.join(listed[:_SHOWN_SHAPES])}{more}" if listed else "no others"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
