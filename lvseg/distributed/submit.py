"""``lvseg submit``: a verb as a job of a Ray cluster.

What travels is lvseg's own code and the files that the job's flags name, nothing else: data, records and runs stay
where every node sees them. Address and token come from the variables that every Ray client knows:
``RAY_API_SERVER_ADDRESS`` or ``RAY_ADDRESS``, ``RAY_AUTH_MODE``, ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import lvseg
from lvseg.config import LABEL_PATTERN
from lvseg.distributed.placement import selectors
from lvseg.errors import ClusterError, ConfigError

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""The first that is set tells where the job API is, as in ``ray job submit``."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""The head itself, or the near end of a tunnel to it."""
FILE_FLAGS = ("--config", "--space", "--split")
"""Flags of the verbs whose value may be a file; one of the submitting machine travels with the job."""
FILES_FOLDER = "files"
TALKATIVE = (
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
"""Loggers of Ray that tell of every step."""
POLL_S = 1.0
RECONNECTS = 5
"""How often in a row the log is asked for again after the connection broke."""
_AUTHENTICATION = ("Authentication required", "Authentication failed", "authentication token")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to run on the cluster."""

    words: tuple[str, ...]
    """A verb and its arguments, as after ``lvseg``."""
    id: str
    """Name of the job on its cluster, never used there before."""
    install: Path | None = None
    """Requirements file that the cluster installs for this job; None: its nodes have what lvseg needs."""
    driver_label: str | None = None
    """Label, key=value, of the nodes that the job's driver may run on; None: the cluster's head."""


def job_id(words: Sequence[str], now: datetime | None = None) -> str:
    """A name that says what the job is: verb, the run's name where there is one, time."""
    pairs = pairwise(words)
    named = [value for flag, value in pairs if flag == "--name"] + [w[7:] for w in words if w.startswith("--name=")]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", "".join(named[:1]))
    parts = ("lvseg", words[0], name, f"{now or datetime.now(UTC):%Y%m%d-%H%M%S}")
    return "-".join(part for part in parts if part)


@contextmanager
def packed(job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
    """The job's command, and its runtime environment on a folder that is there for the length of the block.

    Raises:
        ConfigError: a file that a flag names cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lvseg-submit-") as name:
        folder = Path(name)
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(Path(lvseg.__file__).parent, folder / "lvseg", ignore=ignored)
        words = _with_files(job.words, folder / FILES_FOLDER)
        environment: dict[str, Any] = {"working_dir": str(folder)}
        if job.install is not None:
            # Ray keeps installed environments by the text of this setting: the content must be part of it.
            content = _content("--install", job.install)
            lock = folder / f"requirements-{hashlib.sha256(content).hexdigest()[:16]}.txt"
            lock.write_bytes(content)
            environment["pip"] = {"packages": [f"-r ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{lock.name}"]}
        yield shlex.join(["python", "-m", "lvseg.cli", *words]), environment


def _with_files(words: Sequence[str], folder: Path) -> list[str]:
    """Copy the files that flags name into a folder; the words then name the copies."""
    out: list[str] = []
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if not equals:
            flag, value = (words[index - 1] if index else ""), word
        if flag in FILE_FLAGS and "://" not in value and Path(value).is_file():
            folder.mkdir(exist_ok=True)
            copy = folder / f"{index}-{Path(value).name}"
            copy.write_bytes(_content(flag, Path(value)))
            word = f"{flag}={folder.name}/{copy.name}" if equals else f"{folder.name}/{copy.name}"
        out.append(word)
    return out


def _content(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag}: {path}: cannot be read: {error.strerror or error}") from None


def submit(job: Job) -> None:
    """Hand a job to the cluster; it then runs whether or not anybody looks on.

    Raises:
        ClusterError: no cluster answers, it refuses the token, or it refuses the job.
        ConfigError: a file that the job needs cannot be read.
    """
    with packed(job) as (command, environment), _told_in_one_line():
        labels = _driver_selector(job.driver_label)
        _client().submit_job(
            entrypoint=command, submission_id=job.id, runtime_env=environment, entrypoint_label_selector=labels
        )


def follow(id: str, show: Callable[[str], None]) -> int:
    """Show a job's output until the job ends; what is there already comes first.

    Args:
        id: As ``submit`` or ``ray job list`` knows it.
        show: Called with pieces of the output.

    Returns:
        The job's exit status; 128 and more where a signal ended it.

    Raises:
        ClusterError: the cluster cannot be reached, or knows no such job.
    """
    with _told_in_one_line():
        client, shown, failures = _client(), _Shown(show), 0
        while not client.get_job_status(id).is_terminal():
            before = shown.count
            try:
                asyncio.run(_tail(client, id, shown))
            except Exception:  # whatever it is that breaks a connection
                failures = failures + 1 if shown.count == before else 0
                if failures > RECONNECTS:
                    raise
            time.sleep(POLL_S)
        shown.take(0, client.get_job_logs(id))
        return _exit_status(client.get_job_info(id), show)


def _driver_selector(label: str | None) -> dict[str, str] | None:
    if label is not None and not re.match(LABEL_PATTERN, label):
        raise ConfigError(f"driver_label must be key=value, got {label!r}")
    return selectors([label]) if label else None


class _Shown:
    """Which part of a log was shown: after a broken connection the log comes from its start again."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.count = 0
        self._show = show

    def take(self, start: int, text: str) -> None:
        """Show what is new of a text that begins at a character of the log."""
        new = text[max(0, self.count - start) :]
        if new:
            self._show(new)
            self.count = start + len(text)


async def _tail(client: Any, id: str, shown: _Shown) -> None:
    position = 0
    async for lines in client.tail_job_logs(id):
        shown.take(position, lines)
        position += len(lines)


def _exit_status(info: Any, show: Callable[[str], None]) -> int:
    if info.status == "SUCCEEDED":
        return 0
    code = info.driver_exit_code
    if code is None:  # the command was never started, or the cluster lost it
        lines = [line.strip() for line in str(info.message).splitlines() if line.strip()]
        show(f"job {info.submission_id}: {info.status.lower()}: {lines[-1] if lines else 'no reason given'}\n")
        return 1
    return code if code > 0 else 128 - code if code < 0 else 1


def _client() -> Any:
    from ray.job_submission import JobSubmissionClient

    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    return JobSubmissionClient(None if _address_variable() else DEFAULT_ADDRESS)


def _address_variable() -> str | None:
    return next((name for name in ADDRESS_VARIABLES if os.environ.get(name)), None)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """What Ray's client raises, as an error for the user."""
    from ray.exceptions import AuthenticationError

    variable = _address_variable()
    where = f"{variable} {os.environ[variable]}" if variable else DEFAULT_ADDRESS
    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(f"{where}: {_token_fault(str(error))}") from None
    except (OSError, RuntimeError, ValueError) as error:
        if any(sign in str(error) for sign in _AUTHENTICATION):
            raise ClusterError(f"{where}: {_token_fault(str(error))}") from None
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ClusterError(f"{where}: {lines[-1] if lines else type(error).__name__}") from None


def _token_fault(message: str) -> str:
    if "failed" in message:
        return "the cluster refuses this token; RAY_AUTH_TOKEN, or ~/.ray/auth_token, must hold the cluster's"
    return "the cluster asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token"
