"""What a finished run says of itself; without TensorFlow, so that any process can look at it."""

from __future__ import annotations

from dataclasses import dataclass

from lvseg.config import LabelConvention, PreprocessConfig, Structures, TrainConfig
from lvseg.errors import RecordsError, RunError
from lvseg.records import read_manifest
from lvseg.run_folder import Origin, best_weights, read_config, read_origin
from lvseg.store import UPath, file_sha256, location

__all__ = ["RunFacts", "read_run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """All of a finished run but its weights; small, any node can make the model of it."""

    folder: UPath
    """The run's folder."""
    config: TrainConfig
    """Its settings."""
    preprocessing: PreprocessConfig
    """What was done to every image of its records."""
    shape: tuple[int, int]
    """(rows, columns) of these images."""
    labels: LabelConvention
    """Label convention that it learnt."""
    structures: Structures
    """What it tells apart."""
    records_sha256: str
    """Identity of its records."""
    weights_sha256: str
    """Hash over the bytes of its weights' file."""


def read_run(run: UPath, records: UPath | None = None) -> RunFacts:
    """Look at a finished run.

    Args:
        run: its folder.
        records: the record set that it was trained on. Runs of this version do not need it, those of earlier ones
            where it has moved; only its manifest is read.

    Raises:
        RunError: no finished run there, or its records are gone or others.
    """
    config, weights, origin = read_config(run), best_weights(run), read_origin(run)
    shape, preprocessing = origin.shape, origin.preprocessing
    if records is not None or shape is None or preprocessing is None:
        shape, preprocessing = _from_records(run, origin, location(origin.records) if records is None else records)
    return RunFacts(
        folder=run,
        config=config,
        preprocessing=preprocessing,
        shape=shape,
        labels=origin.labels,
        structures=origin.structures,
        records_sha256=origin.records_sha256,
        weights_sha256=file_sha256(weights),
    )


def _from_records(run: UPath, origin: Origin, where: UPath) -> tuple[tuple[int, int], PreprocessConfig]:
    """What runs of earlier versions do not say of themselves."""
    try:
        manifest = read_manifest(where)
        shape = manifest.image_shape(where)
    except RecordsError as error:
        hint = "its manifest says how images are preprocessed; name the place of the records: --records"
        raise RunError(f"{run}: its records cannot be read: {error}; {hint}") from None
    if manifest.records_sha256 != origin.records_sha256:
        raise RunError(f"{run}: was trained on other records than {where}; name its own: --records")
    return shape, manifest.preprocessing
