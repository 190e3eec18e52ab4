"""Personal data in the headers and folder names of a source are in no byte that lvseg writes or prints."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from lvseg.config import ConvertConfig, RecordFormat
from lvseg.distributed.check import check
from lvseg.distributed.convert import PLAN_FOLDER, convert
from lvseg.distributed.session import ray_session
from lvseg.errors import SourceError
from lvseg.phantom import planted_identifiers, write_phantom
from lvseg.phantom.traps import trap_names
from lvseg.records import Manifest
from lvseg.sources.pseudonym import KEY_VARIABLE
from lvseg.store import remove_tree
from lvseg.tfrecord import read_frames

PATIENTS, SEED = 6, 11
KEY = "Sesame-of-the-privacy-test"
LAYOUTS = ("linked", "challenge", "segmentation")
TRAPS = {
    "wrong-series-number",
    "second-cine",
    "missing-files",
    "copied-epicardium",
    "mixed-spacing",
    "duplicate-uid",
    "area-jump",
    "contour-off-image",
    "two-point-contour",
    "contour-without-image",
    "constant-image",
    "truncated-dicom",
    "stray-files",
}
"""Traps about which something is written; files that are only odd are read in silence."""


def readings(path: Path) -> Iterator[bytes]:
    """The bytes of a file as they are, and as a reader of its format would see them."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield repr((table.schema, table.schema.metadata)).encode()
        for column in table.itercolumns():
            binary = pa.types.is_binary(column.type)
            yield b"\n".join(column.to_pylist()) if binary else repr(column.to_pylist()).encode()
    if path.suffix == ".tfrecords":
        with path.open("rb") as file:
            yield from read_frames(file)
    if path.suffix == ".json":
        yield repr(json.loads(data)).encode()
    if path.suffix == ".html":
        yield html.unescape(data.decode()).encode()
        yield from map(base64.b64decode, re.findall(rb"base64,([A-Za-z0-9+/=]+)", data))


def leaks(folder: Path, secrets: list[str]) -> list[str]:
    """Where a secret is, in a name or in a content; capitals make no difference."""
    found = []
    for path in sorted(folder.rglob("*")):
        texts = [str(path.relative_to(folder)).encode(), *(readings(path) if path.is_file() else ())]
        found += [
            f"{secret} in {path.name}"
            for secret in secrets
            if any(secret.lower().encode() in text.lower() for text in texts)
        ]
    return found


@pytest.fixture(scope="module")
def secrets() -> list[str]:
    return [*planted_identifiers(PATIENTS, SEED), KEY]


@pytest.fixture(scope="module")
def session() -> Iterator[Path]:
    """A cluster whose workers know the key; its folder of logs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        with ray_session(min_cpus=2):
            yield Path(ray._private.worker.global_worker.node.get_logs_dir_path())


@pytest.fixture(scope="module", params=LAYOUTS)
def source(request, tmp_path_factory) -> Path:
    """A source with much that is wrong, so that messages of every kind are written."""
    folder = tmp_path_factory.mktemp("source") / request.param
    write_phantom(
        folder,
        patients=PATIENTS,
        seed=SEED,
        size=64,
        slices=5,
        phases=8,
        layout=request.param,
        traps=[name for name in trap_names(("all",), request.param) if name in TRAPS],
        identifiers=True,
    )
    return folder


def test_the_search_finds_what_is_there(tmp_path):
    table = pa.table({"name": ["x" * 1000 + "Zq-secret"], "image": [b"\0\1Zq-secret"]})
    pq.write_table(table, tmp_path / "one.parquet", compression="zstd")
    (tmp_path / "two.json").write_text(json.dumps({"a": "Zq-sécret"}))
    (tmp_path / "three.html").write_text("Zq&#45;secret <img src='data:image/png;base64,WnEtc2VjcmV0'>")
    (tmp_path / "zq-secret.txt").write_text("")
    assert leaks(tmp_path, ["Zq-secret", "Zq-sécret", "nothing"]) == [
        "Zq-secret in one.parquet",
        "Zq-secret in three.html",
        "Zq-sécret in two.json",
        "Zq-secret in zq-secret.txt",
    ]


@pytest.mark.ray
@pytest.mark.slow
def test_nothing_personal_is_written(source, secrets, session, tmp_path, capfd):
    planted = {found.partition(" in ")[0] for found in leaks(source, secrets)}
    assert planted == set(secrets) - {KEY}, "every planted string must be in the source, or the search is vain"
    formats: tuple[RecordFormat, ...] = ("parquet", "tfrecord", "course-tfrecord")
    for format in formats if source.name == "segmentation" else formats[:1]:
        manifest = convert(source, tmp_path / format, ConvertConfig(format=format, val_fraction=0.5))
        assert manifest.splits["train"].images > 0
        assert manifest.skipped
        assert sum(manifest.findings.values()) > 0
        check_case_ids(manifest, source.name)
    report = check(source, ConvertConfig(), tmp_path / "check")
    (tmp_path / "printed").mkdir()
    (tmp_path / "printed/report.txt").write_text(repr((manifest, report.findings, report.skipped, report.decisions)))
    out, err = capfd.readouterr()
    (tmp_path / "printed/out.txt").write_text(out + err)
    assert leaks(tmp_path, secrets) == []
    assert leaks(session, [*secrets, str(source)]) == []


def check_case_ids(manifest: Manifest, layout: str) -> None:
    """Public ids stay, others are pseudonyms."""
    pattern = {"linked": r"PH-\w+-\d+", "challenge": r"SC-[\w-]+-\d+", "segmentation": r"P-[0-9a-f]{16}"}[layout]
    cases = {case_id for part in manifest.splits.values() for case_id in part.case_ids}
    assert cases
    assert all(re.fullmatch(pattern, case_id) for case_id in cases)


@pytest.mark.ray
@pytest.mark.slow
def test_strict_failure_says_nothing_personal(source, secrets, session, tmp_path):
    with pytest.raises(SourceError) as caught:
        convert(source, tmp_path / "records", ConvertConfig(strict=True, val_fraction=0.5))
    message = str(caught.value).replace(str(source), "").lower()
    assert [secret for secret in secrets if secret.lower() in message] == []
    # Until a conversion ends, its plan says which files are still to be read, by their own names.
    remove_tree(tmp_path / "records" / PLAN_FOLDER)
    assert leaks(tmp_path, secrets) == []
