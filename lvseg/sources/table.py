"""Tables that say which patient is which, as CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from lvseg.errors import SourceError
from lvseg.sources.cases import canonical_case_id
from lvseg.sources.listing import Collector
from lvseg.store import UPath

__all__ = ["read_table"]


def read_table(path: UPath, ids: tuple[str, str], others: Sequence[str], found: Collector) -> list[tuple[str, ...]]:
    """Read the rows of a table that joins two ids.

    Args:
        path: the table.
        ids: columns of the image folders' ids and of the contour folders'.
        others: further columns; empty text where the table has none.
        found: gets the rows that are left out: an id is missing or there twice. They are named by their number.

    Returns:
        Values of the two ids and the other columns, row by row; other columns are not kept.

    Raises:
        SourceError: it cannot be read as CSV, or a column of ids is missing.
    """
    try:
        reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), skipinitialspace=True)
        header, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as CSV: {error}") from None
    if missing := [column for column in ids if column not in header]:
        raise SourceError(f"{path}: no column {' or '.join(missing)}, found {', '.join(header) or 'nothing'}")
    taken: tuple[set[str], set[str]] = (set(), set())
    table = []
    for row_number, row in enumerate(rows, start=1):
        values = tuple((row.get(column) or "").strip() for column in (*ids, *others))
        keys = (values[0], canonical_case_id(values[1]))
        if not all(keys):
            found.skip(path, f"row {row_number}: {' or '.join(ids)} is empty")
        elif any(key in seen for key, seen in zip(keys, taken, strict=True)):
            found.skip(path, f"row {row_number}: {' or '.join(ids)} is listed twice")
        else:
            for key, seen in zip(keys, taken, strict=True):
                seen.add(key)
            table.append(values)
    return table
