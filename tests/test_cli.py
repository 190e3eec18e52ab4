import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from lvseg import __version__, cli
from lvseg.config import ConvertConfig, TrainConfig, TuneConfig
from lvseg.ledger import LEDGER_FOLDER, append
from lvseg.run_folder import ORIGIN_NAME, Run, open_run
from tests.discs import make_disc, write_records
from tests.results import make_result

VERBS = (
    "phantom",
    "check",
    "convert",
    "augment-preview",
    "train",
    "tune",
    "evaluate",
    "predict",
    "export",
    "leaderboard",
    "report",
    "demo",
    "models",
    "doctor",
    "submit",
)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be refused before Ray starts must be."""

    @contextlib.contextmanager
    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise AssertionError("Ray was started")
        yield

    import lvseg.distributed.convert
    import lvseg.distributed.session
    import lvseg.distributed.train
    import lvseg.distributed.trial

    for module in (lvseg.distributed.session, lvseg.distributed.convert, lvseg.distributed.trial):
        monkeypatch.setattr(module, "ray_session", refuse)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    write_records(tmp_path / "records", train=6, val=2, size=16)
    return tmp_path / "records"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Image-mask pairs of two patients."""
    folder = tmp_path / "pairs"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(4):
        item = make_disc(number, size=16)
        name = f"SC-N-{number % 2}-IM-0001-{number:04d}.png"
        cv2.imwrite(str(folder / "images" / name), item.image.astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / name), item.mask * 255)
    return folder


