"""What is known of utterances before the network that hears relative to speakers is fitted."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ser_core.lab.corpora import Utterance
from ser_core.lab.describe import describe
from ser_core.lab.relative import Described, References
from tests.ser_core.lab.test_presets import SMALL
from tests.sounds import encode, voice


def described(folder: Path, speakers: list[str]) -> Described:
    """Of utterances of these speakers, by a describer that says how loud they are."""
    utterances = []
    for index, speaker in enumerate(speakers):
        path = folder / f"{index}.wav"
        path.write_bytes(encode(voice(0.5, seed=index)))
        utterances.append(Utterance(path, "sad", speaker, corpus="x"))

    def loudness(inputs: Any) -> Any:
        return np.abs(inputs[0]).mean(axis=1, keepdims=True)

    describer: Any = SimpleNamespace(output_shape=(None, 1), predict_on_batch=loudness)
    labels = np.zeros(len(speakers), np.int64)
    return describe(describer, SMALL, utterances, labels, variants=1, progress=False)


def test_those_who_are_named_have_references_and_a_warning_counts_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = described(tmp_path, ["a", "a", "", "", ""])
    references = References(data, 0)
    assert [references.profile(row, 10)[1] for row in range(5)] == [1, 1, 0, 0, 0]
    (message,) = caplog.messages
    assert message.startswith("3 of 5 recordings name no speaker: they have no references")


def test_where_all_are_named_there_is_nothing_to_warn_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not described(tmp_path, ["a", "b"]).nobody
    assert not caplog.messages
