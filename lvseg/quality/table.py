"""The facts of a whole source, sorted and by column; text is looked up only for the rows that a finding names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lvseg.findings import Finding, Severity, Target
from lvseg.quality.facts import ASSUMED_FIELD_OF_VIEW_MM

__all__ = ["Facts", "Rows", "where"]

Rows = NDArray[np.int64]
"""Row numbers in the sorted table."""

ORDER = ("case_id", "phase_index", "slice_index", "instance_number", "name")


def where(condition: NDArray[np.bool_]) -> list[int]:
    """Places at which a condition holds."""
    return [int(place) for place in np.flatnonzero(condition)]


class Facts:
    """Rows by case, phase, slice, so that whatever order they came in, the findings are the same.

    Beside the table itself this holds the numeric columns in use, 8 bytes a value.
    """

    def __init__(self, table: pa.Table) -> None:
        """Sort a table of ``FACTS_SCHEMA``."""
        keys = [(column, "ascending") for column in ORDER]
        self.table = table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()
        self._numbers: dict[str, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """(rows,) float64; NaN where there is no value."""
        if column not in self._numbers:
            values = self.table[column].cast(pa.float64()).to_numpy()
            self._numbers[column] = np.asarray(values, np.float64)
        return self._numbers[column]

    def text(self, column: str, row: int) -> str:
        """One value of a column of text; empty where there is none."""
        return self.table[column][int(row)].as_py() or ""

    def name(self, row: int) -> str:
        """Name of the slice."""
        return self.text("name", row)

    def case_id(self, row: int) -> str:
        """Case of the slice."""
        return self.text("case_id", row)

    @cached_property
    def case_codes(self) -> Rows:
        """(rows,) number of each row's case, 0 for the first, in sorted order."""
        codes = self.table["case_id"].combine_chunks().dictionary_encode()
        indices = codes.indices if isinstance(codes, pa.DictionaryArray) else codes.combine_chunks().indices
        return np.asarray(indices.to_numpy(), np.int64)

    def cases(self) -> Iterator[Rows]:
        """Rows of each case."""
        if len(self):
            bounds = np.flatnonzero(np.diff(self.case_codes)) + 1
            yield from np.split(np.arange(len(self)), bounds)

    @cached_property
    def mm_per_px(self) -> NDArray[np.float64]:
        """(rows,) side of a pixel, mm, as if it were square; a usual one where the source says none."""
        known = np.sqrt(self.numbers("row_spacing_mm") * self.numbers("column_spacing_mm"))
        return np.where(np.isnan(known), ASSUMED_FIELD_OF_VIEW_MM / self.numbers("columns"), known)

    @cached_property
    def area_mm2(self) -> NDArray[np.float64]:
        """(rows,) area inside the endocardium, mm²."""
        return np.asarray(self.numbers("endocardium_area_px") * self.mm_per_px**2)

    @cached_property
    def contrast(self) -> NDArray[np.float64]:
        """(rows,) contrast of cavity and ring; NaN without cavity, and on a constant image."""
        constant = self.numbers("image_min") == self.numbers("image_max")
        return np.where(constant, np.nan, self.numbers("contrast"))

    def repeated(self, column: str) -> list[Rows]:
        """Groups of two or more rows with the same value; no value and an empty one are not compared."""
        counts = self.table.group_by(column).aggregate([("name", "count")])
        many = counts.filter(pc.greater(counts["name_count"], 1))[column].drop_null()
        rows = np.flatnonzero(pc.is_in(self.table[column], value_set=many.combine_chunks()).to_numpy())
        groups: dict[object, list[int]] = {}
        for row, value in zip(rows.tolist(), self.table[column].take(pa.array(rows)).to_pylist(), strict=True):
            if value:
                groups.setdefault(value, []).append(row)
        return [np.asarray(group) for group in groups.values()]

    def slice_finding(
        self, row: int, check: str, severity: Severity, target: Target, reason: str, others: Sequence[int] = ()
    ) -> Finding:
        """A finding about one slice; the file is the one that the target names."""
        column = {"image": "image_file", "epicardium": "epicardium_file"}.get(target, "label_file")
        return Finding(
            severity=severity,
            check=check,
            case_id=self.case_id(row),
            name=self.name(row),
            target=target,
            file=self.text(column, row) or self.text("label_file", row),
            reason=reason,
            others=tuple(self.name(other) for other in others),
        )

    def case_finding(
        self, row: int, check: str, severity: Severity, reason: str, others: Sequence[int] = (), column: str = ""
    ) -> Finding:
        """A finding about a row's case; the file is the row's, an image or a label."""
        return Finding(
            severity=severity,
            check=check,
            case_id=self.case_id(row),
            name="",
            target="case",
            file=self.text(column or "label_file", row),
            reason=reason,
            others=tuple(self.name(other) for other in others),
        )
