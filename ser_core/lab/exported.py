"""Exported files judged as their users meet them: recordings in, answers beside Keras's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ser_core.bundle import Bundle
from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import Outcome, hear_all, scores
from ser_core.lab.export_int8 import Parts
from ser_core.recognizer import Recognizer
from ser_core.runtime import Pool, Runtime

Floats = NDArray[np.float32]
Lengths = NDArray[np.int32]


class OnnxRuntime:
    """An ONNX file in onnxruntime."""

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._absent = {
            each.name: np.zeros(each.shape, np.float32) for each in self._session.get_inputs()[2:]
        }

    def logits(self, windows: Floats, lengths: Lengths) -> Floats:
        answers = [
            self._run(waveform=window[None], length=length[None], **self._absent)["logits"]
            for window, length in zip(windows, lengths, strict=True)
        ]
        return np.concatenate(answers)

    def relative(
        self, window: Floats, length: Lengths, profile: Floats, count: Floats
    ) -> tuple[Floats, Floats]:
        answer = self._run(waveform=window, length=length, profile=profile, count=count)
        return answer["logits"], answer["functionals"]

    def _run(self, **values: Floats | Lengths) -> dict[str, Any]:
        return dict(zip(self._outputs, self._session.run(None, values), strict=True))


class Int8Runtime:
    """An int8 file behind a Keras front end, which stands in for the device's."""

    def __init__(self, path: Path, parts: Parts) -> None:
        self._parts = parts
        # The runner keeps only a weak hold on its interpreter.
        self._interpreter = Interpreter(str(path))
        self._predict = self._interpreter.get_signature_runner("predict")
        self.scales = scales(self._predict)

    def logits(self, windows: Floats, lengths: Lengths) -> Floats:
        heard = self._parts.features((windows, lengths[:, None]))
        answers = []
        for row in range(len(windows)):
            inputs = {
                name: quantised(x[row : row + 1], *self.scales[name])
                for name, x in zip(("features", "mask"), heard, strict=False)
                if name in self.scales
            }
            scale, zero = self.scales["logits"]
            answers.append((self._predict(**inputs)["logits"].astype(np.float32) - zero) * scale)
        return np.concatenate(answers).astype(np.float32)

    def relative(
        self, window: Floats, length: Lengths, profile: Floats, count: Floats
    ) -> tuple[Floats, Floats]:
        raise NotImplementedError("an int8 file takes no profile")


def scales(runner: Any) -> dict[str, tuple[float, int]]:
    """Scale and zero point of what goes in and out: a number is `(integer - zero) * scale`."""
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {
        name: (float(each["quantization"][0]), int(each["quantization"][1]))
        for name, each in details.items()
    }


def quantised(x: Floats, scale: float, zero: int) -> NDArray[np.int8]:
    """As int8, which cuts off what is out of its range."""
    rounded: NDArray[np.int8] = np.clip(np.rint(x / scale + zero), -128, 127).astype(np.int8)
    return rounded


class _One(Pool):
    """A pool of one runtime that is there already."""

    def __init__(self, runtime: Runtime) -> None:
        self._fill([runtime])


@dataclass(frozen=True)
class Comparison:
    """What an exported file and Keras say of the same recordings."""

    n: int
    uar: float
    keras_uar: float
    same: int
    """How many recordings get the same emotion from both."""
    difference: float
    """Largest difference of a probability."""

    @property
    def figures(self) -> Mapping[str, Any]:
        """As JSON has it."""
        return {
            "recordings": self.n,
            "uar": round(self.uar, 4),
            "keras_uar": round(self.keras_uar, 4),
            "same_emotion": self.same,
            "largest_difference": float(f"{self.difference:.3g}"),
        }


def listen(
    bundle: Bundle, runtime: Runtime, utterances: Sequence[Utterance], profiles: bool = True
) -> Outcome:
    """What `runtime` hears in recordings, without references; `profiles`: it knows of them."""
    if not profiles:
        bundle = bundle.without("profile", "home")
    return hear_all(Recognizer(bundle, _One(runtime)), utterances)


def compare(bundle: Bundle, keras: Outcome, exported: Outcome) -> Comparison:
    """Both outcomes side by side; they are of the same recordings."""
    probabilities = [
        outcome.probabilities(bundle.temperature, bundle.bias) for outcome in (keras, exported)
    ]
    answers = [each.argmax(axis=1) for each in probabilities]
    uars = [
        scores(outcome, bundle.temperature, bundle.bias)["uar"] for outcome in (keras, exported)
    ]
    return Comparison(
        n=len(keras.labels),
        uar=uars[1],
        keras_uar=uars[0],
        same=int((answers[0] == answers[1]).sum()),
        difference=float(np.abs(probabilities[0] - probabilities[1]).max()),
    )
