"""Case ids that identify nobody, the key behind them, and paths that show no name."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvseg.errors import SourceError
from lvseg.sources import pseudonym
from lvseg.sources.pseudonym import KEY_VARIABLE, Pseudonyms, key_file, masked_path, public_path, read_key


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user without a key."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_public_ids_stay(home):
    ids = {name: Pseudonyms().case_id(name) for name in ("SC-HF-I-01", "PH-N-1", "SCD0000101")}
    assert ids == {"SC-HF-I-01": "SC-HF-I-1", "PH-N-1": "PH-N-1", "SCD0000101": "SCD0000101"}
    assert not key_file().exists(), "no key is made where none is needed"


def test_other_ids_become_keyed_hashes():
    one, other = Pseudonyms(key=b"one"), Pseudonyms(key=b"other")
    assert one.case_id("DOE^JOHN") == one.case_id(" DOE^JOHN ") == "P-8791c31aead92147"
    assert one.case_id("DOE^JOHN") != other.case_id("DOE^JOHN")
    assert one.case_id("DOE^JOHN") != one.case_id("DOE^JANE")


def test_the_key_is_not_shown():
    assert "sesame" not in repr(Pseudonyms(key=b"sesame"))


def test_key_of_the_environment(home, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, " sesame\n")
    assert read_key() == b"sesame"
    assert not key_file().exists()


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_no_key(home, monkeypatch, value):
    monkeypatch.setenv(KEY_VARIABLE, value)
    assert len(read_key()) == 64


def test_key_file_is_made_once_for_its_owner(home):
    key = read_key()
    assert read_key() == key == key_file().read_bytes().strip()
    assert len(key) == 64
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert os.listdir(key_file().parent) == ["pseudonym.key"]  # noqa: PTH208


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_key_file_is_refused(home, content):
    key_file().parent.mkdir()
    key_file().write_text(content)
    with pytest.raises(SourceError, match=r"pseudonym\.key: the pseudonym key is empty"):
        read_key()


def test_a_key_file_that_cannot_be_made(home):
    (home / "lvseg").write_text("a file, no folder")
    with pytest.raises(SourceError, match=rf"pseudonym key: .*or set {KEY_VARIABLE}"):
        read_key()


def test_the_file_is_there_only_with_its_key(home, monkeypatch):
    """Another process that looks between making and writing must not find an empty key."""
    seen = []
    real = os.link
    monkeypatch.setattr(
        pseudonym.os, "link", lambda a, b: seen.append((key_file().exists(), Path(a).read_bytes())) or real(a, b)
    )
    key = read_key()
    assert seen == [(False, key + b"\n")]


def test_whoever_comes_second_takes_the_first_key(home, monkeypatch):
    real = os.link

    def link(a, b):
        Path(b).write_bytes(b"the other process's\n")
        return real(a, b)

    monkeypatch.setattr(pseudonym.os, "link", link)
    assert read_key() == b"the other process's"
    assert os.listdir(key_file().parent) == ["pseudonym.key"]  # noqa: PTH208


@pytest.mark.slow
def test_processes_at_the_same_time_have_one_key(home, repository):
    code = (
        "import time; from lvseg.sources.pseudonym import read_key\n"
        "while time.time() < {}: pass\n"
        "print(read_key().decode())"
    )
    start = time.time() + 1.5
    processes = [
        subprocess.Popen([sys.executable, "-c", code.format(start)], cwd=repository, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    keys = {process.communicate()[0].strip() for process in processes}
    assert len(keys) == 1
    assert len(keys.pop()) == 64


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("Doe^John/1957-03-02/48.dcm", "P-1/48.dcm"),
        ("Doe/IM-0004-0048.dcm", "P-1/IM-0004-0048.dcm"),
        ("Doe/IM-0001-0048-icontour-manual.txt", "P-1/IM-0001-0048-icontour-manual.txt"),
        ("Doe/0048", "P-1/0048"),
        ("images/doe_john.dcm", "P-1/….dcm"),
        ("images/doe_john_48.dcm", "P-1/…48.dcm"),
        ("images/doe_1957.dcm", "P-1/….dcm"),
        ("images/19570302.dcm", "P-1/….dcm"),
        ("images/1.2.840.113619.48.dcm", "P-1/….dcm"),
        ("images/1.2.840.113619.48", "P-1/…"),
        ("images/12.Doe", "P-1/…"),
        ("images/doe.nii.gz", "P-1/….nii.gz"),
        ("Doe", "P-1/…"),
    ],
)
def test_masked_path(path, masked):
    assert masked_path(path, "P-1") == masked
    assert masked_path(masked, "P-1") == masked


def test_paths_of_public_cases_stay():
    pseudonym_id = Pseudonyms(key=b"one").case_id("DOE")
    assert public_path("SC-N-2/a b.dcm", "SC-N-2") == "SC-N-2/a b.dcm"
    assert public_path("DOE/a b.dcm", pseudonym_id) == f"{pseudonym_id}/….dcm"
    assert masked_path("DOE/notes.txt", "") == "…/….txt"
