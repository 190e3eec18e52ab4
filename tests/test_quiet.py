import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvseg.quiet import KERAS_OPTIONAL, TENSORFLOW_LEVEL, import_quietly


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that writes to standard error below Python, as TensorFlow does."""
    (tmp_path / "loud.py").write_text("import os\nos.write(2, b'noise')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "loud", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv(TENSORFLOW_LEVEL, "3")
    return "loud"


def test_an_import_says_nothing(loud: str, capfd: pytest.CaptureFixture[str]) -> None:
    import_quietly(loud)
    assert capfd.readouterr().err == ""
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"


def test_the_fast_kernels_are_asked_for_unless_the_user_chose(loud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    import_quietly(loud)
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    import_quietly(loud)
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"


def test_who_wants_to_hear_everything_does(
    loud: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TENSORFLOW_LEVEL, "0")
    import_quietly(loud)
    assert capfd.readouterr().err == "noise"


def test_a_failing_import_raises_and_can_be_heard_again(loud: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_quietly("no_such_module")
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"


@pytest.mark.slow
def test_keras_loads_nothing_that_it_does_not_need() -> None:
    """In a process of its own: here all of it is loaded. Afterwards the packages can be had as ever."""
    code = (
        "import sys; from lvseg.quiet import KERAS_OPTIONAL, import_keras; import_keras(); "
        "print([name for name in KERAS_OPTIONAL if name in sys.modules]); "
        "import keras, tensorflow; from importlib import import_module; "
        "print([import_module(name).__name__ for name in KERAS_OPTIONAL])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", str(list(KERAS_OPTIONAL))]
    assert done.stderr == ""
