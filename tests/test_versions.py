import subprocess
from pathlib import Path

from lvseg.versions import commit, versions


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    done = subprocess.run(["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"lvseg", "python", "tensorflow", "keras", "ray", "numpy"} <= versions().keys()


def test_the_commit_is_that_of_the_checkout_and_says_when_files_were_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "tag", "-m", "a tag is no commit", "v1")
    head = git(tmp_path, "rev-parse", "--short=10", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert commit(tmp_path) == f"{head}-dirty"


def test_a_folder_inside_another_checkout_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "site-packages").mkdir()
    assert commit(tmp_path / "site-packages") is None
