"""Cross-validation by patient on any record set: its training and validation patients dealt into folds.

The record files stay as they are: a fold is a list of rows of them. Patients are dealt as ``split kfold`` deals them,
from the names of the patients and the set's seed alone, so every run, on any node, has the same folds.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from lvseg.errors import RecordsError, SourceError
from lvseg.records.files import read_rows
from lvseg.records.manifest import Manifest, RecordFile, SplitPart
from lvseg.split import check_no_leak, deal_folds
from lvseg.store import UPath

__all__ = ["for_run"]

_KEPT_APART = "test"


def for_run(manifest: Manifest, records: UPath, fold: int | None, folds: int | None) -> Manifest:
    """The manifest with the parts train and val of a run.

    Args:
        manifest: Of the whole record set.
        records: The record set.
        fold: The fold that validates, where there are folds.
        folds: How many are to be made; None: as the records are split.

    Raises:
        RecordsError: no such fold, another number of folds than the records have, or too few patients.
    """
    if folds is None or manifest.split == "kfold":
        if folds is not None and folds != len(manifest.splits):
            raise RecordsError(f"{records}: split into {len(manifest.splits)} folds, got folds {folds}")
        return manifest.for_fold(fold, records)
    if fold is None:
        raise RecordsError(f"{records}: choose fold 0 to {folds - 1} of {folds}")
    dealt = dataclasses.replace(
        manifest, split="kfold", splits=dict(_dealt(_Key(manifest, str(records)), records, folds))
    )
    chosen = dealt.for_fold(fold, records)
    test = {name: part for name, part in manifest.splits.items() if name == _KEPT_APART}
    return dataclasses.replace(chosen, splits={**chosen.splits, **test})


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """A record set, to be remembered by its identity."""

    manifest: Manifest = dataclasses.field(compare=False)
    place: str

    def __hash__(self) -> int:
        return hash((self.place, self.manifest.records_sha256))


@lru_cache(maxsize=8)
def _dealt(key: _Key, records: UPath, folds: int) -> tuple[tuple[str, SplitPart], ...]:
    manifest = key.manifest
    rows = [
        row for name, part in manifest.splits.items() if name != _KEPT_APART for row in _rows(manifest, records, part)
    ]
    try:
        fold_of = deal_folds([row.case_id for row in rows], [row.group for row in rows], folds, manifest.seed)
        check_no_leak(
            ((f"{row.file}/{row.index}", row.case_id) for row in rows),
            {f"{row.file}/{row.index}": fold_of[row.case_id] for row in rows},
        )
    except SourceError as error:
        raise RecordsError(f"{records}: {error}") from None
    by_fold: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_fold[fold_of[row.case_id]].append(row)
    return tuple((name, _part(by_fold[name])) for name in sorted(by_fold, key=lambda name: int(name.split("-")[1])))


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    file: str
    sha256: str
    index: int
    """In the file."""
    bytes: float
    case_id: str
    group: str | None


def _rows(manifest: Manifest, records: UPath, part: SplitPart) -> Iterator[_Row]:
    each = part.pixel_bytes / max(1, part.images)
    for file in part.files:
        last = file.start + file.images
        table = read_rows(records / file.file, manifest.format, file.start, last, ["case_id", "group"])
        columns = zip(table["case_id"].to_pylist(), table["group"].to_pylist(), strict=True)
        for index, (case_id, group) in enumerate(columns, start=file.start):
            yield _Row(file.file, file.sha256, index, each, case_id, group)


def _part(rows: Sequence[_Row]) -> SplitPart:
    files: list[RecordFile] = []
    for row in rows:
        last = files[-1] if files else None
        if last is not None and last.file == row.file and last.start + last.images == row.index:
            files[-1] = dataclasses.replace(last, images=last.images + 1)
        else:
            files.append(RecordFile(file=row.file, images=1, sha256=row.sha256, start=row.index))
    cases = tuple(sorted({row.case_id for row in rows}))
    return SplitPart(
        images=len(rows),
        pixel_bytes=round(sum(row.bytes for row in rows)),
        patients=len(cases),
        case_ids=cases,
        files=tuple(files),
    )
