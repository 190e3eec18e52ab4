"""Which code made a result: versions of packages, and the commit where the code is a checkout."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from lvseg import __version__

__all__ = ["commit", "versions"]

NAMED_PACKAGES = ("tensorflow", "keras", "ray", "numpy", "pyarrow", "pydicom")
COMMIT = "commit"
"""Key of the commit among the versions."""
_TIMEOUT_S = 10.0


def versions() -> dict[str, str]:
    """Versions of lvseg, Python and the packages that a result depends on; ``commit`` where it is known."""
    found = {"lvseg": __version__, "python": platform.python_version()}
    found |= {name: metadata.version(name) for name in NAMED_PACKAGES}
    known = commit()
    return found | {COMMIT: known} if known else found


def commit(root: Path = Path(__file__).parents[1]) -> str | None:
    """The git commit of the code, shortened, with ``-dirty`` where files were changed; None where there is none.

    Args:
        root: folder that holds the package; only a checkout's own top folder counts.
    """
    if (root / ".git").exists():
        return _describe(root)
    return _installed_from()


def _describe(root: Path) -> str | None:
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _installed_from() -> str | None:
    """The commit that pip installed from (PEP 610)."""
    try:
        origin = json.loads(metadata.distribution("lvseg").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return (origin.get("vcs_info", {}).get("commit_id") or "")[:10] or None
