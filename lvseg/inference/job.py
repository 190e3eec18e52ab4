"""What a prediction will do: looked at once, then told to every process that takes part."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lvseg.config import PredictConfig, PreprocessConfig, settings_of
from lvseg.errors import ConfigError
from lvseg.findings import Skip
from lvseg.inference.finish import Recipe, finish_study
from lvseg.inference.folder import PredictManifest, claim, close, fingerprint, write_study
from lvseg.inference.masks import Probabilities
from lvseg.inference.prepare import (
    Failure,
    Pack,
    PredictSource,
    PreparedStudy,
    make_packs,
    open_predict_source,
    prepare_pack,
)
from lvseg.inference.runs import RunFacts, read_run
from lvseg.outputs import WRITERS
from lvseg.records import Manifest
from lvseg.sources.listing import natural_key
from lvseg.store import UPath
from lvseg.training.precision import best_precision

__all__ = [
    "Done",
    "OpenJob",
    "PredictJob",
    "end_job",
    "finish_pack",
    "open_job",
    "read_pack",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictJob:
    """All that a process has to know; small and picklable."""

    source: UPath
    """Source folder or record set."""
    records: Manifest | None
    """Of a record set."""
    runs: tuple[RunFacts, ...]
    """The models, their precision settled."""
    kinds: tuple[PreprocessConfig, ...]
    """The different kinds of preprocessing among them."""
    recipe: Recipe
    """What makes studies of probabilities."""
    out: UPath
    """The folder to fill."""
    manifest: PredictManifest
    """As it stands at the start."""

    @property
    def settings(self) -> PredictConfig:
        """The settings."""
        return self.recipe.settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What came of some studies."""

    cases: tuple[str, ...] = ()
    """Studies whose folders are there."""
    images: int = 0
    """Images in them."""
    failures: tuple[Failure, ...] = ()
    """Studies without a result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenJob:
    """A prediction that can start."""

    job: PredictJob
    """What every process has to know."""
    packs: tuple[Pack, ...]
    """Studies that are left to do."""
    finished: frozenset[str]
    """Case ids of those that an earlier call has done."""
    skipped: tuple[Skip, ...]
    """What was left out on the way."""


def open_job(
    runs: Sequence[UPath], source: UPath, out: UPath, settings: PredictConfig, records: UPath | None, *, gpu: bool
) -> OpenJob:
    """Look at runs and source, and claim the folder.

    Args:
        runs: folders of finished runs; several are an ensemble.
        source: source folder or record set.
        out: folder to fill.
        settings: how.
        records: where the runs' record set is, should it have moved.
        gpu: whether models run on GPUs.

    Raises:
        ConfigError: runs that do not fit each other, an unknown kind of output, or a folder that is taken.
        RunError, SourceError, RecordsError: see ``read_run``, ``open_predict_source``.
    """
    if unknown := set(settings.outputs) - WRITERS.keys():
        raise ConfigError(f"outputs must be among {', '.join(WRITERS)}, got {', '.join(sorted(unknown))}")
    facts = [_settled(read_run(run, records), settings, gpu=gpu) for run in runs]
    _check_agreement(facts)
    kinds = tuple(dict.fromkeys(each.preprocessing for each in facts))
    found = open_predict_source(source, settings.source, kinds)
    job = PredictJob(
        source=found.folder,
        records=found.manifest,
        runs=tuple(facts),
        kinds=kinds,
        recipe=Recipe(
            settings=settings, labels=facts[0].labels, kinds=tuple(kinds.index(each.preprocessing) for each in facts)
        ),
        out=out,
        manifest=_manifest(facts, settings, found),
    )
    finished = claim(out, job.manifest)
    left = [study for study in found.studies if study.case_id not in finished]
    done = frozenset(study.case_id for study in found.studies) & finished
    return OpenJob(job=job, packs=tuple(make_packs(left)), finished=done, skipped=found.skipped)


def _settled(facts: RunFacts, settings: PredictConfig, *, gpu: bool) -> RunFacts:
    precision = best_precision(gpu) if settings.precision == "auto" else settings.precision
    return dataclasses.replace(facts, config=dataclasses.replace(facts.config, precision=precision))


def _check_agreement(facts: Sequence[RunFacts]) -> None:
    for name in ("structures", "labels"):
        values = {getattr(each, name): each.folder.name for each in facts}
        if len(values) > 1:
            found = ", ".join(f"{value} in {run}" for value, run in values.items())
            raise ConfigError(f"runs of an ensemble must have the same {name}, got {found}")


def _manifest(facts: Sequence[RunFacts], settings: PredictConfig, source: PredictSource) -> PredictManifest:
    runs = tuple(
        {
            "name": each.folder.name,
            "model": each.config.model,
            "precision": each.config.precision,
            "weights_sha256": each.weights_sha256,
            "records_sha256": each.records_sha256,
            "labels": each.labels,
            "structures": each.structures,
            "preprocessing": dataclasses.asdict(each.preprocessing),
        }
        for each in facts
    )
    where = hashlib.sha256(str(source.folder.absolute()).encode()).hexdigest()
    return PredictManifest(
        status="running",
        fingerprint=fingerprint(runs, settings_of(settings), where),
        runs=runs,
        settings=settings_of(settings),
    )


def read_pack(job: PredictJob, pack: Pack) -> tuple[list[PreparedStudy], list[Failure]]:
    """Read and preprocess some studies; those that a model cannot take are failures."""
    studies, failures = prepare_pack(job.source, job.records, pack, job.kinds)
    usable = []
    for study in studies:
        if (reason := _unfit(job, study)) is None:
            usable.append(study)
        else:
            failures.append(Failure(study.case_id, reason))
    return usable, failures


def _unfit(job: PredictJob, study: PreparedStudy) -> str | None:
    """Why a model cannot take the images, or None."""
    for facts, kind in zip(job.runs, job.recipe.kinds, strict=True):
        rows, columns = study.inputs[kind].shape[1:]
        if facts.config.model == "fc" and (rows, columns) != facts.shape:
            wanted = f"{facts.shape[0]}x{facts.shape[1]}"
            return f"images of {rows}x{columns}, model fc of run {facts.folder.name} takes {wanted}"
        if job.settings.tta == "all" and rows != columns:
            return f"images of {rows}x{columns}; quarter turns (tta all) need square ones"
    return None


def finish_pack(
    job: PredictJob,
    studies: Sequence[PreparedStudy],
    probabilities: Sequence[Sequence[Probabilities]],
    failures: Sequence[Failure],
) -> Done:
    """Make and write the studies' masks, numbers and files.

    Raises:
        LvsegError: the folder cannot be written.
    """
    images = 0
    for prepared, own in zip(studies, probabilities, strict=True):
        study, note = finish_study(prepared, own, job.recipe)
        write_study(job.out, study, note, job.settings.outputs)
        images += len(note.images)
    return Done(cases=tuple(each.case_id for each in studies), images=images, failures=tuple(failures))


def end_job(opened: OpenJob, done: Iterable[Done], progress: Callable[[int, int, str], None]) -> PredictManifest:
    """Wait for all studies, then write tables and manifest.

    Args:
        opened: the prediction.
        done: what came of the packs, as they get done.
        progress: told studies done, studies in all, and a note.

    Raises:
        LvsegError: the folder cannot be written.
    """
    total = sum(len(pack.studies) for pack in opened.packs)
    cases, failures, images, start = set(opened.finished), list[Failure](), 0, time.monotonic()
    progress(0, total, "")
    for each in done:
        cases |= set(each.cases)
        failures += each.failures
        images += each.images
        speed = images / max(time.monotonic() - start, 1e-9)
        progress(len(cases) - len(opened.finished) + len(failures), total, f"{images} images, {speed:.1f} images/s")
    job = opened.job
    return close(job.out, job.manifest, sorted(cases, key=natural_key), failures, opened.skipped)
