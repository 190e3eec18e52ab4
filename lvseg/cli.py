"""The command line: parse, call one function of the library, print, set the exit status."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro
from rich.console import Console
from tyro.constructors import PrimitiveConstructorSpec

from lvseg import __version__
from lvseg.config import (
    AugmentConfig,
    CheckConfig,
    ConvertConfig,
    SourceLayout,
    SplitName,
    TrainConfig,
    TuneConfig,
    from_mapping,
    read_yaml,
)
from lvseg.errors import ConfigError, LvsegError
from lvseg.leaderboard import Format, View
from lvseg.ledger import LEDGER_FOLDER
from lvseg.progress import reporter, sweep_progress, watch_run
from lvseg.quiet import import_quietly
from lvseg.recipes import RECIPES
from lvseg.store import UPath, is_local, location, write_text

if TYPE_CHECKING:
    from lvseg.results import RunResult
    from lvseg.run_folder import Run

Flat = tyro.conf.arg(name="")
"""The settings of a config as flags of their own, without a prefix."""
Location = Annotated[
    UPath,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URI",
        instance_from_str=lambda words: location(words[0]),
        is_instance=lambda value: isinstance(value, UPath | Path),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""A path, or a URI such as ``s3://bucket/folder``; a ``pathlib.Path`` would swallow a slash of it."""
CONFIG_FLAG = "--config"
JobVerb = Literal[
    "phantom",
    "check",
    "convert",
    "augment-preview",
    "train",
    "tune",
    "evaluate",
    "leaderboard",
    "report",
    "models",
    "demo",
    "doctor",
]
"""What can be submitted to a cluster."""
PICTURE_SUFFIXES = (".png", ".jpg", ".webp")
INTERRUPTED = 130
_JOB_COPY = "runtime_resources/working_dir_files"


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 failed, 2 wrong use."""
    args = list(sys.argv[1:] if args is None else args)
    if args == ["--version"]:
        print(f"lvseg {__version__}")
        return 0
    try:
        return _call(*_split_job(args))
    except LvsegError as error:
        print(f"lvseg: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("lvseg: interrupted; the same command with the same --name goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _call(args: list[str], job: tuple[str, ...] = (), act: bool = True) -> int:
    """Parse, and call the verb unless told not to ``act``."""
    args = _worker_range(args)
    verbs = make_verbs(*_base_configs(args), job)
    if not act:
        verbs = {name: _idle(verb) for name, verb in verbs.items()}
    result = tyro.extras.subcommand_cli_from_dict(
        verbs, args=args, prog="lvseg", description="Left-ventricle segmentation from cardiac MRI, on Ray."
    )
    return int(result)


def _idle(verb: Callable[..., int]) -> Callable[..., int]:
    @wraps(verb)
    def do_nothing(*_: object, **__: object) -> int:
        return 0

    return do_nothing


def _split_job(args: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """``submit --detach train records --name one`` → submit's own part, and what follows the verb."""
    if args[:1] != ["submit"]:
        return args, ()
    for index in range(1, len(args)):
        if args[index] in get_args(JobVerb) and args[index - 1] not in ("--job-id", "--install", "--attach"):
            return args[: index + 1], tuple(args[index + 1 :])
    return args, ()


def _worker_range(args: list[str]) -> list[str]:
    """``--workers 1:4`` → ``--workers 4 --min-workers 1``."""
    out: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        value = value if equals else arg
        named = flag == "--workers" if equals else bool(out) and out[-1] == "--workers"
        least, colon, most = value.partition(":")
        if named and colon:
            out = out if equals else out[:-1]
            out += ["--min-workers", least, "--workers", most]
        else:
            out.append(arg)
    return out


def _base_configs(args: list[str]) -> tuple[ConvertConfig, TrainConfig]:
    """The settings of the file or the recipe that ``--config`` names; flags then go before them."""
    values = [arg.partition("=")[2] for arg in args if arg.startswith(f"{CONFIG_FLAG}=")]
    values += [args[index + 1] for index, arg in enumerate(args[:-1]) if arg == CONFIG_FLAG]
    if not values:
        return ConvertConfig(), TrainConfig()
    if values[-1] in RECIPES and args[0] != "convert":
        return ConvertConfig(), RECIPES[values[-1]]()
    content = read_yaml(Path(values[-1]))
    try:
        if args[0] == "convert":
            return from_mapping(ConvertConfig, content), TrainConfig()
        return ConvertConfig(), from_mapping(TrainConfig, content)
    except ConfigError as error:
        raise ConfigError(f"{values[-1]}: {error}") from None


