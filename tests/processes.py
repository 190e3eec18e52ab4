"""Processes that a test starts, and those that they start."""

import signal
from collections.abc import Sequence

import psutil

SLOW_START = {"RAY_raylet_start_wait_time_s": "180"}
"""For Ray's nodes, which may take longer than its 30 s to start beside other work."""


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it; none where it is gone."""
    try:
        own = psutil.Process(pid)
        return [own, *own.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Sequence[psutil.Process], number: int = signal.SIGKILL) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def running(pid: int, words: str) -> list[psutil.Process]:
    """Those of a family whose command holds some words."""
    found = []
    for process in family(pid):
        try:
            if words in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
