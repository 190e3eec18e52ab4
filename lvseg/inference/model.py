"""A finished run → its model with the best weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import keras

from lvseg.errors import RunError
from lvseg.inference.runs import RunFacts, read_run
from lvseg.models import build_model
from lvseg.run_folder import WEIGHTS_NAME
from lvseg.slices import CLASSES
from lvseg.store import UPath, local_copy
from lvseg.training.checkpoint import load_weights

__all__ = ["LoadedRun", "load_model", "of_shape"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedRun:
    """A model that is ready to predict."""

    facts: RunFacts
    """What it comes from."""
    model: keras.Model
    """With the run's best weights, for images of ``facts.shape``."""


def load_model(run: UPath | RunFacts, records: UPath | None = None) -> LoadedRun:
    """Make a run's model and set its best weights.

    Args:
        run: the run's folder, or what ``read_run`` gave; its ``config.precision`` is the model's.
        records: as in ``read_run``.

    Raises:
        RunError: as ``read_run``; or the weights are damaged, or others than were looked at.
    """
    facts = run if isinstance(run, RunFacts) else read_run(run, records)
    with local_copy(facts.folder / WEIGHTS_NAME) as weights:
        if hashlib.sha256(weights.read_bytes()).hexdigest() != facts.weights_sha256:
            raise RunError(f"{facts.folder / WEIGHTS_NAME}: changed while the prediction ran")
        model = build_model(facts.config, facts.shape, CLASSES[facts.structures])
        load_weights(weights, model)
    return LoadedRun(facts=facts, model=model)


def of_shape(loaded: LoadedRun, shape: tuple[int, int]) -> keras.Model:
    """The same model for images of another size, with the same weights; none of fc, whose weights fit one size."""
    if shape == loaded.facts.shape:
        return loaded.model
    model = build_model(loaded.facts.config, shape, CLASSES[loaded.facts.structures])
    model.set_weights(loaded.model.get_weights())
    return model
