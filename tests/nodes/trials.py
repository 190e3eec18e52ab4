"""A trial that trains nothing and tells where it ran; apart, so that its process loads no TensorFlow."""

import json
import time
from pathlib import Path
from typing import Any

import ray

from lvseg.distributed.trial import Scores, TrialPlan, run_trial
from lvseg.errors import TrainingError
from lvseg.run_folder import Run
from tests.distributed import pretend

BEGUN, PLACES, AT_ONCE = "begun", "places", "at-once"
"""Beside the runs: who has begun, where each was, and how many of them must be there at once."""
WAIT_S = 400


def train_nothing(params: dict[str, Any], *, plan: TrialPlan) -> None:
    run_trial(params, plan=plan, train=train_and_tell)


def train_and_tell(run: Run, plan: TrialPlan, scores: Scores) -> None:
    """Leaves the node and the GPU that the trial had, and from when until when; the first wait for each other."""
    folder = Path(plan.sweep.folder).parent.parent
    context, began = ray.get_runtime_context(), time.monotonic()
    (folder / BEGUN / run.name).touch()
    while len(list((folder / BEGUN).iterdir())) < int((folder / AT_ONCE).read_text()):
        if time.monotonic() > began + WAIT_S:
            raise TrainingError(f"not all are there after {WAIT_S} s")
        time.sleep(0.1)
    told = [context.get_node_id(), context.get_accelerator_ids()["GPU"], began, time.monotonic()]
    (folder / PLACES / run.name).write_text(json.dumps(told))
    pretend.train(run, plan, scores)
