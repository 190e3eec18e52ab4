"""Which image serves training, validation, the test, or a fold of a cross-validation."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from lvseg.config import ConvertConfig, SplitName
from lvseg.errors import SourceError
from lvseg.sources.cases import OFFICIAL_PARTS, canonical_case_id
from lvseg.store import UPath

__all__ = ["assign_parts", "check_no_leak", "deal_folds", "read_split_file"]

OFFICIAL_SPLITS: dict[str, SplitName] = {"training": "train", "validation": "val", "online": "test"}
OFFICIAL_OF_CASE = {case: OFFICIAL_SPLITS[part] for part, cases in OFFICIAL_PARTS.items() for case in cases}

NAMED_IN_MESSAGES = 3
"""How many names an error lists before it only counts."""


def assign_parts(
    names: Sequence[str],
    case_ids: Sequence[str],
    groups: Sequence[str | None],
    config: ConvertConfig,
    split_table: Mapping[str, str] | None = None,
) -> list[str]:
    """Give every image its part; what an image gets does not depend on the order of the images.

    - ``patient``: whole patients are drawn for validation, from every pathology group in proportion to its size
      (largest remainder); ``val_fraction`` is rounded to patients, at least one on each side.
    - ``image``: images are drawn for validation; the parts then share patients.
    - ``official``: the challenge's training, validation and online part become train, val and test.
    - ``kfold``: whole patients are dealt into ``folds`` folds, group after group, so that the folds have the same
      number of patients, and of every group, to within one.
    - ``file``: as ``split_table`` says.

    Args:
        names: N names, unique.
        case_ids: N case ids, the patient of each image.
        groups: N pathology groups; patients of unknown group (None) are a group of their own.
        config: ``split`` and what belongs to it.
        split_table: part by name or case id, see ``read_split_file``; only for the split by file.

    Returns:
        N parts: train, val, test; or fold-0, fold-1, …

    Raises:
        SourceError: too few patients or images; an image without a part, a row of the table without an image;
            a patient in two parts (except by image); no training image.
    """
    if config.split == "image":
        drawn = set(_draw(names, _val_count(len(names), config.val_fraction, "image"), config.seed))
        return ["val" if name in drawn else "train" for name in names]
    if config.split == "file":
        parts = _from_table(names, case_ids, split_table or {})
        check_no_leak(zip(names, case_ids, strict=True), dict(zip(names, parts, strict=True)))
    else:
        part_of = _parts_of_cases(case_ids, groups, config)
        parts = [part_of[case_id] for case_id in case_ids]
    if config.split != "kfold" and "train" not in parts:
        raise SourceError(f"no training images among {len(parts)} after the {config.split} split")
    return parts


def _parts_of_cases(case_ids: Sequence[str], groups: Sequence[str | None], config: ConvertConfig) -> Mapping[str, str]:
    """Part of every case, for the splits that keep a patient's images together."""
    if config.split == "official":
        return _official_parts(set(case_ids))
    strata = _strata(case_ids, groups)
    if config.split == "kfold":
        return _deal(strata, config.folds, config.seed)
    drawn = _draw_stratified(strata, config.val_fraction, config.seed)
    return {case_id: "val" if case_id in drawn else "train" for members in strata for case_id in members}


def _strata(case_ids: Sequence[str], groups: Sequence[str | None]) -> list[list[str]]:
    """Cases by group, both sorted; a case whose images name several groups goes to the first of them."""
    group_of: dict[str, str] = {}
    for case_id, group in zip(case_ids, groups, strict=True):
        if group and group < group_of.get(case_id, "\U0010ffff"):
            group_of[case_id] = group
    members: dict[str, list[str]] = {}
    for case_id in sorted(set(case_ids)):
        members.setdefault(group_of.get(case_id, ""), []).append(case_id)
    return [members[group] for group in sorted(members)]


def _val_count(members: int, fraction: float, unit: str) -> int:
    if members < 2:
        raise SourceError(f"a split by {unit} needs at least two {unit}s, found {members}")
    return min(max(1, round(fraction * members)), members - 1)


def _draw_stratified(strata: list[list[str]], fraction: float, seed: int) -> set[str]:
    sizes = np.array([len(members) for members in strata], np.int64)
    total = int(sizes.sum())
    shares = _largest_remainder(sizes, _val_count(total, fraction, "patient"))
    generator = np.random.Generator(np.random.PCG64(seed))
    return {
        case for members, share in zip(strata, shares, strict=True) for case in _permuted(members, generator)[:share]
    }


