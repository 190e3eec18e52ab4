"""What ``lvseg submit`` sends, and how it follows a job; a real cluster is in ``test_job_submit.py``."""

import shlex
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus
from ray.runtime_env import RuntimeEnv

import lvseg
from lvseg.distributed import submit
from lvseg.errors import ClusterError, ConfigError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def job(*words: str, install: Path | None = None) -> submit.Job:
    return submit.Job(words=words, id="job", install=install)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "records", "--name", "one"), "lvseg-train-one-20260131-120000"),
        (("tune", "records", "--name=my sweep/2"), "lvseg-tune-my-sweep-2-20260131-120000"),
        (("convert", "source", "records"), "lvseg-convert-20260131-120000"),
    ],
)
def test_a_jobs_name_says_what_it_is(words: tuple[str, ...], expected: str) -> None:
    assert submit.job_id(words, NOON) == expected


def test_the_code_and_nothing_else_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs", "records", "data", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "large.bin").write_bytes(b"x")
    with submit.packed(job("train", "s3://bucket/records", "--name", "a b")) as (command, environment):
        folder = Path(environment["working_dir"])
        assert files_of(folder) == {
            f"lvseg/{name}" for name in files_of(Path(lvseg.__file__).parent) if "__pycache__" not in name
        }
        assert (folder / "lvseg/default_space.yaml").is_file()
        assert set(environment) == {"working_dir"}
    assert shlex.split(command) == ["python", "-m", "lvseg.cli", "train", "s3://bucket/records", "--name", "a b"]
    assert not folder.exists()


def test_files_that_flags_name_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.yaml").write_text("epochs: 3\n")
    Path("space.yaml").write_text("{}\n")
    words = ("tune", "records", "--config=train.yaml", "--space", str(tmp_path / "space.yaml"), "--split", "patient")
    with submit.packed(job(*words)) as (command, environment):
        folder = Path(environment["working_dir"])
        sent = shlex.split(command)[3:]
        config, space = sent[2].removeprefix("--config="), sent[4]
        assert (folder / config).read_text() == "epochs: 3\n"
        assert (folder / space).read_text() == "{}\n"
        assert [*sent[:2], sent[3], *sent[5:]] == ["tune", "records", "--space", "--split", "patient"]


def test_an_environment_is_named_by_what_it_installs(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    names = []
    for version in "12":
        lock.write_text(f"thing=={version} --hash=sha256:{version}\n")
        with submit.packed(job("train", "records", install=lock)) as (_, environment):
            (line,) = RuntimeEnv(**environment)["pip"]["packages"]
            names.append(line.removeprefix("-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/"))
            assert (Path(environment["working_dir"]) / names[-1]).read_text() == lock.read_text()
    assert len(set(names)) == 2


def test_a_requirements_file_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"^--install: .*none\.txt: cannot be read: No such file"),
        submit.packed(job("train", "records", install=tmp_path / "none.txt")),
    ):
        pass


class Cluster:
    """A job API whose connection breaks after so many pieces of the log."""

    def __init__(self, log: list[str], breaks: list[int], code: int | None = 0, status: str = "SUCCEEDED") -> None:
        self.log, self.breaks = log, breaks
        self.info = SimpleNamespace(status=status, driver_exit_code=code, message="why\nat last", submission_id="job")

    def get_job_status(self, id: str) -> JobStatus:
        return JobStatus.RUNNING if self.breaks else JobStatus.SUCCEEDED

    async def tail_job_logs(self, id: str) -> AsyncIterator[str]:
        until = self.breaks.pop(0)
        for piece in self.log[:until]:
            yield piece
        if until < len(self.log):
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_logs(self, id: str) -> str:
        return "".join(self.log)

    def get_job_info(self, id: str) -> SimpleNamespace:
        return self.info


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(submit, "POLL_S", 0.0)
    return monkeypatch


def test_no_line_is_shown_twice_after_a_broken_connection(cluster: pytest.MonkeyPatch) -> None:
    cluster.setattr(submit, "_client", lambda: Cluster(["one\n", "two\n", "three\n"], breaks=[1, 2, 0, 2]))
    shown: list[str] = []
    assert submit.follow("job", shown.append) == 0
    assert "".join(shown) == "one\ntwo\nthree\n"


def test_a_connection_that_stays_broken_is_given_up(cluster: pytest.MonkeyPatch) -> None:
    cluster.setattr(submit, "_client", lambda: Cluster(["one\n"], breaks=[0] * 100))
    with pytest.raises(ClusterError, match="WebSocket connection closed unexpectedly"):
        submit.follow("job", lambda _: None)


@pytest.mark.parametrize(("code", "expected"), [(75, 75), (2, 2), (-15, 143), (None, 1)])
def test_the_exit_status_is_the_jobs(cluster: pytest.MonkeyPatch, code: int | None, expected: int) -> None:
    cluster.setattr(submit, "_client", lambda: Cluster([], breaks=[], code=code, status="FAILED"))
    shown: list[str] = []
    assert submit.follow("job", shown.append) == expected
    assert ("job job: failed: at last\n" in shown) == (code is None)
