"""A small real Ray cluster and a small real record set, shared by the room's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from lvseg.config import ConvertConfig
from lvseg.distributed.convert import convert
from lvseg.distributed.session import ray_session
from lvseg.phantom import write_phantom
from lvseg.records import Manifest
from tests.discs import write_records


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Three cores, however many the machine has: room for three workers of one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        with ray_session(min_cpus=3):
            yield
    assert not ray.is_initialized()


@pytest.fixture(scope="package")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "phantom"
    write_phantom(folder, patients=3, size=64, slices=5, phases=6, labelled_only=True)
    return folder


@pytest.fixture(scope="package")
def converted(cluster: None, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The phantom as Parquet records, and their manifest."""
    records = tmp_path_factory.mktemp("records") / "parquet"
    return records, convert(phantom, records, ConvertConfig(val_fraction=0.34, shard_images=8))


@pytest.fixture(scope="package")
def tfrecords(cluster: None, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """The phantom as TFRecords, and their manifest."""
    records = tmp_path_factory.mktemp("records") / "tfrecord"
    return records, convert(phantom, records, ConvertConfig(val_fraction=0.34, shard_images=8, format="tfrecord"))


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Discs as Parquet records, written without a conversion, and their manifest."""
    records = tmp_path_factory.mktemp("made") / "parquet"
    return records, write_records(records, train=19, val=7, size=64, shard_images=8)
