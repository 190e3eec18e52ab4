"""Placement groups that are still there."""

import time

from lvseg.distributed.groups import groups_of_this_job

PATIENCE_S = 60


def groups_left(most: int = 0) -> list[bytes]:
    """Ids of this job's, once they are no more than so many: Ray removes a group in its own time."""
    deadline = time.monotonic() + PATIENCE_S
    while len(found := [group.id for group in groups_of_this_job()]) > most and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
