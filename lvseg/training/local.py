"""A run in this process, without Ray: for notebooks, debugging, and the trials of a sweep."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence

from lvseg.results import RunResult
from lvseg.run_folder import CHECKPOINTS_NAME, Run, at_signal, close_run, finish_run, open_run
from lvseg.slices import CLASSES
from lvseg.training.cache import cache_folder, free_bytes
from lvseg.training.context import LocalContext
from lvseg.training.loop import configure_threads, train
from lvseg.training.mlflow import mlflow_listeners
from lvseg.training.monitor import FolderMonitor, Listener
from lvseg.training.plan import IngestPlan, plan_ingest
from lvseg.training.portion import Mode, split_facts
from lvseg.training.shards import open_shard
from lvseg.training.strategy import make_strategy


def train_here(
    run: Run, context: LocalContext, mode: Mode, threads: int, listeners: Sequence[Listener] = ()
) -> RunResult:
    """Train a run to its end, or on from its last checkpoint, in this process.

    Args:
        run: Folder, settings and records.
        context: Keeps checkpoints, says when to stop.
        mode: Where the images are kept.
        threads: For TensorFlow.
        listeners: Who else wants to know how it goes.

    Raises:
        RunError: the run's name belongs to another run.
        StoppedError: the run was told to stop; its state is saved.
        TrainingError: the training failed; the run's ``result.json`` says so too.
    """
    run = run.settled()
    finished = open_run(run)
    if finished is not None:
        return finished
    configure_threads(threads)
    data = run.data
    facts = split_facts(run.records, data)
    outcome = train(
        run.config,
        data.image_shape(run.records),
        facts["train_images"],
        lambda: open_shard(mode, run.records, data, run.config, facts),
        context,
        FolderMonitor(
            run.folder,
            run.config.epochs,
            run.config.picture_every,
            [*listeners, *mlflow_listeners(run.config, run.folder, run.records)],
        ),
        make_strategy(run.config, workers=1),
        classes=CLASSES[data.structures],
    )
    return close_run(run, outcome, lambda: finish_run(run, outcome, context.best_checkpoint))


def plan_here(run: Run) -> IngestPlan:
    """Where this process keeps the images of a run."""
    pixel_bytes = sum(run.data.part(split, run.records).pixel_bytes for split in ("train", "val"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return plan_ingest(run.config.ingest, pixel_bytes, memory, 1, lambda: free_bytes(cache_folder()))


def train_locally(run: Run, say: Callable[[str], None]) -> RunResult:
    """``train_here`` on all of this machine; SIGTERM has the run save its state and stop."""
    threads = run.config.cpus_per_worker or os.cpu_count() or 1
    ingest = plan_here(run)
    say(str(ingest))
    say(f"this process, {threads} threads; {run.config.precision}, up to {run.config.steps_per_call} steps a call")
    stop = threading.Event()
    with at_signal(signal.SIGTERM, stop.set):
        return train_here(run, LocalContext(run.folder / CHECKPOINTS_NAME, stop), ingest.mode, threads)
