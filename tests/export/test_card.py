"""What a model card says, and what it keeps to itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from lvseg.config import TrainConfig
from lvseg.export.card import ModelCard, make_card, to_json, to_markdown
from lvseg.export.description import describe
from lvseg.training.evaluate import evaluate_run
from lvseg.training.load import load_model
from tests.export.finished import make_run

FC = TrainConfig(model="fc", precision="bfloat16")


def card_of(run: Path) -> ModelCard:
    loaded = load_model(run, precision="float32")
    assert loaded.origin.preprocessing is not None
    return make_card(loaded, describe(loaded, loaded.origin.preprocessing), [])


def make(root: Path, **facts: Any) -> ModelCard:
    return card_of(make_run(root, FC, size=16, **facts).folder)


def test_scores_have_intervals_and_every_patient(tmp_path: Path) -> None:
    card = make(tmp_path, cases={"A": 0.9, "B": 0.5, "C": 0.7})
    (scores,) = card.scores
    assert list(scores.dice_by_case) == ["B", "C", "A"]
    assert scores.dice_interval is not None
    assert 0.5 <= scores.dice_interval.low < 0.7 < scores.dice_interval.high <= 0.9
    text = to_markdown(card)
    assert "| B | 0.5000 |\n| C | 0.7000 |\n| A | 0.9000 |\n" in text
    assert f"{scores.dice_interval.low:.3f} to {scores.dice_interval.high:.3f}" in text
    assert "The lowest patient of all scores here is B, mean Dice 0.500." in text


def test_evaluations_in_the_run_s_folder_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, FC, size=16)
    evaluate_run(run.folder, run.records, "train")
    (run.folder / "evaluation-val.json").write_text("{}")  # damaged: said in the log, left out
    card = card_of(run.folder)
    assert [scores.what for scores in card.scores[1:]] == ["part train, evaluated"]
    assert card.scores[1].contours[0].unit == "px"
    assert "| part train, evaluated | endocardium, good: APD < 5.0 px |" in to_markdown(card)


def test_facts_and_hashes(tmp_path: Path) -> None:
    run = make_run(tmp_path, FC, size=16)
    card = card_of(run.folder)
    text, content = to_markdown(card), json.loads(to_json(card))
    assert "**Not a medical device: do not use it for diagnosis or treatment.**" in text
    assert content["data"]["records_sha256"] == run.manifest.records_sha256
    assert run.manifest.records_sha256 in text
    assert content["weights_sha256"] == load_model(run.folder).weights_sha256
    assert content["weights_sha256"] in text
    assert "Split by image: training and validation share patients" in text
    assert "Trained and scored in bfloat16, exported in float32" in text
    assert "it knows hearts by their place" in text
    assert content["settings"]["model"] == "fc"


def test_no_path_of_this_machine_gets_out(tmp_path: Path) -> None:
    card = make(tmp_path)
    assert card.command.startswith("lvseg train records --model fc ")
    assert str(tmp_path) not in to_markdown(card) + to_json(card)


@pytest.mark.parametrize(
    ("cases", "licence"),
    [
        ({"SC-HF-I-4": 0.9, "SC-N-40": 0.8}, "CC0 1.0, public domain"),
        ({"PH-N-4": 0.9}, "none needed, the images are made up"),
        ({"SC-HF-I-4": 0.9, "P-1": 0.8}, "not known to lvseg: ask the data's owner"),
    ],
)
def test_the_data_s_licence_is_told_where_it_is_known(tmp_path: Path, cases: dict[str, float], licence: str) -> None:
    card = make(tmp_path, cases=cases)
    assert card.data.licence == licence
    assert f"Data: {licence}." in to_markdown(card)


def test_text_from_files_stays_in_its_cell(tmp_path: Path) -> None:
    text = to_markdown(make(tmp_path, cases={"A|<script>\nB": 0.9}))
    assert "| A\\|&lt;script> B | 0.9000 |" in text