class Refusal:
    """Runs a command that must fail, and gives the one line it says."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *args: object, status: int = 1) -> str:
        assert cli.main([str(arg) for arg in args]) == status
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        lines = captured.err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("lvseg: error: ")
        return lines[0].removeprefix("lvseg: error: ")


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refusal:
    return Refusal(capsys)


@pytest.mark.parametrize("verb", ["train", "tune"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "0"], "epochs must be greater than or equal to 1, got 0"),
        (["--model", "resnet"], "model must be one of fc, fcn, unet, unet-light, got 'resnet'"),
        (["--learning-rate", "11"], "learning_rate must be less than or equal to 10, got 11.0"),
        (["--batch-size", "1", "--workers", "2"], "workers must be at most batch_size, got 2 and 1"),
        (
            ["--batch-size", "8", "--workers", "8"],
            "workers must be at most the number of training images, got 8 and 6",
        ),
        (["--name", "../elsewhere"], "name must be a plain folder name, got '../elsewhere'"),
        (["--name", ""], "name must be a plain folder name, got ''"),
        (["--name", ".hidden"], "name must be a plain folder name, got '.hidden'"),
    ],
)
def test_wrong_settings(
    refuse: Refusal, records: Path, tmp_path: Path, verb: str, flags: list[str], message: str
) -> None:
    assert refuse(verb, records, "--runs", tmp_path / "runs", *flags, status=2) == message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["train", "tune"])
class TestRecords:
    def test_missing(self, refuse: Refusal, tmp_path: Path, verb: str) -> None:
        message = refuse(verb, tmp_path / "none", "--runs", tmp_path / "runs")
        assert message.startswith(f"{tmp_path / 'none'}: not a record set: no manifest.json there")
        assert not (tmp_path / "runs").exists()

    def test_of_several_sizes(self, refuse: Refusal, tmp_path: Path, verb: str) -> None:
        write_records(tmp_path / "records", shapes={"32x32": 8, "16x16": 4})
        message = refuse(verb, tmp_path / "records", "--runs", tmp_path / "runs")
        assert message == (
            f"{tmp_path / 'records'}: images must have one size to be batched, found 8 of 32x32, 4 of 16x16"
        )

    def test_of_a_size_that_models_cannot_take(self, refuse: Refusal, tmp_path: Path, verb: str) -> None:
        write_records(tmp_path / "records", size=24)
        message = refuse(verb, tmp_path / "records", "--runs", tmp_path / "runs", status=2)
        assert "multiples of 16" in message
        assert message.endswith("has 24x24")

    @pytest.mark.parametrize(("train", "val", "part"), [(0, 4, "train"), (4, 0, "val")])
    def test_with_an_empty_part(
        self, refuse: Refusal, tmp_path: Path, verb: str, train: int, val: int, part: str
    ) -> None:
        write_records(tmp_path / "records", train=train, val=val)
        message = refuse(verb, tmp_path / "records", "--runs", tmp_path / "runs")
        assert message.startswith(f"{tmp_path / 'records'}: no images in split {part}")


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_a_runs_folder_that_cannot_be_written(refuse: Refusal, records: Path, tmp_path: Path, verb: str) -> None:
    (tmp_path / "runs").write_text("a file")
    message = refuse(verb, records, "--runs", tmp_path / "runs", "--name", "one")
    assert message.startswith(f"{tmp_path / 'runs/one'}: cannot be written: ")


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_a_name_taken_by_other_files(refuse: Refusal, records: Path, tmp_path: Path, verb: str) -> None:
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one/thesis.txt").write_text("precious")
    message = refuse(verb, records, "--runs", tmp_path / "runs", "--name", "one")
    assert message.startswith(f"{tmp_path / 'runs/one'}: holds other files, not a ")


def test_a_run_name_taken_by_another_configuration(refuse: Refusal, records: Path, tmp_path: Path) -> None:
    from lvseg.records import read_manifest

    run = Run(folder=tmp_path / "runs/one", config=TrainConfig(), records=records, manifest=read_manifest(records))
    open_run(run)
    message = refuse("train", records, "--runs", tmp_path / "runs", "--name", "one", "--epochs", 5)
    assert message == "run name one is taken by another configuration (epochs was 30, is 5); choose another name"


def test_a_sweep_name_taken_by_another_sweep(refuse: Refusal, records: Path, tmp_path: Path) -> None:
    command = ("tune", records, "--runs", tmp_path / "runs", "--name", "one")
    with pytest.raises(AssertionError, match="Ray was started"):
        cli.main([str(arg) for arg in command])
    message = refuse(*command, "--search-seed", 99)
    assert message.startswith("sweep name one is taken by another sweep (see ")


def test_a_run_that_has_finished_needs_no_ray(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lvseg.records import read_manifest
    from lvseg.run_folder import finish_run
    from lvseg.training.state import Outcome, RunState

    run = Run(folder=tmp_path / "runs/one", config=TrainConfig(), records=records, manifest=read_manifest(records))
    open_run(run)
    finish_run(run, Outcome(state=RunState(parameters=1)), None)
    assert cli.main(["train", str(records), "--runs", str(tmp_path / "runs"), "--name", "one"]) == 0
    assert str(run.folder) in capsys.readouterr().out


def test_a_good_command_claims_its_folder_and_starts_ray(records: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Ray was started"):
        cli.main(["train", str(records), "--runs", str(tmp_path / "runs"), "--name", "one"])
    assert (tmp_path / "runs/one" / ORIGIN_NAME).is_file()


class TestConvert:
    def test_missing_folder(self, refuse: Refusal, tmp_path: Path) -> None:
        assert refuse("convert", tmp_path / "none", tmp_path / "records") == f"{tmp_path / 'none'}: no such folder"
        assert not (tmp_path / "records").exists()

    def test_empty_folder(self, refuse: Refusal, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert refuse("convert", tmp_path / "empty", tmp_path / "records").endswith("empty: the folder is empty")

    def test_unknown_layout(self, refuse: Refusal, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source/notes.txt").write_text("hello")
        message = refuse("convert", tmp_path / "source", tmp_path / "records")
        assert "no known layout" in message
        assert "notes.txt" in message

    def test_records_that_are_a_file(self, refuse: Refusal, pairs: Path, tmp_path: Path) -> None:
        (tmp_path / "records").write_text("a file")
        message = refuse("convert", pairs, tmp_path / "records")
        assert message == f"{tmp_path / 'records'}: is a file, expected a folder to write records to"

    def test_records_below_a_file(self, refuse: Refusal, pairs: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("a file")
        message = refuse("convert", pairs, tmp_path / "file/records")
        assert message.startswith(f"{tmp_path / 'file/records'}: cannot be written: ")

    def test_records_that_are_there(self, refuse: Refusal, pairs: Path, records: Path) -> None:
        assert "holds a record set already; name another folder or give --overwrite" in refuse(
            "convert", pairs, records
        )

    def test_a_folder_with_other_files(self, refuse: Refusal, pairs: Path, tmp_path: Path) -> None:
        message = refuse("convert", pairs, pairs)
        assert "holds other files (images, masks); name an empty or new folder" in message

    def test_wrong_fraction(self, refuse: Refusal, tmp_path: Path) -> None:
        message = refuse("convert", tmp_path, tmp_path / "records", "--val-fraction", 1.5, status=2)
        assert message == "val_fraction must be less than 1, got 1.5"


class TestConfigFile:
    def test_missing(self, refuse: Refusal, tmp_path: Path) -> None:
        message = refuse("train", tmp_path, "--config", tmp_path / "none.yaml", status=2)
        assert message == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory"

    @pytest.mark.parametrize("verb", ["train", "tune", "convert"])
    def test_unknown_key(self, refuse: Refusal, tmp_path: Path, verb: str) -> None:
        path = tmp_path / "settings.yaml"
        path.write_text("sed: 3\n")
        other = [tmp_path / "records"] if verb == "convert" else []
        message = refuse(verb, tmp_path, *other, "--config", path, status=2)
        assert message.startswith(f"{path}: unknown setting sed; known: ")

    def test_wrong_value(self, refuse: Refusal, tmp_path: Path) -> None:
        path = tmp_path / "settings.yaml"
        path.write_text("learning-rate: fast\n")
        message = refuse("train", tmp_path, f"--config={path}", status=2)
        assert message.startswith(f"{path}: learning_rate must be a valid number")
        assert message.endswith("got 'fast'")


def test_a_wrong_search_space(refuse: Refusal, records: Path, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("learning_rate: {uniform: [1, 20]}\n")
    message = refuse("tune", records, "--runs", tmp_path / "runs", "--space", path, status=2)
    assert message.startswith(f"{path}: learning_rate: ")
    assert not (tmp_path / "runs").exists()


def test_evaluate_without_a_run(refuse: Refusal, records: Path, tmp_path: Path) -> None:
    assert refuse("evaluate", tmp_path / "none", records).startswith(f"{tmp_path / 'none'}: not a run folder")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--where", "model"], "where must be KEY=VALUE"),
        (["--watch", "--format", "csv"], "watch draws a table on the terminal"),
        (["--watch", "--interval", "0"], "interval must be above 0"),
    ],
)
def test_wrong_flags_of_the_leaderboard(refuse: Refusal, tmp_path: Path, flags: list[str], message: str) -> None:
    assert refuse("leaderboard", tmp_path, *flags, status=2).startswith(message)


def test_a_leaderboard_takes_several_conditions_and_compacts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, model in (("one", "fcn"), ("two", "unet"), ("three", "fcn")):
        result = make_result(name, model=model, val_dice=0.6 if name == "one" else 0.8)
        result.write(tmp_path / name)
        append(tmp_path, name, result=result)
    conditions = ["--where", "model=fcn", "--where", "val_dice>0.7", "--sort", "seconds", "--by", "model", "--top", "5"]
    assert cli.main(["leaderboard", str(tmp_path), *conditions, "--compact", "--format", "csv"]) == 0
    assert [line.split(",")[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["three"]
    assert len(list((tmp_path / LEDGER_FOLDER).iterdir())) == 1
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0
    assert "three" in (tmp_path / "report.html").read_text()


def test_the_stores_name_is_no_name_for_a_run(refuse: Refusal, records: Path, tmp_path: Path) -> None:
    message = refuse("train", records, "--runs", tmp_path, "--name", LEDGER_FOLDER, status=2)
    assert message.startswith("name 'leaderboard' is taken by the store of results")


def test_a_leaderboard_of_nothing(refuse: Refusal, tmp_path: Path) -> None:
    assert str(tmp_path / "none") in refuse("leaderboard", tmp_path / "none")


@pytest.mark.parametrize(("flags", "field"), [(["--patients", "0"], "patients"), (["--size", "3"], "size")])
def test_a_phantom_that_cannot_be(refuse: Refusal, tmp_path: Path, flags: list[str], field: str) -> None:
    assert refuse("phantom", tmp_path / "out", *flags, status=2).startswith(f"{field} must be from ")


def test_a_phantom_over_other_files(refuse: Refusal, records: Path) -> None:
    assert refuse("phantom", records).startswith(f"{records}: expected a new or empty folder, found ")


def test_a_submitted_job_must_name_durable_folders(
    refuse: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Path, records: Path
) -> None:
    copy = tmp_path / "runtime_resources/working_dir_files/_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert refuse("train", records, status=2).startswith("runs must be an absolute path in a submitted job")
    assert refuse("convert", pairs, "records", status=2).startswith("records must be an absolute path")


def test_every_verb_that_ends_can_be_submitted() -> None:
    verbs = cli.make_verbs(ConvertConfig(), TrainConfig())
    assert set(verbs) - set(get_args(cli.JobVerb)) == {"submit", "dashboard", "tensorboard"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["submit"], "submit needs a verb, or --attach and the id of a job"),
        (["submit", "--attach", "train", "train", "records"], "submit needs a verb, or --attach and the id of a job"),
        (["submit", "train", "records", "--workers", "8"], "workers must be at most batch_size, got 8 and 4"),
    ],
)
def test_a_job_that_cannot_be_is_refused_before_it_is_sent(refuse: Refusal, args: list[str], message: str) -> None:
    assert refuse(*args, status=2) == message


@pytest.mark.parametrize(
    "args",
    [
        ["train"],
        ["train", "records", "--epochs", "many"],
        ["train", "records", "--no-such-flag"],
        ["submit", "--no-such-flag", "train"],
        ["submit", "train", "records", "--no-such-flag"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_use_shows_how_and_ends_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.verbs.training, "train", interrupt)
    assert cli.main(["train", "records"]) == 130
    assert capsys.readouterr().err.startswith("lvseg: interrupted")


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_every_setting(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    configs: dict[str, tuple[type, ...]] = {
        "convert": (ConvertConfig,),
        "train": (TrainConfig,),
        "tune": (TrainConfig, TuneConfig),
    }
    for config in configs.get(verb, ()):
        for field in dataclasses.fields(config):
            assert f"--{field.name.replace('_', '-')}" in text


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in text] == []


def test_every_verb_has_a_job_that_calls_it(repository: Path) -> None:
    jobs = {path.stem: path.read_text(encoding="utf-8") for path in (repository / "jobs").glob("*.py")}
    assert set(jobs) == set(VERBS) - {"submit"}
    assert all(f'main(["{verb}", *sys.argv[1:]])' in text for verb, text in jobs.items())


def test_a_job_takes_the_same_flags_from_any_folder(repository: Path, tmp_path: Path) -> None:
    job = repository / "jobs/leaderboard.py"
    done = subprocess.run([sys.executable, job, "none"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("lvseg: error: none: ")
    assert len(done.stderr.splitlines()) == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lvseg {__version__}\n"
