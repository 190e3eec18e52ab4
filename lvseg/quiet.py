"""Keeps what TensorFlow says of itself at import off the user's terminal."""

from __future__ import annotations

import importlib
import os
import sys


def import_quietly(module: str) -> None:
    """Import a module that loads TensorFlow, with standard error closed while it loads.

    TensorFlow's native code writes there before any log level is heard. An import that fails
    raises as always.
    """
    if "tensorflow" in sys.modules:
        importlib.import_module(module)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