def make_verbs(
    convert_base: ConvertConfig, train_base: TrainConfig, job: tuple[str, ...] = ()
) -> dict[str, Callable[..., int]]:
    """The verbs, with the given settings as defaults; ``job`` is what follows the verb that is submitted."""
    augment_base = _augmentation(train_base)

    def phantom(
        out: tyro.conf.Positional[Path],
        /,
        patients: int = 8,
        seed: int = 0,
        size: int = 256,
        slices: int = 8,
        phases: int = 20,
        labelled_only: bool = False,
        layout: SourceLayout = "linked",
        traps: tuple[str, ...] = (),
        fast: bool = False,
    ) -> int:
        """Write synthetic cine studies: DICOM images, contour files, and the true areas and volumes.

        Args:
            out: New or empty folder.
            patients: Number of patients.
            seed: Same seed, same bytes.
            size: Rows and columns of an image.
            slices: Slices of a patient, base to apex.
            phases: Phases of the cardiac cycle.
            labelled_only: Write only the images that have a contour (end-diastole and end-systole).
            layout: Where the files lie and what they are called; all but course.
            traps: What shall be wrong, by name, or all; truth.json says where.
            fast: A few hearts over and over with new noise, every image labelled: for benchmarks.
        """
        from lvseg.phantom import write_phantom

        summary = write_phantom(
            out,
            patients=patients,
            seed=seed,
            size=size,
            slices=slices,
            phases=phases,
            labelled_only=labelled_only,
            layout=layout,
            traps=traps,
            fast=fast,
        )
        _console().print(
            f"{out}: {summary.patients} patients, {summary.images} images, "
            f"{summary.endocardium_contours} endocardium contours"
        )
        return 0

    def convert(
        source: tyro.conf.Positional[Location],
        records: tyro.conf.Positional[Location],
        /,
        settings: Annotated[ConvertConfig, Flat] = convert_base,
        config: Path | None = None,
        overwrite: bool = False,
        verbose: bool = False,
    ) -> int:
        """Convert DICOM and contour files, or image-mask pairs, into a record set.

        Args:
            source: Folder or URI with the files; its layout is found out.
            records: Folder or URI to write to.
            settings: See the flags.
            config: YAML file with the same settings; flags go before it.
            overwrite: Replace a record set that is there.
            verbose: Show Ray's own messages.
        """
        return _convert(source, records, settings, overwrite=overwrite, verbose=verbose)

    def check(
        source: tyro.conf.Positional[Location],
        /,
        settings: Annotated[CheckConfig, Flat] = CheckConfig(),  # noqa: B008 -- frozen
        out: Location | None = None,
        verbose: bool = False,
    ) -> int:
        """Check images and labels of a source folder: contours on their hearts, copies, gaps, damaged files.

        Args:
            source: Folder or URI with the files; its layout is found out.
            settings: See the flags.
            out: Folder or URI for the report, quality.html and quality.json; default: the terminal only.
            verbose: Show Ray's own messages.
        """
        return _check(source, settings, out, verbose=verbose)

    def train(
        records: tyro.conf.Positional[Location],
        /,
        settings: Annotated[TrainConfig, Flat] = train_base,
        config: Path | None = None,
        runs: Location = UPath("runs"),  # noqa: B008 -- a value
        name: str | None = None,
        verbose: bool = False,
    ) -> int:
        """Train one model; the same command with the same name resumes.

        Args:
            records: Record set made by lvseg convert, a folder or a URI.
            settings: See the flags.
            config: YAML file with the same settings, or a recipe: unet-sunnybrook; flags go before it.
            runs: Folder of runs, on storage that every node sees; a path or a URI.
            name: Name of the run; default: model and time.
            verbose: Show Ray's and TensorFlow's own messages.
        """
        return _train(records, settings, runs, name, verbose=verbose)

    def augment_preview(
        records: tyro.conf.Positional[Location],
        /,
        settings: Annotated[AugmentConfig, Flat] = augment_base,
        config: Path | None = None,
        out: Path = Path("augment-preview.png"),
        split: SplitName = "train",
        images: int = 4,
        draws: int = 5,
        seed: int = 0,
    ) -> int:
        """Draw a sheet of pictures: each augmentation alone over its range, then images as a training sees them.

        Args:
            records: Record set made by lvseg convert, a folder or a URI.
            settings: See the flags; where none is given, an example is shown.
            config: YAML file with the settings of a training, or a recipe; flags go before it.
            out: Picture to write: .png, .jpg or .webp.
            split: The part whose images are shown.
            images: How many, spread evenly over the part.
            draws: Pictures in a row, beside the unchanged image.
            seed: Of the training; its epochs 0, 1, ... are shown.
        """
        return _augment_preview(records, settings, out, split, images=images, draws=draws, seed=seed)

    def tune(
        records: tyro.conf.Positional[Location],
        /,
        settings: Annotated[TrainConfig, Flat] = train_base,
        sweep: Annotated[TuneConfig, Flat] = TuneConfig(),  # noqa: B008 -- frozen
        space: Path | None = None,
        config: Path | None = None,
        runs: Location = UPath("runs"),  # noqa: B008 -- a value
        name: str | None = None,
        verbose: bool = False,
    ) -> int:
        """Sweep over training settings; the same command with the same name goes on where it stopped.

        Args:
            records: Record set made by lvseg convert, a folder or a URI.
            settings: The settings that do not vary; see the flags.
            sweep: See the flags.
            space: YAML file with the settings that vary; default: learning rate and its decay.
            config: YAML file with the settings that do not vary, or a recipe; flags go before it.
            runs: Folder of runs, on storage that every node sees; a path or a URI.
            name: Name of the sweep; default: model and time.
            verbose: Show Ray's and TensorFlow's own messages.
        """
        return _tune(records, settings, sweep, space, runs, name, verbose=verbose)

    def evaluate(
        run: Annotated[tyro.conf.Positional[Location | None], tyro.conf.arg(metavar="[RUN]")] = None,
        records: Annotated[tyro.conf.Positional[Location | None], tyro.conf.arg(metavar="[RECORDS]")] = None,
        /,
        split: SplitName = "val",
        auto: Location | None = None,
        manual: Location | None = None,
        dicom: Location | None = None,
        threshold: float = 5.0,
        out: Location | None = None,
    ) -> int:
        """Score a run on records, or contour files of any origin: Dice, distances, volumes, ejection fraction.

        Args:
            run: Folder of a finished run; its best weights are scored.
            records: Record set.
            split: The part of the records to score.
            auto: Instead of a run: folder with automatic contours, IM-0001-0048-icontour-auto.txt.
            manual: Folder with the manual contours; default: the one of the images.
            dicom: Folder with the images; patients' folders have the same names, or a link.csv joins them.
            threshold: Average perpendicular distance below which a contour is good, mm; pixels where there is no
                pixel spacing.
            out: Folder for tables, plots and JSON; default: the run's, or the terminal only.
        """
        return _evaluate(run, records, split, (auto, manual, dicom), threshold, out)

    def leaderboard(
        runs: tyro.conf.Positional[Location],
        /,
        view: Annotated[View, Flat] = View(),  # noqa: B008 -- frozen
        format: Format = "table",
        out: Location | None = None,
        watch: bool = False,
        interval: float = 5.0,
        compact: bool = False,
    ) -> int:
        """Rank every finished run below a folder by validation Dice, and every evaluation by its own.

        Args:
            runs: Folder of runs.
            view: See the flags.
            format: Form of the output; html is the page of lvseg report.
            out: File to write to; default: the terminal.
            watch: Follow a running sweep until Ctrl-C.
            interval: Seconds between two looks, with --watch.
            compact: First put the rows of the folder's store into one file, without superseded ones and without those
                of runs whose folders are gone.
        """
        return _leaderboard(runs, view, format, out, interval if watch else None, compact=compact)

    def report(
        runs: tyro.conf.Positional[Location],
        /,
        view: Annotated[View, Flat] = View(),  # noqa: B008 -- frozen
        out: Location = UPath("report.html"),  # noqa: B008 -- a value
    ) -> int:
        """Write one page to send to a colleague: tables, curves, sweeps, pictures, patients, settings, versions.

        Args:
            runs: Folder of runs.
            view: See the flags.
            out: HTML file to write; it needs nothing beside it.
        """
        return _report(runs, view, out)

    def models(shape: str = "256x256", batch_size: int = 4, seconds: float = 3.0, speed: bool = True) -> int:
        """List the models: parameters, operations for one image, and images/s on this machine.

        Args:
            shape: Rows x columns of the images.
            batch_size: Images in a step that is timed.
            seconds: How long training, and again prediction, is timed for each model.
            speed: Measure images/s; --no-speed only counts.
        """
        return _models(shape, batch_size, seconds if speed else None)

    def demo(out: tyro.conf.Positional[Path] = Path("demo"), /) -> int:
        """The main job on made-up hearts: phantom, convert, train, sweep, leaderboard, report page.

        Args:
            out: Folder to write to; a second call goes on where the first stopped.
        """
        from lvseg.demo import run_demo

        return run_demo(out, _console())

    def doctor(
        store: Location | None = None,
        workers: int | None = None,
        train: bool = True,
        timeout_s: float = 120.0,
        verbose: bool = False,
    ) -> int:
        """Look whether a cluster, or this machine, is fit for a long run; what is not gets a line that says the fix.

        With RAY_ADDRESS set that cluster is looked at; from elsewhere: lvseg submit doctor.

        Args:
            store: Folder or URI for records and runs, to be written to from every node.
            workers: Training workers to try; default: one a GPU, or one a node, at least two.
            train: Sum up an array over the workers and train for a step.
            timeout_s: The longest that a check waits, s.
            verbose: Show Ray's and TensorFlow's own messages.
        """
        return _doctor(store, workers, train=train, timeout_s=timeout_s, verbose=verbose)

    def submit(
        verb: tyro.conf.Positional[JobVerb | None] = None,
        /,
        job_id: str | None = None,
        install: Path | None = None,
        detach: bool = False,
        attach: str | None = None,
    ) -> int:
        """Run a verb as a job of a Ray cluster: submit [flags of submit] VERB [arguments and flags of the verb].

        The cluster is the one that RAY_API_SERVER_ADDRESS or RAY_ADDRESS names; default: http://127.0.0.1:8265.
        RAY_AUTH_MODE, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH say which token is sent. The exit status is the job's.

        Args:
            verb: What to run.
            job_id: Name of the job on the cluster; default: verb, name and time.
            install: Requirements file to install there first; default: the nodes have what lvseg needs.
            detach: Do not wait for the job.
            attach: Follow this job, which was submitted before.
        """
        return _submit(verb, job, job_id=job_id, install=install, detach=detach, attach=attach)

    stages = (phantom, check, convert, augment_preview, train, tune, evaluate, leaderboard, report)
    verbs = (*stages, models, demo, doctor, submit)
    return {verb.__name__.replace("_", "-"): verb for verb in verbs}


