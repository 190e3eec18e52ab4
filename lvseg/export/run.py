"""What ``lvseg export`` does: load a run, write its model, read the files back and compare, tell what they are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from lvseg.config import PreprocessConfig
from lvseg.errors import LvsegError, RunError
from lvseg.export.card import CARD_JSON, CARD_MARKDOWN, ExportedFile, ModelCard, make_card, to_json, to_markdown
from lvseg.export.description import describe
from lvseg.export.formats import FORMATS, ExportFormat, require_packages
from lvseg.export.graph import crops_in_graph, run_probabilities, serving_model
from lvseg.store import UPath, copy_file, file_sha256, is_local, list_folder, remove_file, remove_tree
from lvseg.training.load import LoadedRun, load_model

__all__ = ["PREPROCESSING", "TOLERANCE", "export_run"]

PREPROCESSING = "preprocessing.json"
TOLERANCE = 1e-4
"""Largest difference of a probability that passes: float32 sums in another order, over some ten layers."""
_OURS = (*(writer.file for writer in FORMATS.values()), PREPROCESSING, CARD_MARKDOWN, CARD_JSON)


def export_run(run: UPath, formats: Sequence[ExportFormat], out: UPath, *, overwrite: bool = False) -> ModelCard:
    """Write a run's best model for other programs, each file compared with the run's own predictions.

    Beside the models lie ``preprocessing.json``, ``MODEL_CARD.md`` and, last, ``model_card.json``.

    Args:
        run: Folder of a finished run.
        formats: What to write.
        out: Folder that is not there yet, or empty; one on an object store is filled at the end.
        overwrite: Replace an export that is there.

    Raises:
        ConfigError: a format whose packages are not installed.
        RunError: no finished run there, damaged weights, or other files in ``out``.
        LvsegError: a file predicts something else than the run, or cannot be written.
    """
    wanted = list(dict.fromkeys(formats))
    for format in wanted:
        require_packages(format)
    _require_room(out, overwrite)
    loaded = load_model(run, precision="float32")
    preprocessing = loaded.origin.preprocessing or PreprocessConfig()
    with tempfile.TemporaryDirectory(prefix="lvseg-export-") as aside:
        folder = Path(aside)
        interface = describe(loaded, preprocessing)
        card = make_card(loaded, interface, _write_models(loaded, preprocessing, wanted, folder))
        (folder / PREPROCESSING).write_text(json.dumps(interface, indent=2) + "\n", encoding="utf-8")
        (folder / CARD_MARKDOWN).write_text(to_markdown(card), encoding="utf-8")
        (folder / CARD_JSON).write_text(to_json(card), encoding="utf-8")
        with _said_in_one_line(out):
            _publish(folder, out)
    return card


def _require_room(out: UPath, overwrite: bool) -> None:
    with _said_in_one_line(out):
        there = set(list_folder(out))
    if foreign := sorted(there - set(_OURS)):
        raise RunError(f"{out}: holds {foreign[0]}, which is no part of an export; choose another folder")
    if there and not overwrite:
        raise RunError(f"{out}: holds an export; choose another folder, or --overwrite")


def _write_models(
    run: LoadedRun, preprocessing: PreprocessConfig, formats: Sequence[ExportFormat], folder: Path
) -> list[ExportedFile]:
    model = serving_model(run, preprocessing)
    images = _sample_images(run.shape, any_size=crops_in_graph(preprocessing))
    expected = [run_probabilities(run, preprocessing, batch) for batch in images]
    return [_write_model(run, model, format, folder, images, expected) for format in formats]


def _write_model(
    run: LoadedRun,
    model: keras.Model,
    format: ExportFormat,
    folder: Path,
    images: Sequence[NDArray[np.float32]],
    expected: Sequence[NDArray[np.float32]],
) -> ExportedFile:
    writer = FORMATS[format]
    path = folder / writer.file
    facts = {"run": run.folder.name, "weights_sha256": run.weights_sha256, "notice": "Not a medical device."}
    writer.write(model, path, facts)
    predict = writer.load(path)
    pairs = zip(images, expected, strict=True)
    difference = max(float(np.abs(predict(batch[..., None]) - own).max()) for batch, own in pairs)
    if not difference <= TOLERANCE:  # NaN does not pass either
        raise LvsegError(
            f"{writer.file}: probabilities differ from the run's own by {difference:.1e}, "
            f"expected at most {TOLERANCE:g}"
        )
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return ExportedFile(
        format=format,
        file=writer.file,
        reader=writer.reader,
        sha256={each.relative_to(folder).as_posix(): file_sha256(each) for each in files},
        largest_difference=difference,
    )


def _sample_images(shape: tuple[int, int], *, any_size: bool) -> list[NDArray[np.float32]]:
    """Batches of one, and of three: noise with a bright disc; an image without contrast is among them."""
    random = np.random.default_rng(0)
    sizes = [shape, (shape[0] + 7, shape[1] - 5)] if any_size else [shape]
    batches = []
    for size in sizes:
        rows, columns = np.mgrid[: size[0], : size[1]]
        disc = np.hypot(rows - size[0] / 2, columns - size[1] / 2) < min(size) / 6
        images = np.round(random.normal(100, 20, (3, *size)) + 200 * disc).clip(0).astype(np.float32)
        images[2] = 7
        batches += [images[:1], images]
    return batches


@contextmanager
def _said_in_one_line(out: UPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None


def _publish(folder: Path, out: UPath) -> None:
    """Copy everything, the card's JSON last: its presence says that the export is whole."""
    remove_file(out / CARD_JSON)
    for name, is_folder in list_folder(out).items():
        remove_tree(out / name) if is_folder else remove_file(out / name)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD_JSON)
    for path in [*files, folder / CARD_JSON]:
        target = out.joinpath(*path.relative_to(folder).parts)
        if is_local(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(path, target)
