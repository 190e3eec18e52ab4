"""The verbs: their arguments, defaults and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lvseg.cli import boards, data, jobs, monitoring, training, tuning
from lvseg.cli import export as exports
from lvseg.cli import predict as prediction
from lvseg.cli.terminal import open_console
from lvseg.config import (
    AugmentConfig,
    CheckConfig,
    ConvertConfig,
    PredictConfig,
    SourceLayout,
    SplitName,
    TrainConfig,
    TuneConfig,
)
from lvseg.leaderboard import Format, View
from lvseg.store import UPath, location

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
ExportFormat = Literal["keras", "savedmodel", "onnx"]
JobVerb = Literal[
    "phantom",
    "check",
    "convert",
    "augment-preview",
    "train",
    "tune",
    "evaluate",
    "export",
    "predict",
    "leaderboard",
    "report",
    "models",
    "demo",
    "doctor",
]
"""What can be submitted to a cluster."""


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
        open_console().print(
            f"{out}: {summary.patients} patients, {summary.images} images, "
            f"{summary.endocardium_contours} endocardium contours",
            soft_wrap=True,
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
        return data.convert(source, records, settings, overwrite=overwrite, verbose=verbose)

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
        return data.check(source, settings, out, verbose=verbose)

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
        return training.train(records, settings, runs, name, verbose=verbose)

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
        return data.augment_preview(records, settings, out, split, images=images, draws=draws, seed=seed)

    def tune(
        records: tyro.conf.Positional[Location],
        /,
        settings: Annotated[TrainConfig, Flat] = train_base,
        sweep: Annotated[TuneConfig, Flat] = TuneConfig(),  # noqa: B008 -- frozen
        space: Path | None = None,
        config: Path | None = None,
        runs: Location = UPath("runs"),  # noqa: B008 -- a value
        name: str | None = None,
        dry_run: bool = False,
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
            dry_run: Only print what would be tried, and what it would cost.
            verbose: Show Ray's and TensorFlow's own messages.
        """
        return tuning.tune(records, settings, sweep, space, runs, name, dry_run=dry_run, verbose=verbose)

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
        return boards.evaluate(run, records, split, (auto, manual, dicom), threshold, out)

    def predict(
        run: tyro.conf.Positional[Location],
        source: tyro.conf.Positional[Location],
        out: tyro.conf.Positional[Location],
        /,
        settings: Annotated[PredictConfig, Flat] = PredictConfig(),  # noqa: B008 -- frozen
        ensemble: tuple[Location, ...] = (),
        records: Location | None = None,
        verbose: bool = False,
    ) -> int:
        """Outline the left ventricle on new studies, whole cines too: masks, contours, volumes, ejection fraction.

        The same command goes on where it was broken off. Exit status 1 where a study has no result, or volumes that
        may mislead since images are missing.

        Args:
            run: Folder of a finished run; its best weights predict.
            source: Folder or URI: any layout that convert reads, any folder of DICOM images, or a record set.
            out: Folder or URI to fill: a folder a study, tables of volumes and images.
            settings: See the flags.
            ensemble: Further runs, as of the other folds; probabilities are averaged.
            records: The runs' record set, should it have moved; its manifest has the preprocessing.
            verbose: Show Ray's and TensorFlow's own messages.
        """
        return prediction.predict((run, *ensemble), source, out, settings, records, verbose=verbose)

    def export(
        run: tyro.conf.Positional[Location],
        /,
        to: tuple[ExportFormat, ...] = ("keras",),
        out: Location | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write a run's best model for other programs, with its preprocessing and a model card.

        Args:
            run: Folder of a finished run.
            to: Formats; onnx needs pip install 'lvseg[onnx]'.
            out: Folder or URI to write to; default: export in the run's folder.
            overwrite: Replace an export that is there.
        """
        return exports.export(run, to, out, overwrite=overwrite)

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
        return boards.leaderboard(runs, view, format, out, interval if watch else None, compact=compact)

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
        return boards.report(runs, view, out)

    def dashboard(
        runs: tyro.conf.Positional[Location],
        /,
        host: str = "127.0.0.1",
        port: int = 8050,
        interval: float = 5.0,
    ) -> int:
        """Show runs in the browser while they train: table, curves, what mattered, pictures; it only reads.

        Args:
            runs: Folder of runs or of a sweep; it need not be there yet.
            host: Address to listen on; another than loopback shows the page to the network.
            port: Port to listen on; 0: any that is free.
            interval: Seconds between two looks into the folder.
        """
        return monitoring.dashboard(runs, host, port, interval)

    def tensorboard(
        runs: tyro.conf.Positional[Location],
        /,
        host: str = "127.0.0.1",
        port: int = 6006,
    ) -> int:
        """Start TensorBoard over runs: curves, pictures, histograms, and the settings of a sweep against its Dice.

        Args:
            runs: Folder of runs or of a sweep.
            host: Address to listen on; another than loopback shows the runs to the network.
            port: Port to listen on.
        """
        return monitoring.tensorboard(runs, host, port)

    def models(shape: str = "256x256", batch_size: int = 4, seconds: float = 3.0, speed: bool = True) -> int:
        """List the models: parameters, operations for one image, and images/s on this machine.

        Args:
            shape: Rows x columns of the images.
            batch_size: Images in a step that is timed.
            seconds: How long training, and again prediction, is timed for each model.
            speed: Measure images/s; --no-speed only counts.
        """
        return boards.models(shape, batch_size, seconds if speed else None)

    def demo(out: tyro.conf.Positional[Path] = Path("demo"), /) -> int:
        """The main job on made-up hearts: phantom, convert, train, sweep, leaderboard, report page.

        Args:
            out: Folder to write to; a second call goes on where the first stopped.
        """
        from lvseg.demo import run_demo

        return run_demo(out, open_console())

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
        return jobs.doctor(store, workers, train=train, timeout_s=timeout_s, verbose=verbose)

    def submit(
        verb: tyro.conf.Positional[JobVerb | None] = None,
        /,
        job_id: str | None = None,
        install: Path | None = None,
        driver_label: str | None = None,
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
            driver_label: Label, key=value, of the nodes that the job's driver may run on, such as
                ray.io/market-type=on-demand; default: the cluster's head.
            detach: Do not wait for the job.
            attach: Follow this job, which was submitted before.
        """
        return jobs.submit(
            verb, job, job_id=job_id, install=install, driver_label=driver_label, detach=detach, attach=attach
        )

    stages = (phantom, check, convert, augment_preview, train, tune, evaluate, predict, export, leaderboard, report)
    verbs = (*stages, dashboard, tensorboard, models, demo, doctor, submit)
    return {verb.__name__.replace("_", "-"): verb for verb in verbs}


def _augmentation(config: TrainConfig) -> AugmentConfig:
    return AugmentConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(AugmentConfig)})
