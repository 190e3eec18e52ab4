"""A trial that trains nothing and tells where it ran; apart, so that its process loads no TensorFlow."""

import json
import time
from pathlib import Path
from typing import Any

import ray

from lvseg.distributed.trial import Scores, TrialPlan, run_trial
from lvseg.run_folder import Run
from tests.distributed import pretend


def train_nothing(params: dict[str, Any], *, plan: TrialPlan) -> None:
    run_trial(params, plan=plan, train=train_and_tell)


def train_and_tell(run: Run, plan: TrialPlan, scores: Scores) -> None:
    """Leaves the node and the GPU that the trial had, and from when until when."""
    context, began = ray.get_runtime_context(), time.monotonic()
    time.sleep(0.2)  # others are beside it
    told = [context.get_node_id(), context.get_accelerator_ids()["GPU"], began, time.monotonic()]
    (Path(plan.sweep.folder).parent.parent / "places" / run.name).write_text(json.dumps(told))
    pretend.train(run, plan, scores)