def _augmentation(config: TrainConfig) -> AugmentConfig:
    return AugmentConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(AugmentConfig)})


def _console() -> Console:
    return Console(highlight=False, emoji=False, markup=False)


def _convert(source: UPath, records: UPath, settings: ConvertConfig, *, overwrite: bool, verbose: bool) -> int:
    from lvseg.distributed.convert import convert, read_findings
    from lvseg.quality import print_summary

    _require_durable("records", records)
    console = _console()
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


def _check(source: UPath, settings: CheckConfig, out: UPath | None, *, verbose: bool) -> int:
    from lvseg.distributed.check import check
    from lvseg.quality import print_summary

    if out is not None:
        _require_durable("out", out)
    console = _console()
    with reporter("check", console) as shown:
        report = check(source, settings.to_convert(), out, progress=shown.update, verbose=verbose)
    print_summary(console, report.findings, report.facts.num_rows, report.skipped)
    if out is not None:
        console.print(f"report: {out / 'quality.html'}", soft_wrap=True)
    return int(settings.strict and report.count("error", "warning") > 0)


def _train(records: UPath, settings: TrainConfig, runs: UPath, name: str | None, *, verbose: bool) -> int:
    from lvseg.records import read_manifest
    from lvseg.run_folder import Run, default_name, open_run

    _require_durable("runs", runs)
    folder = runs / _checked_name(default_name(settings.model) if name is None else name)
    run = Run(folder=folder, config=settings, records=records, manifest=read_manifest(records)).settled()
    run.check_fits()
    console = _console()
    result = open_run(run)
    if result is None:
        with watch_run(folder, settings.epochs, console, logged=verbose):
            train = _train_here if settings.workers == 0 else _train_on_ray
            result = train(run, lambda line: console.print(line, soft_wrap=True), verbose)
    console.print(
        f"{folder}: val Dice {result.val_dice:.4f} (pooled {result.val_dice_pooled:.4f}) at epoch {result.best_epoch} "
        f"of {result.epochs}, {result.seconds:.0f} s, {result.images_per_second:.1f} images/s",
        soft_wrap=True,
    )
    return 0


