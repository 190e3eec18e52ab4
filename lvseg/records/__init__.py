"""Record sets: labelled slices in Parquet or TFRecord files, with a manifest beside them."""

from lvseg.records.codec import SCHEMA, SCHEMA_VERSION, slice_to_row, table_to_slices
from lvseg.records.files import read_rows, write_rows
from lvseg.records.manifest import MANIFEST_NAME, SPLIT_TABLE_NAME, Manifest, RecordFile, SplitPart, read_manifest

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA",
    "SCHEMA_VERSION",
    "SPLIT_TABLE_NAME",
    "Manifest",
    "RecordFile",
    "SplitPart",
    "read_manifest",
    "read_rows",
    "slice_to_row",
    "table_to_slices",
    "write_rows",
]