def _largest_remainder(sizes: np.ndarray, seats: int) -> list[int]:
    """Share ``seats`` out in proportion to ``sizes``; of equal remainders the larger group is served first."""
    total = int(sizes.sum())
    shares, remainders = np.divmod(seats * sizes, total)
    first = np.lexsort((np.arange(len(sizes)), -sizes, -remainders))
    shares[first[: seats - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def deal_folds(case_ids: Sequence[str], groups: Sequence[str | None], folds: int, seed: int) -> dict[str, str]:
    """Fold of every case, such as ``fold-0``, as ``kfold`` deals them.

    Raises:
        SourceError: fewer patients than folds.
    """
    return _deal(_strata(case_ids, groups), folds, seed)


def _deal(strata: list[list[str]], folds: int, seed: int) -> dict[str, str]:
    patients = sum(len(members) for members in strata)
    if patients < folds:
        raise SourceError(f"{folds} folds by patient need at least {folds} patients, found {patients}")
    generator = np.random.Generator(np.random.PCG64(seed))
    dealt = [case_id for members in strata for case_id in _permuted(members, generator)]
    return {case_id: f"fold-{place % folds}" for place, case_id in enumerate(dealt)}


def _draw(members: Iterable[str], count: int, seed: int) -> list[str]:
    return _permuted(sorted(members), np.random.Generator(np.random.PCG64(seed)))[:count]


def _permuted(members: list[str], generator: np.random.Generator) -> list[str]:
    return [members[index] for index in generator.permutation(len(members)).tolist()]


def _official_parts(case_ids: set[str]) -> dict[str, str]:
    parts = {case_id: OFFICIAL_OF_CASE.get(canonical_case_id(case_id)) for case_id in case_ids}
    if foreign := [case_id for case_id, part in parts.items() if part is None]:
        raise SourceError(
            f"{len(foreign)} of {len(parts)} cases are in no official part of the challenge: {_some(foreign)}; "
            "split by patient or image instead"
        )
    return {case_id: part for case_id, part in parts.items() if part is not None}


def _from_table(names: Sequence[str], case_ids: Sequence[str], table: Mapping[str, str]) -> list[str]:
    """Parts from a table by name or case id; a row for the name goes before one for its case."""
    keys = [name if name in table else canonical_case_id(case) for name, case in zip(names, case_ids, strict=True)]
    if lost := [name for name, key in zip(names, keys, strict=True) if key not in table]:
        raise SourceError(f"{len(lost)} of {len(names)} images have no part in the split file: {_some(lost)}")
    if idle := table.keys() - set(keys):
        raise SourceError(
            f"{len(idle)} of {len(table)} rows of the split file match no image: {_some(idle)}; "
            "expected names or case ids of this source"
        )
    return [table[key] for key in keys]


def _some(members: Collection[str]) -> str:
    return ", ".join(sorted(members)[:NAMED_IN_MESSAGES]) + (", …" if len(members) > NAMED_IN_MESSAGES else "")


def read_split_file(path: UPath) -> dict[str, str]:
    """Read a CSV table with the column ``part`` (train, val, test) and ``name`` or ``case_id``; others are ignored.

    Where both are there, as in a record set's ``split.csv``, the names count.

    Returns:
        Part by name, or by case id without zero padding.

    Raises:
        SourceError: the file cannot be read, has no such columns, another part, an empty cell, or two parts for
            one row; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: split file cannot be read: {getattr(error, 'strerror', None) or error}") from None
    rows = csv.reader(lines, skipinitialspace=True)
    header = [column.strip().lower() for column in next(rows, [])]
    key_column = "name" if "name" in header else "case_id"
    if "part" not in header or key_column not in header:
        raise SourceError(
            f"{path}: expected the columns part and name or case_id, found {', '.join(header) or 'nothing'}"
        )
    table: dict[str, str] = {}
    for row in rows:
        if any(cell.strip() for cell in row):
            key, part = _table_row(dict(zip(header, row, strict=False)), key_column, f"{path}, line {rows.line_num}")
            if table.setdefault(key, part) != part:
                raise SourceError(f"{path}, line {rows.line_num}: {key} is in two parts, {table[key]} and {part}")
    return table


def _table_row(row: dict[str, str], key_column: str, where: str) -> tuple[str, str]:
    key, part = row.get(key_column, "").strip(), row.get("part", "").strip()
    if not key:
        raise SourceError(f"{where}: no {key_column}")
    if part not in get_args(SplitName):
        raise SourceError(f"{where}: expected part {', '.join(get_args(SplitName))}, found {part or 'nothing'}")
    return canonical_case_id(key), part


def check_no_leak(items: Iterable[tuple[str, str]], parts: Mapping[str, str]) -> None:
    """Make sure that no case is in two parts; not for splits by image, which share cases.

    Args:
        items: (name, case_id) of every image.
        parts: part of each name.

    Raises:
        SourceError: counts such cases, names the first and its parts.
    """
    parts_of: dict[str, set[str]] = {}
    for name, case_id in items:
        parts_of.setdefault(case_id, set()).add(parts[name])
    if torn := sorted(case_id for case_id, found in parts_of.items() if len(found) > 1):
        raise SourceError(
            f"{len(torn)} of {len(parts_of)} cases are in two parts, "
            f"first {torn[0]} in {' and '.join(sorted(parts_of[torn[0]]))}"
        )
