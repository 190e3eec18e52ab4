"""Masks, volumes and files of new studies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lvseg.cli.terminal import open_console, require_durable
from lvseg.config import PredictConfig
from lvseg.errors import ConfigError
from lvseg.progress import reporter
from lvseg.quiet import import_keras
from lvseg.store import UPath

if TYPE_CHECKING:
    from lvseg.inference.job import Done, OpenJob
    from lvseg.inference.tables import StudyNote

FEW_CORES = 4
"""Up to so many cores the models keep all of them busy, and Ray would only take some."""
SHOWN = 20
"""Studies, failures and left-out files that are printed; the files have them all."""


def predict(
    runs: tuple[UPath, ...],
    source: UPath,
    out: UPath,
    settings: PredictConfig,
    records: UPath | None,
    *,
    verbose: bool,
) -> int:
    """Predict, and say what came of it; 1 where a study has no result, or volumes that may mislead."""
    require_durable("out", out)
    from lvseg.inference.folder import finished_cases, read_notes
    from lvseg.inference.job import end_job, open_job

    console = open_console()
    with ExitStack() as stack:
        workers, gpu = _place(settings, stack, verbose=verbose)
        opened = open_job(runs, source, out, settings, records, gpu=gpu)
        if opened.finished:
            console.print(f"{len(opened.finished)} studies are done already")
        with reporter("predict", console) as shown:
            done = _done(opened, workers, gpu=gpu, verbose=verbose)
            manifest = end_job(opened, done, shown.update)
    if manifest.studies <= SHOWN:
        console.print(_volumes(read_notes(out, finished_cases(out))))
    console.print(f"{manifest.studies} studies, {manifest.images} images, {manifest.look_images} to look at")
    _print_some(console, "no result", [(each.case_id, each.reason) for each in manifest.failures])
    _print_some(console, "volumes may mislead", [(each.case_id, each.reason) for each in manifest.doubts])
    _print_some(console, "left out", [(each.file, each.reason) for each in manifest.skipped])
    console.print(
        f"volumes of every study: {out / 'volumes.csv'}; of every image: {out / 'images.csv'}", soft_wrap=True
    )
    return int(manifest.misleads)


def _place(settings: PredictConfig, stack: ExitStack, *, verbose: bool) -> tuple[int, bool]:
    """How many models work side by side, 0 for this process, and whether on GPUs; on Ray its session is open."""
    alone = "RAY_ADDRESS" not in os.environ
    gpu_here = any(Path("/dev").glob("nvidia[0-9]*"))
    few = alone and not gpu_here and (os.cpu_count() or 1) <= FEW_CORES
    if settings.workers == 0 or (settings.workers is None and few):
        if settings.gpu and not gpu_here:
            raise ConfigError("gpu: this machine has no GPU")
        return 0, gpu_here and settings.gpu is not False
    from lvseg.distributed.predict import count_workers
    from lvseg.distributed.session import ray_session

    stack.enter_context(ray_session(min_cpus=(settings.workers or 1) + 1, verbose=verbose))
    workers, gpu = count_workers(gpu=settings.gpu)
    if settings.gpu and not gpu:
        raise ConfigError("gpu: the cluster has no GPU")
    return settings.workers or workers, gpu


def _done(opened: OpenJob, workers: int, *, gpu: bool, verbose: bool) -> Iterator[Done]:
    if workers:
        from lvseg.distributed.predict import predict_on_ray

        yield from predict_on_ray(opened, workers, gpu=gpu, verbose=verbose)
        return
    import_keras()
    from lvseg.inference.local import predict_locally

    yield from predict_locally(opened, gpu=gpu)


def _volumes(notes: Iterable[StudyNote]) -> Table:
    table = Table()
    for name in ("study", "images", "EDV ml", "ESV ml", "SV ml", "EF %", "mass g", "look at"):
        table.add_column(name, justify="left" if name == "study" else "right")
    for note in notes:
        row = note.volumes
        percent = None if row.ejection_fraction is None else 100 * row.ejection_fraction
        numbers = (row.edv_ml, row.esv_ml, row.sv_ml, percent, row.mass_g)
        shown = ["–" if number is None else f"{number:.1f}" for number in numbers]
        table.add_row(note.case_id, str(row.images), *shown, str(row.look_images))
    return table


def _print_some(console: Console, what: str, found: list[tuple[str, str]]) -> None:
    for name, reason in found[:SHOWN]:
        console.print(f"{what}: {name}: {reason}", soft_wrap=True)
    if len(found) > SHOWN:
        console.print(f"{what}: {len(found) - SHOWN} more, see predict.json")
