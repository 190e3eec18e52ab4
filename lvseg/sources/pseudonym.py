"""Case ids that identify nobody: public pseudonyms stay, every other patient id becomes a keyed pseudonym."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lvseg.errors import SourceError
from lvseg.sources.cases import canonical_case_id, is_public_case_id

__all__ = ["KEY_VARIABLE", "Pseudonyms", "key_file", "masked_path", "public_path", "read_key"]

KEY_VARIABLE = "LVSEG_PSEUDONYM_KEY"
"""Environment variable with the secret key; the same key gives the same pseudonyms on every machine."""

DIGITS = 16
"""Hexadecimal digits of a pseudonym: among a million patients, two share one with a chance of 3 in 100 million."""

PSEUDONYM = re.compile(rf"P-[0-9a-f]{{{DIGITS}}}")
EXTENSION = r"\.(dcm|dicom|ima|seg|txt|csv|nii|nii\.gz|npy|npz|png|tiff?)"
PLAIN_NAME = re.compile(rf"(IM-\d{{1,4}}-)?\d{{1,5}}(-(i|o|p1|p2)contour-(manual|auto))?({EXTENSION})?", re.IGNORECASE)
"""File names of the known layouts; any other could hold a name."""
NAME_END = re.compile(rf"((?<=[-_…])\d{{1,3}})?{EXTENSION}$", re.IGNORECASE)
"""The end of any other name: a short number, no year or date, and a kind of file."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Maps a patient's original id to a case id. Picklable; the key never enters a record, a log or a file name."""

    key: bytes | None = field(default=None, repr=False)
    """Secret; None: read (or made) when the first id that is not public comes."""

    def case_id(self, original_id: str) -> str:
        """Sunnybrook's and the phantom's own ids as they are, without zero padding; else ``P-`` and a keyed hash."""
        if is_public_case_id(original_id):
            return canonical_case_id(original_id)
        key = read_key() if self.key is None else self.key
        return f"P-{hmac.new(key, original_id.strip().encode(), hashlib.sha256).hexdigest()[:DIGITS]}"


def public_path(path: str, case_id: str) -> str:
    """A file of a case as reports may name it.

    Args:
        path: relative to the source folder.
        case_id: the patient's; where it is a pseudonym, folders and file names could hold what it stands for.

    Returns:
        The path as it is, or masked.
    """
    return masked_path(path, case_id) if PSEUDONYM.fullmatch(case_id) else path


def masked_path(path: str, case_id: str) -> str:
    """The case id and what of the file's name can tell nothing of a person: ``P-…/48.dcm``, ``P-…/….dcm``.

    Args:
        path: relative to the source folder.
        case_id: the patient's; empty where it is not known.
    """
    name = path.rpartition("/")[2]
    kept = PLAIN_NAME.fullmatch(name) or NAME_END.search(name)
    rest = kept[0] if kept else ""
    return f"{case_id or '…'}/{rest if rest == name else '…' + rest}"


def key_file() -> Path:
    """Where the key is kept when the environment names none."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lvseg" / "pseudonym.key"


def read_key() -> bytes:
    """The key from the environment, or from this user's key file, which is made at the first call.

    Raises:
        SourceError: the key file is empty, or can neither be read nor made.
    """
    if value := os.environ.get(KEY_VARIABLE, "").strip():
        return value.encode()
    path = key_file()
    try:
        if not path.exists():
            _make_key_file(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise SourceError(f"{path}: pseudonym key: {error.strerror}; or set {KEY_VARIABLE}") from None
    if not key:
        raise SourceError(f"{path}: the pseudonym key is empty; restore the file, or remove it for a new key")
    return key


def _make_key_file(path: Path) -> None:
    """Write a key aside and link it: the file is whole or not there, and of several processes one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)
