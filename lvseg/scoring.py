"""The verb ``evaluate``: score a run on records, or contour files of any origin; print tables, write files."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lvseg.config import SplitName
from lvseg.errors import LvsegError
from lvseg.evaluation import evaluate_frames, to_json, write_evaluation
from lvseg.evaluation.terminal import print_evaluation
from lvseg.progress import reporter
from lvseg.quiet import import_keras
from lvseg.sources.contour_trees import ContourTrees, read_contour_trees
from lvseg.store import UPath, write_text

__all__ = ["score_contours", "score_run"]

SHOWN = 5
"""Decisions and left-out files that are printed; the JSON has them all."""


def score_run(
    run: UPath, records: UPath, split: SplitName, threshold: float, out: UPath | None, console: Console
) -> None:
    """Score a run's best weights on a part of a record set and keep the scores in its folder, or in another.

    Raises:
        RunError, RecordsError: see ``lvseg.training.evaluate.evaluate_run``.
        LvsegError: the files cannot be written.
    """
    import_keras()
    from lvseg.training.evaluate import evaluate_run

    try:
        evaluation = evaluate_run(run, records, split, threshold, out)
    except OSError as error:
        raise LvsegError(f"{run if out is None else out}: cannot be written: {error.strerror or error}") from None
    summary = evaluation.summary
    table = Table(title=f"{run.name} on {split}: {summary.images} images, labels {evaluation.labels}")
    table.add_column("case")
    table.add_column("Dice", justify="right")
    for case, dice in sorted(summary.by_case.items()):
        table.add_row(case, f"{dice:.4f}")
    table.add_section()
    table.add_row("mean over images", f"{summary.mean:.4f}")
    table.add_row("pooled", f"{summary.pooled:.4f}")
    console.print(table)
    if evaluation.training_labels != evaluation.labels:
        console.print(
            f"note: trained on labels {evaluation.training_labels}, scored on labels {evaluation.labels}: "
            "not to be compared with scores within one convention",
            soft_wrap=True,
        )
    if summary.worst_image:
        console.print(f"lowest: {summary.worst_image[0]} {summary.worst_image[1]:.4f}")
    if summary.undefined:
        console.print(f"{summary.undefined} images without label and prediction are left out of the mean")
    print_evaluation(evaluation.contours, console)
    written = (run if out is None else out) / f"evaluation-{split}.json"
    console.print(f"scores of every image: {written}, and tables beside it", soft_wrap=True)


def score_contours(
    auto: UPath, manual: UPath, dicom: UPath, threshold: float, out: UPath | None, console: Console
) -> None:
    """Score contour files of any origin against manual ones.

    Args:
        auto: folder with automatic contours.
        manual: folder with manual contours.
        dicom: folder with the images.
        threshold: APD below which a contour is good, mm.
        out: folder for the files; None: the terminal only.
        console: to print on.

    Raises:
        SourceError: see ``read_contour_trees``.
        LvsegError: the files cannot be written.
    """
    with reporter("read contours", console) as shown:
        trees = read_contour_trees(auto, manual, dicom, lambda done, total: shown.update(done, total))
    evaluation = evaluate_frames(trees.frames, threshold, trees.unscored)
    print_evaluation(evaluation, console)
    _print_left_out(trees, console)
    if out is not None:
        try:
            write_evaluation(evaluation, out)
            write_text(out / "evaluation.json", to_json(evaluation))
        except OSError as error:
            raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None
        console.print(f"scores of every image: {out / 'evaluation.json'}, and tables beside it", soft_wrap=True)


def _print_left_out(trees: ContourTrees, console: Console) -> None:
    if trees.without_auto:
        cases = ", ".join(trees.without_auto)
        console.print(f"left out, without a single automatic contour: {cases}", soft_wrap=True)
    for decision in trees.decisions[:SHOWN]:
        console.print(f"{decision.case_id}: {decision.subject}: {decision.decided} ({decision.reason})", soft_wrap=True)
    for skip in trees.skipped[:SHOWN]:
        console.print(f"left out: {skip.file}: {skip.reason}", soft_wrap=True)
    more = len(trees.decisions[SHOWN:]) + len(trees.skipped[SHOWN:])
    if more:
        console.print(f"and {more} more")
