"""The model card: for whom a model is, what it was trained on, how it scores, where it fails.

After Mitchell et al. 2019, *Model Cards for Model Reporting* (https://arxiv.org/abs/1810.03993).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lvseg.errors import RunError
from lvseg.evaluation import null_for_nan
from lvseg.export.scores import Scores, evaluation_scores, validation_scores
from lvseg.leaderboard.statistics import RESAMPLES
from lvseg.results import RunResult
from lvseg.training.load import LoadedRun
from lvseg.versions import versions

__all__ = ["CARD_JSON", "CARD_MARKDOWN", "ExportedFile", "ModelCard", "make_card", "to_json", "to_markdown"]

CARD_MARKDOWN = "MODEL_CARD.md"
CARD_JSON = "model_card.json"

FEW_PATIENTS = 20
"""With fewer validation patients the card says that they are few."""
NOT_A_DEVICE = "Not a medical device: do not use it for diagnosis or treatment."
CODE_LICENCE = "Apache-2.0"
_ORIGINS = (
    (r"SC-(HF-I|HF-NI|HYP|N)-\d+", "Sunnybrook Cardiac Data", "CC0 1.0, public domain"),
    (r"PH-[A-Z]+-\d+", "hearts made up by lvseg phantom", "none needed, the images are made up"),
)
"""Case ids, the data that they are of, its licence."""
_LABELS = {
    "centre": "a pixel is inside when its centre is inside the manual contour",
    "course": "cv2.fillPoly on truncated contour points, about 6 % larger than the contours",
    "given": "masks as they came, made in a way that lvseg does not know",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """One exported model."""

    format: str
    file: str
    """Name of the file or folder beside the card."""
    reader: str
    """What reads it."""
    sha256: Mapping[str, str]
    """Of every file in it, by path beside the card."""
    largest_difference: float
    """Between its probabilities and the run's own, on made-up images: it was read back and run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What the run was trained on."""

    name: str
    licence: str
    labels: str
    labels_meaning: str
    split: str
    records_sha256: str
    train_images: int
    val_images: int
    val_patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """The content of ``model_card.json``."""

    schema: int = 1
    name: str
    """Of the run."""
    model: str
    parameters: int
    intended_use: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    files: tuple[ExportedFile, ...]
    interface: Mapping[str, Any]
    """The content of ``preprocessing.json``."""
    data: Data
    scores: tuple[Scores, ...]
    """Of the training's own validation, then of the evaluations in the run's folder."""
    limits: tuple[str, ...]
    best_epoch: int | None
    epochs: int
    settings: Mapping[str, Any]
    command: str
    """That trains again; the records by their name alone."""
    trained_at: str
    weights_sha256: str
    weights_were_compared: bool
    """Whether the run's result has their hash."""
    training_versions: Mapping[str, str]
    export_versions: Mapping[str, str]
    code_licence: str = CODE_LICENCE


def make_card(run: LoadedRun, interface: Mapping[str, Any], files: Iterable[ExportedFile]) -> ModelCard:
    """Gather what there is to say.

    Raises:
        RunError: the run has no result.
    """
    result = run.result
    if result is None:
        raise RunError(f"{run.folder}: no result.json there, of which a model card tells")
    scores = (validation_scores(result), *evaluation_scores(run.folder))
    cavity = "left ventricular cavity" + (" and myocardium" if run.origin.structures == "endo+myo" else "")
    return ModelCard(
        name=result.name,
        model=result.model,
        parameters=run.model.count_params(),
        intended_use=(
            f"Research on outlining the {cavity} in short-axis cine MRI of adult hearts.",
            "Reproducing and comparing segmentation methods.",
        ),
        out_of_scope=(
            NOT_A_DEVICE,
            "Images of another kind than those it was trained on: other views, sequences, scanners, ages, congenital "
            "defects. Nothing is known of its errors there.",
        ),
        files=tuple(files),
        interface=interface,
        data=_data(result),
        scores=scores,
        limits=tuple(_limits(run, result, scores)),
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        settings=dict(result.config),
        command=_without_folder(result.command, run.origin.records),
        trained_at=result.finished_at,
        weights_sha256=run.weights_sha256,
        weights_were_compared=result.weights_sha256 is not None,
        training_versions=dict(result.versions),
        export_versions=versions(),
    )


def _data(result: RunResult) -> Data:
    cases = list(result.val_dice_by_case)
    known = [(name, licence) for ids, name, licence in _ORIGINS if all(re.fullmatch(ids, case) for case in cases)]
    name, licence = known[0] if cases and known else ("not known to lvseg", "not known to lvseg: ask the data's owner")
    return Data(
        name=name,
        licence=licence,
        labels=result.labels,
        labels_meaning=_LABELS[result.labels],
        split=result.split,
        records_sha256=result.records_sha256,
        train_images=result.train_images,
        val_images=result.val_images,
        val_patients=len(cases),
    )


def _limits(run: LoadedRun, result: RunResult, scores: Iterable[Scores]) -> Iterable[str]:
    yield "The epoch was chosen by the validation images themselves, so that their score is a little too high."
    if result.split == "image":
        yield (
            "Split by image: training and validation share patients, so that the score on its own validation says "
            "little about a new patient."
        )
    if len(result.val_dice_by_case) < FEW_PATIENTS:
        yield f"Validated on {len(result.val_dice_by_case)} patients: too few to know how it does on a rare heart."
    lowest = [(dice, case) for each in scores for case, dice in each.dice_by_case.items() if dice is not None]
    if lowest:
        dice, case = min(lowest)
        yield f"The lowest patient of all scores here is {case}, mean Dice {dice:.3f}."
    yield "Slices at the base and the apex, where the cavity is small or open, fail first. Look at every outline."
    yield "Every image is taken by itself: neighbouring slices and phases may disagree."
    yield "Papillary muscles count as cavity, as in the manual contours of the 2009 challenge."
    if run.config.model == "fc":
        yield "Fully connected: it knows hearts by their place in the image and fails where they lie elsewhere."
    trained = result.config.get("precision", "float32")
    if trained != "float32":
        yield f"Trained and scored in {trained}, exported in float32: masks may differ in single pixels."
    if result.labels == "course":
        yield "Trained on masks about 6 % larger than the contours: areas and volumes come out too large."


def _without_folder(command: str, records: str) -> str:
    """The command with the record set's name for its path, which is nobody's business."""
    return command.replace(shlex.quote(records), shlex.quote(PurePosixPath(records).name))


def to_json(card: ModelCard) -> str:
    """The content of ``model_card.json``."""
    return json.dumps(null_for_nan(asdict(card)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(card: ModelCard) -> str:
    """The content of ``MODEL_CARD.md``."""
    # Not HTML: what stands in it comes from checked fields, and a page that shows Markdown has to escape by itself.
    environment = Environment(
        loader=PackageLoader("lvseg.export", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": _show_number, "cell": _cell}
    return environment.get_template("card.md.j2").render(card=card, resamples=RESAMPLES)


def _show_number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _cell(value: object) -> str:
    """Text for a table: one line, no bar, no tag."""
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;")
