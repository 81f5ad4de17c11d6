"""What a Raspberry Pi needs to hear emotions; no other file of this project.

    ser export default --to tflite --data recordings.csv     # on a computer with the [train] extra
    pip install ai-edge-litert numpy soundfile soxr          # on the device
    python edge_pi.py default.tflite speech.wav

Works with `--to tflite`; for `--to onnx` put onnxruntime's InferenceSession in place of the
interpreter: the names and shapes of what goes in and out are the same, and
`session.run(["logits"], inputs)[0]` are the logits.
"""

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
from ai_edge_litert.interpreter import Interpreter

SILENCE = 1e-4
"""Half the distance between highest and lowest sample under which nothing is heard (-80 dBFS)."""


def hear(model: Path, recording: Path) -> dict[str, float]:
    """The probability of each emotion in the first seconds of a recording."""
    told = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
    with recording.open("rb") as file:
        signal, rate = soundfile.read(file, dtype="float32", always_2d=True)
    signal = soxr.resample(signal.mean(axis=1), rate, told["sampling_rate"])[: told["samples"]]
    if not len(signal) or np.ptp(signal) / 2 < SILENCE:
        # The network has no answer for nothing: it would name an emotion.
        raise ValueError(f"{recording}: the first {told['window']:g} s are empty or silent")
    # Zeros for what there is none of: a speaker's profile, and how many recordings it stands for.
    inputs = {name: np.zeros(shape, np.float32) for name, shape in told["inputs"].items()}
    for name, values in told.get("home", {}).items():
        inputs[name][:] = values  # calibrated: what recordings are like where it is used
    inputs["waveform"][0, : len(signal)] = signal
    inputs["length"] = np.array([len(signal)], np.int32)
    predict = Interpreter(str(model)).get_signature_runner("predict")
    logits = predict(**inputs)["logits"][0] / told["temperature"]
    if told["bias"]:
        logits = logits + np.array(told["bias"])
    shares = np.exp(logits - logits.max())
    return dict(zip(told["emotions"], (shares / shares.sum()).tolist(), strict=True))


def main(model: Path, recording: Path) -> None:
    try:
        heard = hear(model, recording)
    except (OSError, RuntimeError, ValueError) as e:
        sys.exit(str(e))
    for emotion, share in heard.items():
        print(f"{emotion:10} {share:.2f} {'#' * round(40 * share)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
