"""Fitting through JAX: what it draws, learns and leaves is what TensorFlow would."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core.lab import training
from ser_core.lab.sampling import Batches, balanced_probabilities
from tests.ser_core.lab.test_training import TINY, TRAIN, VALID

LONGER = replace(TINY, schedule=replace(TINY.schedule, epochs=20, clips=256, mixstyle=0.5))
ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, sys
from pathlib import Path
import jax
import numpy as np
from ser_core.lab import accelerated, device_batches, training
from ser_core.lab.checkpoint import CheckpointError
from ser_core.lab.sampling import balanced_probabilities
from tests.ser_core.lab.test_accelerated import LONGER, TRAIN, VALID, described
folder = Path(sys.argv[1])
share = balanced_probabilities(TRAIN.corpora, TRAIN.labels, TRAIN.speakers)
data = device_batches.Data.of(TRAIN.features, training.targets_of(LONGER, TRAIN), share)
draws = {}
for finishing in (False, True):
    draw = jax.jit(device_batches.drawing(LONGER, finishing))
    draws[str(finishing)] = described([draw(jax.random.key(n), data) for n in range(180)])
model, history = accelerated.fit(LONGER, TRAIN, VALID, folder / "teacher", progress=False)
wrong = training.Labelled(TRAIN.utterances, TRAIN.features, np.roll(TRAIN.labels, 1))
student, _ = accelerated.fit(
    LONGER, wrong, VALID, folder / "student", seed=1, teachers=[model] * 2, progress=False
)
again, _ = accelerated.fit(
    LONGER, TRAIN, VALID, folder / "teacher", resume=True, progress=False
)
try:
    accelerated.fit(
        LONGER, TRAIN, VALID, folder / "teacher", resume=True, progress=False, init={"name": "x"}
    )
    refused = ""
except CheckpointError as error:
    refused = str(error)
answers = [training.logits(each, LONGER, VALID).tolist() for each in (model, student, again)]
(folder / "told.json").write_text(json.dumps([draws, history, answers, refused]))
"""


def described(batches: list[Any]) -> dict[str, Any]:
    """What many batches have in common, whoever drew them."""
    x, mask, y = (np.concatenate([np.asarray(batch[i]) for batch in batches]) for i in range(3))
    heard = x[mask > 0]
    return {
        "shape": list(x.shape[1:]),
        "heard": float(mask.mean()),
        "classes": y[:, 0].mean(axis=0).tolist(),
        "mean": float(heard.mean()),
        "spread": float(heard.std()),
        "roughness": float(np.abs(np.diff(x, axis=1))[mask[:, 1:] > 0].mean()),
        "padding": float(x[mask == 0].max()) if (mask == 0).any() else -100.0,
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of trainings through JAX, and what they tell."""
    folder = tmp_path_factory.mktemp("accelerated")
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        # Compiling takes longer than what is compiled does here: not much of it, then.
        env=os.environ
        | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
        | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return folder, json.loads((folder / "told.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("finishing", [False, True])
def test_batches_are_drawn_as_on_a_cpu(told: tuple[Path, Any], *, finishing: bool) -> None:
    share = balanced_probabilities(TRAIN.corpora, TRAIN.labels, TRAIN.speakers)
    truth = training.targets_of(LONGER, TRAIN)
    drawn = Batches(TRAIN.features, truth, share, LONGER, seed=0, finishing=finishing)
    batches = [(*x, y) for x, y in (drawn[index] for index in range(180))]
    expected, found = described(batches), told[1][0][str(finishing)]
    assert found["shape"] == expected["shape"]
    np.testing.assert_allclose(found["classes"], expected["classes"], atol=0.05)
    for name in ("mean", "spread", "roughness", "heard"):
        assert found[name] == pytest.approx(expected[name], rel=0.1), name
    assert found["padding"] <= expected["padding"] + 1


def test_it_learns_and_says_how_well(told: tuple[Path, Any]) -> None:
    history = told[1][1]
    assert len(history) == 20
    assert history[-1]["loss"] < history[0]["loss"] / 1.3
    assert max(row["uar"] for row in history) > 0.9
    assert set(history[0]) == {"loss", "uar", "a", "b"}


def test_what_teachers_say_counts_and_not_the_labels(told: tuple[Path, Any]) -> None:
    student = np.array(told[1][2][1])
    assert training.uar(VALID.labels, student.argmax(axis=1)) > 0.8


def test_a_training_that_began_with_another_bundle_is_not_gone_on_with(
    told: tuple[Path, Any],
) -> None:
    assert "holds a training that differs in bundle to begin with" in told[1][3]


def test_a_finished_training_is_not_done_again(told: tuple[Path, Any]) -> None:
    answers = told[1][2]
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-4)


def test_tensorflow_goes_on_where_it_ended(told: tuple[Path, Any]) -> None:
    folder, (_, history, answers, _) = told
    model, known = training.fit(
        LONGER, TRAIN, VALID, folder / "teacher", resume=True, progress=False
    )
    assert known == history
    np.testing.assert_allclose(training.logits(model, LONGER, VALID), answers[0], atol=1e-3)
