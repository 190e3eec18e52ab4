"""The same prediction with Ray and without: the same files, to the byte."""

from pathlib import Path

import pytest

from lvseg.config import PredictConfig
from lvseg.distributed.predict import predict_on_ray
from lvseg.inference.job import end_job, open_job
from lvseg.inference.local import predict_locally
from lvseg.inference.prepare import Failure
from lvseg.phantom import write_phantom
from lvseg.store import location
from tests.discs import write_records
from tests.inference.runs import write_run

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_cluster_writes_what_one_process_writes(cluster: None, tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "records", size=64)
    run = location(write_run(tmp_path / "runs/one", tmp_path / "records", manifest))
    write_phantom(tmp_path / "source", patients=3, size=64, slices=3, phases=6)
    for path in (tmp_path / "source/dicoms/PHANTOM0002").iterdir():
        path.write_bytes(b"no DICOM")
    settings = PredictConfig(precision="float32", tta="flips")
    ended = {}
    for name in ("ray", "local"):
        opened = open_job((run,), location(tmp_path / "source"), location(tmp_path / name), settings, None, gpu=False)
        done = predict_on_ray(opened, 1, gpu=False) if name == "ray" else predict_locally(opened)
        ended[name] = end_job(opened, done, lambda *_: None)
    assert (ended["ray"].studies, ended["ray"].images) == (2, 36)
    assert ended["ray"].failures == ended["local"].failures != ()
    assert isinstance(ended["ray"].failures[0], Failure)
    files = {name: {p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob("*.*")} for name in ended}
    assert files["ray"] == files["local"]
    for path in sorted(files["local"]):
        if path.suffix in (".txt", ".csv"):
            assert (tmp_path / "ray" / path).read_text() == (tmp_path / "local" / path).read_text(), path
        elif path.suffix == ".png" and path.parent.name == "masks":
            assert (tmp_path / "ray" / path).read_bytes() == (tmp_path / "local" / path).read_bytes(), path
