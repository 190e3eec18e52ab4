"""Clusters: doctor and submit."""

from __future__ import annotations

from pathlib import Path

from lvseg.cli.terminal import INTERRUPTED, open_console, require_durable
from lvseg.errors import ConfigError
from lvseg.store import UPath


def doctor(store: UPath | None, workers: int | None, *, train: bool, timeout_s: float, verbose: bool) -> int:
    """Look at the cluster; 1 where something is not fit."""
    from lvseg.distributed.doctor import diagnose, print_findings
    from lvseg.distributed.session import ray_session

    if store is not None:
        require_durable("store", store)
    with ray_session(workers or 2, verbose=verbose):
        return int(not print_findings(open_console(), diagnose(store, workers, train, timeout_s)))


def submit(
    verb: str | None,
    words: tuple[str, ...],
    *,
    job_id: str | None,
    install: Path | None,
    driver_label: str | None,
    detach: bool,
    attach: str | None,
) -> int:
    """Send a job and follow it; its exit status."""
    if (verb is None) == (attach is None):
        raise ConfigError("submit needs a verb, or --attach and the id of a job")
    from lvseg.distributed import submit as sending

    console = open_console()
    id = attach or job_id or sending.job_id((str(verb), *words))
    if verb is not None:
        sending.submit(sending.Job(words=(verb, *words), id=id, install=install, driver_label=driver_label))
        console.print(f"job {id}; come back with: lvseg submit --attach {id}", soft_wrap=True)
    if detach:
        return 0
    try:
        return sending.follow(id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        goes_on = f"the job goes on; come back with: lvseg submit --attach {id}; end it with: ray job stop {id}"
        console.print(f"\nlvseg: detached; {goes_on}", soft_wrap=True)
        return INTERRUPTED
