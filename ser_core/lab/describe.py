"""All that a describer knows of utterances, as they are and as they might have been recorded."""

import logging
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core.lab import augment
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import voiced
from ser_core.lab.evaluation import speaker_key
from ser_core.lab.presets import Preset
from ser_core.lab.relative import Described

logger = logging.getLogger(__name__)

VARIANTS = 6
"""As it is; another body size; another microphone; a bad line; among others; a clean line."""
BATCH = 32


def describe(
    describer: keras.Model,
    preset: Preset,
    utterances: Sequence[Utterance],
    labels: NDArray[np.int64],
    *,
    variants: int = VARIANTS,
    progress: bool = True,
) -> Described:
    """Run `describer` over the first window of each utterance and of its variants.

    All recordings of a speaker are changed in the same way: references and the utterance that is
    judged come from one voice and one microphone.
    """
    nameless = [utterance for utterance in utterances if not utterance.speaker]
    if nameless:
        logger.warning(
            "%d of %d recordings name no speaker: they have no references, and nothing is learnt "
            "from them of what those tell",
            len(nameless),
            len(utterances),
        )
    described = np.zeros((variants, len(utterances), describer.output_shape[-1]), np.float32)
    waiting: list[tuple[int, int, NDArray[np.float32]]] = []

    def flush() -> None:
        windows = np.zeros((BATCH, preset.samples), np.float32)
        lengths = np.ones((BATCH, 1), np.int32)
        for slot, (_, _, signal) in enumerate(waiting):
            windows[slot, : len(signal)] = signal
            lengths[slot] = len(signal)
        answers: Any = np.asarray(describer.predict_on_batch([windows, lengths]))
        for (variant, row, _), answer in zip(waiting, answers, strict=False):
            described[variant, row] = answer
        waiting.clear()

    for variant, row, changed in varied(utterances, preset, range(variants), progress=progress):
        waiting.append((variant, row, changed[: preset.samples]))
        if len(waiting) == BATCH:
            flush()
    if waiting:
        flush()
    return Described(
        functionals=described,
        labels=labels,
        corpora=[utterance.corpus for utterance in utterances],
        speakers=[speaker_key(utterance) for utterance in utterances],
        neutral=np.array([utterance.emotion in {"neutral", "calm"} for utterance in utterances]),
        nobody={speaker_key(utterance) for utterance in nameless},
    )


def varied(
    utterances: Sequence[Utterance],
    preset: Preset,
    variants: Sequence[int],
    *,
    progress: bool = True,
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Variant, row and signal of each utterance, in all of its `variants`."""
    # Who talks along is the speaker: whatever the split, nobody is heard who should not be.
    earlier: deque[NDArray[np.float32]] = deque(maxlen=3)
    whose = ""
    bar = tqdm(utterances, desc="describing", unit="clip", disable=not progress)
    for row, utterance in enumerate(bar):
        signal = voiced(utterance.path, preset.sampling_rate)
        speaker = speaker_key(utterance)
        if speaker != whose:
            whose = speaker
            earlier.clear()
        for variant in variants:
            yield variant, row, _varied(signal, preset.sampling_rate, variant, speaker, [*earlier])
        earlier.append(signal)


def _varied(
    signal: NDArray[np.float32],
    sampling_rate: int,
    variant: int,
    speaker: str,
    around: Sequence[NDArray[np.float32]],
) -> NDArray[np.float32]:
    rng = np.random.default_rng(zlib.crc32(f"{speaker} {variant}".encode()))
    if variant == 0:
        return signal
    if variant == 1:
        return augment.change_speed(signal, sampling_rate, rng)
    if variant == 4:
        return augment.overlay(signal, around or [signal[::-1]], rng)
    signal = augment.equalise(signal, sampling_rate, rng)
    if variant == 2:
        return augment.add_noise(signal, sampling_rate, rng, snr=(10, 40))
    signal = augment.telephone(signal, sampling_rate, rng)
    if variant == 5:
        return signal  # nothing at all above 3400 Hz, where the bad line has its noise
    return augment.add_noise(signal, sampling_rate, rng, snr=(8, 40))
