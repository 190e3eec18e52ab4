"""``lvseg check`` as a real Ray Data job."""

import json
from pathlib import Path

import pytest

from lvseg.cli import main
from lvseg.config import CheckConfig, ConvertConfig
from lvseg.distributed.check import check
from lvseg.errors import SourceError
from lvseg.phantom import write_phantom

TRAPS = ("contour-off-heart", "two-point-contour", "missing-es-slice", "stray-files")


@pytest.mark.ray
@pytest.mark.slow
def test_end_to_end(cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, bad, out = tmp_path / "clean", tmp_path / "bad", tmp_path / "report"
    write_phantom(clean, patients=2, size=64, slices=5, phases=4)
    write_phantom(bad, patients=5, size=96, slices=6, phases=4, traps=TRAPS)
    report = check(clean, ConvertConfig())
    assert (report.findings, report.skipped) == ((), ())
    assert report.unlabelled_images > 0
    assert main(["check", str(clean), "--strict"]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main(["check", str(bad), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert main(["check", str(bad), "--strict"]) == 1
    content = json.loads((out / "quality.json").read_text())
    truth = json.loads((bad / "truth.json").read_text())
    expected = {(trap["check"], trap["case_id"]) for trap in truth["traps"] if trap["check"]}
    assert len(expected) == 3
    assert expected <= {(finding["check"], finding["case_id"]) for finding in content["findings"]}
    assert all(check_name in printed for check_name, _ in expected)
    assert [skip["file"] for skip in content["skipped"]]
    page = (out / "quality.html").read_text()
    assert page.count("data:image/webp") == len(content["findings"])
    assert "notes.txt" in page


def test_settings_are_those_of_a_conversion() -> None:
    settings = CheckConfig(source="pairs", labels="course", cavity_value=3, strict=True).to_convert()
    assert (settings.source, settings.labels, settings.cavity_value) == ("pairs", "course", 3)


def test_nothing_to_check(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(SourceError, match="no known layout"):
        check(tmp_path, ConvertConfig())
