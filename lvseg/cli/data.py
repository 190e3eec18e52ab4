"""Source files and record sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lvseg.cli.terminal import open_console, require_durable
from lvseg.config import AugmentConfig, CheckConfig, ConvertConfig, SplitName
from lvseg.errors import ConfigError
from lvseg.progress import reporter
from lvseg.quiet import import_keras
from lvseg.store import UPath

PICTURE_SUFFIXES = (".png", ".jpg", ".webp")


def convert(source: UPath, records: UPath, settings: ConvertConfig, *, overwrite: bool, verbose: bool) -> int:
    """Convert a source and say what came of it."""
    from lvseg.distributed.convert import convert, read_findings
    from lvseg.quality import print_summary

    require_durable("records", records)
    console = open_console()
    with reporter("convert", console) as shown:
        manifest = convert(source, records, settings, overwrite=overwrite, progress=shown.update, verbose=verbose)
    for name, part in manifest.splits.items():
        console.print(f"{name}: {part.images} images, patients: {part.patients}")
    sizes = ", ".join(f"{count} of {shape}" for shape, count in manifest.shapes.items())
    console.print(f"labels {manifest.labels}, split by {manifest.split}, sizes {sizes}")
    if manifest.unlabelled_images:
        console.print(f"{manifest.unlabelled_images} images without a contour were left out, as usual in a cine")
    if manifest.decisions:
        decided = f"{len(manifest.decisions)} decisions where file names did not say"
        console.print(f"{decided}, see {records / 'manifest.json'}", soft_wrap=True)
    print_summary(console, read_findings(records), sum(manifest.shapes.values()), manifest.skipped)
    console.print(f"record set: {records}, quality report: {records / 'quality.html'}", soft_wrap=True)
    return 0


def check(source: UPath, settings: CheckConfig, out: UPath | None, *, verbose: bool) -> int:
    """Check a source; 1 where ``--strict`` meets findings."""
    from lvseg.distributed.check import check
    from lvseg.quality import print_summary

    if out is not None:
        require_durable("out", out)
    console = open_console()
    with reporter("check", console) as shown:
        report = check(source, settings.to_convert(), out, progress=shown.update, verbose=verbose)
    print_summary(console, report.findings, report.facts.num_rows, report.skipped)
    if out is not None:
        console.print(f"report: {out / 'quality.html'}", soft_wrap=True)
    return int(settings.strict and report.count("error", "warning") > 0)


def augment_preview(
    records: UPath, settings: AugmentConfig, out: Path, split: SplitName, *, images: int, draws: int, seed: int
) -> int:
    """Write the picture sheet of the augmentation."""
    for name, value in (("images", images), ("draws", draws)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if out.suffix.lower() not in PICTURE_SUFFIXES:
        raise ConfigError(f"out must end in {', '.join(PICTURE_SUFFIXES)}, got {out}")
    import_keras()
    from lvseg.training.preview import EXAMPLE, preview, save

    if not settings.augments():
        settings = EXAMPLE
        flags = (
            f"--{name.replace('_', '-')}" + ("" if value is True else f" {value:g}")
            for name, value in dataclasses.asdict(settings).items()
        )
        open_console().print(f"no augmentation was asked for; an example: {' '.join(flags)}", soft_wrap=True)
    save(preview(records, split, settings, images=images, draws=draws, seed=seed), out)
    open_console().print(str(out), soft_wrap=True)
    return 0
