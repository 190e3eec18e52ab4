from pathlib import Path

from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.train.v2._internal.exceptions import BroadcastCollectiveTimeoutError, WorkerHealthCheckTimeoutError

from lvseg.distributed.lost_workers import LONGEST_REASON, LostWorkers
from lvseg.training.status import RunProgress, read_events, write_progress


def test_every_lost_worker_is_an_event_of_one_line(tmp_path: Path) -> None:
    write_progress(tmp_path, RunProgress(phase="training", epochs=9, epochs_done=3))
    LostWorkers(tmp_path).after_exception(
        None, {1: ValueError('at:\n  File "/home/x.py"\n  went wrong\n[[node]]'), 0: OSError("x" * 999)}
    )
    first, second = read_events(tmp_path)
    assert (first.kind, first.epoch, first.facts["rank"], first.facts["error"]) == ("lost", 3, 0, "OSError")
    assert len(first.facts["text"]) == LONGEST_REASON
    assert second.line("one") == 'lvseg event run=one kind=lost epoch=3 rank=1 error=ValueError text="went wrong"'


def test_a_worker_may_be_lost_before_anything_is_known(tmp_path: Path) -> None:
    LostWorkers(tmp_path).after_exception(None, {0: RuntimeError("gone")})
    (event,) = read_events(tmp_path)
    assert (event.kind, event.epoch) == ("lost", 0)


def test_what_ray_says_of_a_silent_worker(tmp_path: Path) -> None:
    """Found by the health check, or at the barrier of a report, whose error comes through an actor of Ray's."""
    missing = BroadcastCollectiveTimeoutError(8.04, [0], 8)
    carried = RayTaskError("f", "places in code", missing, proctitle="p", pid=1, ip="127.0.0.1").as_instanceof_cause()
    silent = WorkerHealthCheckTimeoutError("A health check has been hanging for 8.15 seconds.\nWorker info: 10.0.0.1")
    LostWorkers(tmp_path).after_exception(None, {0: silent, 1: cloudpickle.loads(cloudpickle.dumps(carried))})
    first, second = (event.facts for event in read_events(tmp_path))
    assert first["error"] == "WorkerHealthCheckTimeoutError"
    assert first["text"] == "A health check has been hanging for 8.15 seconds."
    assert second["error"] == "BroadcastCollectiveTimeoutError"
    assert second["text"].startswith("The collective operation timed out after 8.04 seconds. The following ranks")
