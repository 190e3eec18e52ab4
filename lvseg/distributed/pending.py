"""Stands in for rooms that are being written; goes away with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lvseg.store import write_text

try:
    from lvseg.preprocess import preprocess
except ImportError:

    def preprocess(item: Any, *args: Any) -> Any:  # type: ignore[misc]
        """The slice as it is."""
        return item


try:
    from lvseg.quality import FACTS_SCHEMA, find_problems, quarantine, slice_facts, write_report
except ImportError:
    FACTS_SCHEMA = pa.schema([("name", pa.string()), ("case_id", pa.string())])

    def slice_facts(item: Any, source_item: Any) -> dict[str, Any]:
        """Name and case."""
        return {"name": item.name, "case_id": item.case_id}

    @dataclass
    class Quarantine:
        """Nothing."""

        slices: frozenset[str] = frozenset()
        epicardia: frozenset[str] = frozenset()

    def find_problems(facts: Any, structures: Any) -> list[Any]:
        """Nothing."""
        return []

    def quarantine(findings: Any, structures: Any) -> Any:
        """Nothing."""
        return Quarantine()

    def write_report(folder: Any, findings: Any, facts: Any, pictures: Any) -> None:
        """Empty files."""
        write_text(folder / "quality.json", "{}\n")
        write_text(folder / "quality.html", "<html></html>\n")


__all__ = ["FACTS_SCHEMA", "find_problems", "preprocess", "quarantine", "slice_facts", "write_report"]
