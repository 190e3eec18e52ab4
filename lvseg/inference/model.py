"""A finished run that has been looked at → its model with the best weights."""

from __future__ import annotations

from lvseg.errors import RunError
from lvseg.inference.runs import RunFacts, read_run
from lvseg.run_folder import WEIGHTS_NAME
from lvseg.store import UPath
from lvseg.training.load import LoadedRun, load_model

__all__ = ["load_member"]


def load_member(run: UPath | RunFacts, records: UPath | None = None) -> LoadedRun:
    """Load a run's model for images of its training's size.

    Args:
        run: the run's folder, or what ``read_run`` gave; its ``config.precision`` is the model's.
        records: as in ``read_run``.

    Raises:
        RunError: as ``read_run`` and ``training.load.load_model``; or the weights are others than were looked at.
    """
    facts = run if isinstance(run, RunFacts) else read_run(run, records)
    loaded = load_model(facts.folder, facts.shape, facts.config.precision)
    if loaded.weights_sha256 != facts.weights_sha256:
        raise RunError(f"{facts.folder / WEIGHTS_NAME}: changed while the prediction ran")
    return loaded
