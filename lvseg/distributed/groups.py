"""Placement groups that trials of several workers leave behind.

A Ray Train run inside a trial places its workers itself. When the trial is ended or dies while its workers are being
placed, the group can outlive all of them, and later trials wait for its cores for ever (seen with Ray 2.60).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import ray
from ray._raylet import ActorID, PlacementGroupID
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

LOOK_S = 2.0
"""Time between two looks while a sweep runs."""
_REMOVED = gcs_pb2.PlacementGroupTableData.PlacementGroupState.Value("REMOVED")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A placement group that takes resources, or waits for them."""

    id: bytes
    orphaned: bool
    """Whoever made it is dead."""


def groups_of_this_job() -> list[Group]:
    """All that are not removed."""
    job = ray.get_runtime_context().get_job_id()
    found = []
    for content in _table():
        if content.creator_job_id.hex() == job and content.state != _REMOVED:
            # A group that the driver made, as Ray Tune does for a trial, has no actor; Ray then calls that dead too.
            by_actor = bool(content.creator_actor_id) and not ActorID(content.creator_actor_id).is_nil()
            found.append(Group(id=content.placement_group_id, orphaned=by_actor and content.creator_actor_dead))
    return found


def _table() -> list[gcs_pb2.PlacementGroupTableData]:
    # Ray's public table does not say who made a group.
    accessor = ray._private.state.state._connect_and_get_accessor()
    return [gcs_pb2.PlacementGroupTableData.FromString(each) for each in accessor.get_placement_group_table()]


def remove(group: Group) -> None:
    """Give its resources back."""
    remove_placement_group(PlacementGroup(PlacementGroupID(group.id)))


class GroupSweeper:
    """Removes the groups of trials that are gone, now and then and at the end."""

    def __init__(self) -> None:
        self._before = {group.id for group in groups_of_this_job()}
        self._looked = time.monotonic()
        self.removed = 0
        """How many were left behind."""

    def look(self) -> None:
        """Remove those whose maker is dead."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        self._remove(group for group in self._new() if group.orphaned)

    def finish(self, patience_s: float = 10.0) -> None:
        """No trial runs any more: wait for the groups to go, then remove those that do not."""
        deadline = time.monotonic() + patience_s
        while self._new() and time.monotonic() < deadline:
            time.sleep(0.2)
        self._remove(self._new())
        while self._new() and time.monotonic() < deadline + patience_s:
            time.sleep(0.2)

    def _new(self) -> list[Group]:
        return [group for group in groups_of_this_job() if group.id not in self._before]

    def _remove(self, groups: Iterable[Group]) -> None:
        for group in groups:
            remove(group)
            self.removed += 1