def _train_on_ray(run: Run, say: Callable[[str], None], verbose: bool) -> RunResult:
    from lvseg.distributed.session import ray_session
    from lvseg.distributed.train import run_training

    with ray_session(run.config.workers, verbose=verbose):
        return run_training(run, say=say)


def _train_here(run: Run, say: Callable[[str], None], verbose: bool) -> RunResult:
    if not verbose:
        import_quietly("tensorflow")
    from lvseg.training.local import train_locally

    return train_locally(run, say)


def _augment_preview(
    records: UPath, settings: AugmentConfig, out: Path, split: SplitName, *, images: int, draws: int, seed: int
) -> int:
    for name, value in (("images", images), ("draws", draws)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if out.suffix.lower() not in PICTURE_SUFFIXES:
        raise ConfigError(f"out must end in {', '.join(PICTURE_SUFFIXES)}, got {out}")
    import_quietly("tensorflow")
    from lvseg.training.preview import EXAMPLE, preview, save

    if not settings.augments():
        settings = EXAMPLE
        flags = (
            f"--{name.replace('_', '-')}" + ("" if value is True else f" {value:g}")
            for name, value in dataclasses.asdict(settings).items()
        )
        _console().print(f"no augmentation was asked for; an example: {' '.join(flags)}", soft_wrap=True)
    save(preview(records, split, settings, images=images, draws=draws, seed=seed), out)
    _console().print(str(out), soft_wrap=True)
    return 0


def _tune(
    records: UPath,
    settings: TrainConfig,
    sweep_settings: TuneConfig,
    space: Path | None,
    runs: UPath,
    name: str | None,
    *,
    verbose: bool,
) -> int:
    from lvseg.run_folder import default_name
    from lvseg.space import read_space

    _require_durable("runs", runs)
    folder = runs / _checked_name(default_name(f"sweep-{settings.model}") if name is None else name)
    dimensions = read_space(space, settings)
    console = _console()

    from lvseg.distributed.session import ray_session
    from lvseg.distributed.tune import Sweep, open_sweep, plan_resources, run_sweep

    sweep = Sweep(folder=folder, base=settings, space=dimensions, tune=sweep_settings, records=records)
    open_sweep(sweep)
    with ray_session(settings.workers, verbose=verbose):
        resources = plan_resources(sweep)
        console.print(f"{sweep.trials} trials, {resources.concurrency} at a time, {resources.cpus} CPU(s) a worker")
        console.print(str(resources.ingest), soft_wrap=True)
        with reporter(folder.name, console, sweep.trials * settings.epochs) as shown:
            results = run_sweep(sweep, resources, sweep_progress(sweep.trials * settings.epochs, shown.update))
    for result in (result for result in results if result.status == "failed"):
        console.print(f"{result.name} failed: {result.error}", soft_wrap=True)
    return _leaderboard(folder, View(), "table", None, None, compact=False)


def _evaluate(
    run: UPath | None,
    records: UPath | None,
    split: SplitName,
    contours: tuple[UPath | None, UPath | None, UPath | None],
    threshold: float,
    out: UPath | None,
) -> int:
    from lvseg.scoring import score_contours, score_run

    auto, manual, dicom = contours
    if not threshold > 0:
        raise ConfigError(f"threshold must be above 0, got {threshold:g}")
    if out is not None:
        _require_durable("out", out)
    if run is not None and records is not None and contours == (None, None, None):
        score_run(run, records, split, threshold, out, _console())
    elif auto is not None and dicom is not None and run is None:
        score_contours(auto, manual or dicom, dicom, threshold, out, _console())
    else:
        raise ConfigError("evaluate takes either RUN RECORDS, or --auto DIR --dicom DIR and perhaps --manual DIR")
    return 0


def _leaderboard(
    runs: UPath, view: View, format: Format, out: UPath | None, interval: float | None, *, compact: bool
) -> int:
    from lvseg.leaderboard import build, render
    from lvseg.leaderboard.gather import compact_store
    from lvseg.leaderboard.watch import watch

    if interval is not None:
        if format != "table" or out is not None:
            raise ConfigError("watch draws a table on the terminal: it goes without --format and --out")
        if not interval > 0:
            raise ConfigError(f"interval must be above 0, got {interval:g}")
        watch(runs, view, _console(), interval)
        return 0
    if compact:
        compact_store(runs)
    text = render(build(runs, view), format)
    if out is None:
        print(text.rstrip("\n"))
        return 0
    try:
        write_text(out, text)
    except OSError as error:
        raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None
    _console().print(str(out), soft_wrap=True)
    return 0


def _models(shape: str, batch_size: int, seconds: float | None) -> int:
    import_quietly("tensorflow")
    from lvseg.models.table import list_models, models_table, parse_shape

    console, sides = _console(), parse_shape(shape)
    with console.status("models") as status:
        costs = list_models(sides, batch_size, seconds, status.update)
    console.print(models_table(costs, sides, batch_size))
    return 0


def _report(runs: UPath, view: View, out: UPath) -> int:
    from lvseg.leaderboard import build
    from lvseg.report import write_report

    _require_durable("out", out)
    _console().print(str(write_report(build(runs, view), out)), soft_wrap=True)
    return 0


def _doctor(store: UPath | None, workers: int | None, *, train: bool, timeout_s: float, verbose: bool) -> int:
    from lvseg.distributed.doctor import diagnose, print_findings
    from lvseg.distributed.session import ray_session

    if store is not None:
        _require_durable("store", store)
    with ray_session(workers or 2, verbose=verbose):
        return int(not print_findings(_console(), diagnose(store, workers, train, timeout_s)))


def _submit(
    verb: JobVerb | None,
    words: tuple[str, ...],
    *,
    job_id: str | None,
    install: Path | None,
    detach: bool,
    attach: str | None,
) -> int:
    if (verb is None) == (attach is None):
        raise ConfigError("submit needs a verb, or --attach and the id of a job")
    if verb is not None:
        _call([verb, *words], act=False)  # wrong use shows before anything is sent
    from lvseg.distributed import submit

    console = _console()
    id = attach or job_id or submit.job_id((str(verb), *words))
    if verb is not None:
        submit.submit(submit.Job(words=(verb, *words), id=id, install=install))
        console.print(f"job {id}; come back with: lvseg submit --attach {id}", soft_wrap=True)
    if detach:
        return 0
    try:
        return submit.follow(id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        goes_on = f"the job goes on; come back with: lvseg submit --attach {id}; end it with: ray job stop {id}"
        console.print(f"\nlvseg: detached; {goes_on}", soft_wrap=True)
        return INTERRUPTED


def _checked_name(name: str) -> str:
    if name == LEDGER_FOLDER:
        raise ConfigError(f"name {name!r} is taken by the store of results; choose another name")
    if not name or name.startswith(".") or any(character in name for character in '/\\:*?"<>|\0'):
        raise ConfigError(f"name must be a plain folder name, got {name!r}")
    return name


def _require_durable(field: str, folder: UPath) -> None:
    """In a submitted job the current folder is Ray's copy, thrown away after the job."""
    if is_local(folder) and not folder.is_absolute() and _JOB_COPY in Path.cwd().as_posix():
        raise ConfigError(
            f"{field} must be an absolute path in a submitted job, on storage that every node sees, got {folder}"
        )


if __name__ == "__main__":
    sys.exit(main())
