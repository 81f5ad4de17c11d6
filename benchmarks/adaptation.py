"""What it gives to let a long recording say itself what is normal for its speaker.

    python -m benchmarks.adaptation [--data FOLDER] [--model NAME] [--split test]

Utterances of one speaker, in random order and with pauses between them, make recordings of a minute
or so. Each is judged as it is and with `adapt`; a window counts where most of it is one utterance.
Emotions change from one utterance to the next, as they never do in life: the profile is of all of
them, which is what makes it normal.
"""

import argparse
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_core import Recognizer, audio
from ser_core.emotions import to_label_set
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.evaluation import figures, speaker_key

PAUSE = 0.5
"""Seconds between two utterances."""
SECONDS = 60.0
"""A recording ends with the utterance that reaches them."""
MOST = 0.6
"""Share of a window that must be of one utterance."""
PARTS = ((0.0, 10.0), (10.0, 30.0), (30.0, np.inf))


@dataclass(frozen=True)
class Window:
    """One window that counts."""

    corpus: str
    start: float
    label: int
    plain: int
    """What was answered without a profile."""
    adapted: int
    """What was answered by the windows before."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SER_DATA", ".")))
    parser.add_argument("--model", default="default")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recognizer = Recognizer.load(options.model)
    speakers: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in read(options.data).utterances:
        if utterance.split == options.split and utterance.speaker:
            speakers[speaker_key(utterance)].append(utterance)
    rng = np.random.default_rng(options.seed)
    windows = [
        window
        for name in sorted(speakers)
        for window in judge(
            recognizer, [speakers[name][i] for i in rng.permutation(len(speakers[name]))]
        )
    ]
    print(f"{len(speakers)} speakers, {len(windows)} windows, model {recognizer.bundle.name}\n")
    print("| UAR of windows | n | as it is | adapted |\n|---|---|---|---|")
    for corpus in sorted({window.corpus for window in windows}):
        show(recognizer, corpus, [window for window in windows if window.corpus == corpus])
    for first, last in PARTS:
        title = f"{first:g} s to {'the end' if last == np.inf else f'{last:g} s'}"
        show(recognizer, title, [w for w in windows if first <= w.start < last])
    show(recognizer, "all", windows)


def show(recognizer: Recognizer, title: str, windows: list[Window]) -> None:
    labels = np.array([window.label for window in windows])
    uars = [
        figures(recognizer.bundle.emotions, labels, np.array(answers))["uar"]
        for answers in ([w.plain for w in windows], [w.adapted for w in windows])
    ]
    print(f"| {title} | {len(windows)} | {uars[0]:.3f} | {uars[1]:.3f} |", flush=True)


def judge(recognizer: Recognizer, utterances: list[Utterance]) -> list[Window]:
    """Windows of the recordings that one speaker's utterances make."""
    rate, emotions = recognizer.bundle.sampling_rate, recognizer.bundle.emotions
    found: list[Window] = []
    pieces, spans, end = [], [], 0.0
    for number, utterance in enumerate(utterances, 1):
        label = to_label_set(utterance.emotion, emotions)
        if label is not None:
            signal = audio.load(utterance.path, rate)
            spans.append((end, end + len(signal) / rate, emotions.index(label)))
            pieces.append(np.pad(signal, (0, round(PAUSE * rate))))
            end += len(pieces[-1]) / rate
        if pieces and (end >= SECONDS or number == len(utterances)):
            recording = np.concatenate(pieces)
            plain = recognizer.hear(recording, rate)
            adapted = recognizer.hear(recording, rate, adapt=True)
            for row, (start, stop) in enumerate(plain.spans):
                shares = [min(stop, last) - max(start, first) for first, last, _ in spans]
                best = int(np.argmax(shares))
                if plain.judged[row] and shares[best] >= MOST * (stop - start):
                    answers = (int(each.logits[row].argmax()) for each in (plain, adapted))
                    found.append(Window(utterance.corpus, start, spans[best][2], *answers))
            pieces, spans, end = [], [], 0.0
    return found


if __name__ == "__main__":
    main()
