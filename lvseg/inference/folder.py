"""The folder that a prediction fills: claimed first, a folder a study, tables and manifest last.

::

    OUT/predict.json                which runs, which settings, what was left out
    ├── volumes.csv, .parquet       a line a study
    ├── volume-time.csv             a line a phase
    ├── images.csv                  a line an image
    └── CASE/                       whole or not there
        ├── study.json              its lines of the tables
        ├── volume-time.png
        └── contours-auto/, masks/  and what else was asked for
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from lvseg import __version__
from lvseg.errors import ConfigError, LvsegError
from lvseg.findings import Skip
from lvseg.inference.prepare import Failure
from lvseg.inference.tables import StudyNote, draw_curve, write_tables
from lvseg.logs import utc_now
from lvseg.outputs import PredictedStudy, write_outputs
from lvseg.sources.listing import natural_key
from lvseg.store import UPath, is_local, list_folder, remove_tree, write_bytes, write_text
from lvseg.versions import versions

__all__ = [
    "PREDICT_FILE",
    "STUDY_FILE",
    "PredictManifest",
    "claim",
    "close",
    "finished_cases",
    "read_notes",
    "write_study",
]

PREDICT_FILE = "predict.json"
STUDY_FILE = "study.json"
CURVE_FILE = "volume-time.png"
NOTES = TypeAdapter(StudyNote)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictManifest:
    """``predict.json``: what was done, with which weights."""

    status: Literal["running", "finished"]
    """finished: every study has its folder, but for the failures."""
    fingerprint: str
    """Identity of runs, settings and source: another prediction is refused the folder."""
    runs: tuple[dict[str, Any], ...]
    """Name, model, hashes of weights and records, label convention, structures and preprocessing of each."""
    settings: dict[str, Any]
    """What the results depend on."""
    studies: int = 0
    """Studies with a folder."""
    images: int = 0
    """Images in them."""
    look_images: int = 0
    """Of these, images that a person should look at."""
    failures: tuple[Failure, ...] = ()
    """Studies without a result, and why."""
    doubts: tuple[Failure, ...] = ()
    """Studies whose volumes may mislead, and why."""
    skipped: tuple[Skip, ...] = ()
    """Files that were left out, and why."""
    versions: dict[str, str] | None = None
    """The code."""
    finished_at: str | None = None
    """UTC."""

    @property
    def misleads(self) -> bool:
        """Whether a study has no result, or one in doubt."""
        return bool(self.failures or self.doubts)


def fingerprint(*parts: Any) -> str:
    """Identity of what a prediction depends on."""
    return hashlib.sha256(json.dumps([__version__, *parts], sort_keys=True, default=str).encode()).hexdigest()


def claim(out: UPath, manifest: PredictManifest) -> frozenset[str]:
    """Take the folder, or go on in it.

    Returns:
        Case ids of the studies that are finished.

    Raises:
        ConfigError: it holds other files, or the prediction of other runs, settings or sources.
        LvsegError: it cannot be written.
    """
    try:
        names = list_folder(out)
        if PREDICT_FILE in names:
            _require_same(out, manifest)
        elif out.is_file() or names:
            shown = ", ".join(list(names)[:3]) or "a file"
            raise ConfigError(f"{out}: holds other files ({shown}); name an empty or new folder")
        finished = finished_cases(out)
        if is_local(out):
            for name in names:
                if name.endswith(".partial"):
                    remove_tree(out / name)
        _write(out, manifest)
    except OSError as error:
        raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None
    return frozenset(finished)


def finished_cases(out: UPath) -> list[str]:
    """Case ids of the studies whose folders are whole, in natural order."""
    found = [name for name, is_folder in list_folder(out).items() if is_folder and not name.startswith(".")]
    return sorted((name for name in found if (out / name / STUDY_FILE).exists()), key=natural_key)


def _require_same(out: UPath, manifest: PredictManifest) -> None:
    try:
        before = json.loads((out / PREDICT_FILE).read_text(encoding="utf-8"))["fingerprint"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{out / PREDICT_FILE}: damaged; name an empty or new folder") from None
    if before != manifest.fingerprint:
        raise ConfigError(f"{out}: holds a prediction of other runs, settings or files; name an empty or new folder")


def _write(out: UPath, manifest: PredictManifest) -> None:
    write_text(out / PREDICT_FILE, json.dumps(dataclasses.asdict(manifest), indent=2, ensure_ascii=False) + "\n")


def write_study(out: UPath, study: PredictedStudy, note: StudyNote, kinds: Sequence[str]) -> StudyNote:
    """Write a study's folder: aside, then renamed; in an object store ``study.json`` comes last.

    Returns:
        The note with the names of the files.

    Raises:
        LvsegError: it cannot be written.
    """
    final = out / study.case_id
    folder = out / f".{study.case_id}.{secrets.token_hex(4)}.partial" if is_local(out) else final
    try:
        names = write_outputs(study, folder, frozenset(kinds))  # type: ignore[arg-type]
        if (picture := draw_curve(note)) is not None:
            write_bytes(folder / CURVE_FILE, picture)
            names = [*names, CURVE_FILE]
        note = dataclasses.replace(note, files=tuple(names))
        write_text(folder / STUDY_FILE, json.dumps(dataclasses.asdict(note), ensure_ascii=False) + "\n")
        if is_local(out):
            remove_tree(final)
            Path(folder.path).rename(final.path)
    except OSError as error:
        raise LvsegError(f"{final}: cannot be written: {error.strerror or error}") from None
    return note


def read_notes(out: UPath, cases: Sequence[str]) -> Iterator[StudyNote]:
    """The notes of finished studies, one at a time.

    Raises:
        LvsegError: one is damaged or gone.
    """
    for case_id in cases:
        path = out / case_id / STUDY_FILE
        try:
            yield NOTES.validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise LvsegError(f"{path}: damaged or gone; remove the study's folder and predict again") from None


def close(
    out: UPath, manifest: PredictManifest, cases: Sequence[str], failures: Sequence[Failure], skipped: Sequence[Skip]
) -> PredictManifest:
    """Write tables and manifest over all studies.

    Raises:
        LvsegError: they cannot be written.
    """
    images = look = 0
    doubts: list[Failure] = []
    left_out = list(skipped)

    def counted() -> Iterator[StudyNote]:
        nonlocal images, look
        for note in read_notes(out, cases):
            images += len(note.images)
            look += note.volumes.look_images
            left_out.extend(note.skipped)
            if note.doubt:
                doubts.append(Failure(note.case_id, note.doubt))
            yield note

    try:
        write_tables(out, counted())
        manifest = dataclasses.replace(
            manifest,
            status="finished",
            studies=len(cases),
            images=images,
            look_images=look,
            failures=tuple(failures),
            doubts=tuple(doubts),
            skipped=tuple(left_out),
            versions=versions(),
            finished_at=utc_now(),
        )
        _write(out, manifest)
    except OSError as error:
        raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None
    return manifest
