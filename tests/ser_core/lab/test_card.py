"""The model card says what a bundle is, heard, can and cannot do."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ser_core import Recognizer
from ser_core.bundle import Bundle
from ser_core.lab.card import LICENCES, LIMITS, model_card


@pytest.fixture(scope="module")
def card(tiny: Recognizer) -> str:
    return model_card(tiny.bundle)


def test_the_card_of_a_bundle_is_the_one_written_beside_it(tiny: Recognizer, card: str) -> None:
    assert tiny.bundle.card == card


def test_the_card_names_model_data_and_terms(tiny: Recognizer, card: str) -> None:
    assert card.startswith("# tiny 1.0.0\n\nHears angry, disgust, fear, happy, neutral, sad,")
    assert f"{tiny.bundle.info['parameters']:,} parameters" in card
    assert "| a | 18 | yours to state |\n| b | 12 | yours to state |" in card
    assert "5 speakers, listed in `bundle.json`." in card
    assert f"Made by `{tiny.bundle.info['command']}` with seed 0." in card


def test_a_note_on_the_data_stands_before_the_figures(tiny: Recognizer) -> None:
    info = {**tiny.bundle.info, "note": "Its levels are lost."}
    text = model_card(replace(tiny.bundle, info=info))
    assert text.index("Its levels are lost.") < text.index("## Validation speakers")


def test_the_figures_are_those_of_the_bundle(tiny: Recognizer, card: str) -> None:
    for title, split in (("Validation speakers", "valid"), ("Test speakers", "test")):
        figures = tiny.bundle.info["metrics"][split]
        section = card.partition(f"## {title}\n")[2].partition("\n## ")[0]
        assert f"| all | {figures['n']} | {figures['accuracy']:.3f} | {figures['uar']:.3f} |" in (
            section
        )
        assert f"Expected calibration error {figures['ece']:.3f}." in section
        assert f"{figures['coverage']:.0%} of the answers are not called uncertain" in section


def test_the_card_says_what_the_model_cannot_do_and_must_not(card: str) -> None:
    assert card.endswith(LIMITS)
    assert "the AI Act, Article 5(1)(f)" in card


def told(tiny: Recognizer, **changes: Any) -> str:
    """What the card of a changed bundle says, on one line."""
    text = model_card(replace(tiny.bundle, info={**tiny.bundle.info, **changes}))
    return re.sub(r"\s+", " ", text)


ACTORS = "on actors who were asked to sound an emotion"


@pytest.mark.parametrize(
    ("corpora", "inherited", "says"),
    [
        (["ravdess", "emodb"], None, f"It was trained {ACTORS}. **Acted speech is"),
        (["urdu", "turev"], None, f"It was trained, in part, {ACTORS} (turev). **Acted speech is"),
        (["mine"], ["nemo"], f"It was trained, in part, {ACTORS} (nemo). **Acted speech is"),
        (["mine", ""], None, "How its recordings came about, acted or felt, decides what it"),
    ],
)
def test_only_what_learnt_of_actors_is_said_to_have(
    tiny: Recognizer, corpora: list[str], inherited: list[str] | None, says: str
) -> None:
    init = {"name": "x", "version": "1", "corpora": dict.fromkeys(inherited or (), 5)}
    card = told(tiny, corpora=dict.fromkeys(corpora, 7), init=init if inherited else None)
    assert says in card
    assert (ACTORS in card) == ("actors" in says)
    assert "not what a person feels" in card


@pytest.mark.parametrize(
    ("speakers", "corpora", "says"),
    [
        ("speakers never heard", ["a"], "for speakers never heard but of the same corpora."),
        ("speakers never heard", ["a", "c"], "for speakers never heard."),
        ("speakers not all named, perhaps heard before", ["a"], "or may have been: that flatters"),
        ("1 of 2 speakers heard in training", ["a"], "or may have been: that flatters it."),
    ],
)
def test_figures_are_of_speakers_never_heard_only_where_that_is_known(
    tiny: Recognizer, speakers: str, corpora: list[str], says: str
) -> None:
    figures = tiny.bundle.info["metrics"]["test"]
    row = figures["corpora"]["b"]
    figures = {**figures, "protocol": speakers, "corpora": dict.fromkeys(corpora, row)}
    metrics = {"valid": tiny.bundle.info["metrics"]["valid"], "test": figures}
    limits = told(tiny, metrics=metrics).partition("What it cannot do")[2]
    assert says in limits
    assert ("speakers never heard" in limits) == ("never heard" in says)


def test_figures_by_sex_are_shown_where_the_bundle_has_them(tiny: Recognizer, card: str) -> None:
    assert "| sex |" not in card
    figures = tiny.bundle.info["metrics"]["test"]
    sexes = {"female": {"n": 4, "accuracy": 0.75, "uar": 0.625}}
    text = told(tiny, metrics={"test": {**figures, "sexes": sexes}})
    assert "| sex | n | accuracy | UAR | |---|---|---|---| | female | 4 | 0.750 | 0.625 |" in text


def test_the_card_says_what_counts_as_the_nearest_emotion(tiny: Recognizer, card: str) -> None:
    says = "The label calm counts as neutral, in training as in figures."
    assert says in card
    knowing = replace(tiny.bundle, emotions=("calm", "neutral"))
    assert says not in model_card(knowing)


@pytest.mark.parametrize("name", ["default", "open", "ravdess8"])
def test_the_cards_of_the_shipped_bundles_are_what_their_figures_say(name: str) -> None:
    bundle = Bundle.load(Path(__file__).parents[3] / "models" / name)
    assert bundle.card == model_card(bundle)


def test_public_corpora_come_with_their_licences(tiny: Recognizer) -> None:
    corpora = {"ravdess": 959, "emodb": 258, "": 7}
    bundle = replace(tiny.bundle, info={**tiny.bundle.info, "corpora": corpora})
    table = model_card(bundle)
    assert "| ravdess | 959 | CC BY-NC-SA 4.0 |" in table
    assert f"| emodb | 258 | {LICENCES['emodb']} |" in table
    assert "| (unnamed) | 7 | yours to state |" in table
