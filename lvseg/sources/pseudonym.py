"""Case ids that identify nobody: public pseudonyms stay, every other patient id becomes a keyed pseudonym."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from lvseg.errors import SourceError
from lvseg.sources.cases import canonical_case_id, is_public_case_id

__all__ = ["KEY_VARIABLE", "Pseudonyms", "key_file", "read_key"]

KEY_VARIABLE = "LVSEG_PSEUDONYM_KEY"
"""Environment variable with the secret key; the same key gives the same pseudonyms on every machine."""

DIGITS = 16
"""Hexadecimal digits of a pseudonym: among a million patients, two share one with a chance of 3 in 100 million."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Maps a patient's original id to a case id. Picklable; the key never enters a record, a log or a file name."""

    key: bytes | None = None
    """Secret; None: read (or made) when the first id that is not public comes."""

    def case_id(self, original_id: str) -> str:
        """Sunnybrook's and the phantom's own ids as they are, without zero padding; else ``P-`` and a keyed hash."""
        if is_public_case_id(original_id):
            return canonical_case_id(original_id)
        key = read_key() if self.key is None else self.key
        return f"P-{hmac.new(key, original_id.strip().encode(), hashlib.sha256).hexdigest()[:DIGITS]}"


def key_file() -> Path:
    """Where the key is kept when the environment names none."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lvseg" / "pseudonym.key"


def read_key() -> bytes:
    """The key from the environment, or from this user's key file, which is made at the first call.

    Raises:
        SourceError: the key file can neither be read nor made.
    """
    if value := os.environ.get(KEY_VARIABLE):
        return value.encode()
    path = key_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes().strip()
        key = secrets.token_hex(32).encode()
        with os.fdopen(descriptor, "wb") as file:
            file.write(key + b"\n")
        return key
    except OSError as error:
        raise SourceError(f"{path}: pseudonym key: {error.strerror}; or set {KEY_VARIABLE}") from None
