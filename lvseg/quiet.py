"""How TensorFlow is loaded: with its fastest kernels, and without what it says of itself at import."""

from __future__ import annotations

import importlib
import os
import sys

TENSORFLOW_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
"""Variable that says what TensorFlow's native code tells: from 0, everything, to 3, fatal errors only."""
TENSORFLOW_KERNELS = {"TF_ENABLE_ONEDNN_OPTS": "1"}
"""TensorFlow turns oneDNN on by itself on the newest processors only; docs/benchmarks.md says what it gives on others.

It is read once, when TensorFlow loads; a value that is set already stays.
"""

KERAS_OPTIONAL = ("cv2", "matplotlib", "pandas", "sklearn")
"""Packages that Keras loads where they are installed, for functions of its own that lvseg does not use."""


def import_keras() -> None:
    """Load TensorFlow and Keras quietly, and without the optional packages, which are 2 of 5 parts of the time."""
    hidden = [name for name in KERAS_OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        import_quietly("tensorflow")
        import_quietly("keras")
    finally:
        for name in hidden:
            del sys.modules[name]


def import_quietly(module: str) -> None:
    """Import a module that loads TensorFlow, with standard error closed while it loads.

    TensorFlow's native code writes there before any log level is heard; where the level is 0, it is let. An import
    that fails raises as always.
    """
    for variable, value in TENSORFLOW_KERNELS.items():
        os.environ.setdefault(variable, value)
    if "tensorflow" in sys.modules or os.environ.get(TENSORFLOW_LEVEL) == "0":
        importlib.import_module(module)
        return
    os.environ.setdefault(TENSORFLOW_LEVEL, "3")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        importlib.import_module(module)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
