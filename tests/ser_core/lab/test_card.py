"""The model card says what a bundle is, heard, can and cannot do."""

from dataclasses import replace

import pytest

from ser_core import Recognizer
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
    assert LIMITS in card
    assert "**Acted speech is not felt emotion**" in card
    assert "the AI Act, Article 5(1)(f)" in card


def test_public_corpora_come_with_their_licences(tiny: Recognizer) -> None:
    corpora = {"ravdess": 959, "emodb": 258, "": 7}
    bundle = replace(tiny.bundle, info={**tiny.bundle.info, "corpora": corpora})
    table = model_card(bundle)
    assert "| ravdess | 959 | CC BY-NC-SA 4.0 |" in table
    assert f"| emodb | 258 | {LICENCES['emodb']} |" in table
    assert "| (unnamed) | 7 | yours to state |" in table
