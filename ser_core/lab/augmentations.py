"""Every augmentation of a waveform by name, each with one range that can be set.

`change("pitch:-2..2")` is a function of signal, sampling rate and seed; the same seed gives the
same sound. What audiomentations has is audiomentations' (https://iver56.github.io/audiomentations).
"""

import io
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import audiomentations
import av
import numpy as np
import soxr
from numpy.typing import NDArray

from ser_core import audio

Signal = NDArray[np.float32]
Change = Callable[[Signal, int, int], Signal]
"""Signal `(samples,)`, sampling rate in Hz and seed -> another signal, of another length maybe."""

CODECS = {"mp3": "libmp3lame", "ogg": "libopus", "adts": "aac"}
"""Container -> codec, of those that voices are mostly sent and kept in."""
CODEC_RATE = 24_000
"""Hz that all of them know; no voice has much above 12 kHz."""
TELEPHONE = (300.0, 3400.0)
"""Hz, ITU-T G.712."""
NUMBER = r"-?\d+(?:\.\d+)?"
NOTATION = re.compile(rf"(?P<name>[a-z]+)(:(?P<low>{NUMBER})(\.\.(?P<high>{NUMBER}))?)?")


class AugmentationError(ValueError):
    """No augmentation is called so, or its range cannot be; the message says what can."""


@dataclass(frozen=True)
class Augmentation:
    """A change that leaves the emotion; how strong is drawn evenly from a range."""

    title: str
    """What it does, in a few words."""
    unit: str
    usual: tuple[float, float]
    """The range, unless another is given."""
    bounds: tuple[float, float]
    """Between which a range must lie."""
    apply: Callable[[Signal, int, float], Signal]
    """Signal, sampling rate and the strength that was drawn."""
    step: float = 0.0
    """What strengths are multiples of; 0 for any."""


def change(notation: str) -> Change:
    """The augmentation `NAME`, or `NAME:LOW..HIGH` for a range of its own, or `NAME:VALUE`.

    Raises:
        AugmentationError: there is none of that name, or the range cannot be.
    """
    augmentation, (low, high) = _parse(notation)

    def changed(signal: Signal, sampling_rate: int, seed: int) -> Signal:
        with _drawn_from(seed):
            strength = _draw(augmentation, low, high)
            result = augmentation.apply(signal.astype(np.float32), sampling_rate, strength)
        return np.ascontiguousarray(result, np.float32)

    return changed


def drawn_strength(notation: str, seed: int) -> float:
    """How strongly `change(notation)` changes a signal with that seed, in its unit.

    Raises:
        AugmentationError: there is none of that name, or the range cannot be.
    """
    augmentation, (low, high) = _parse(notation)
    with _drawn_from(seed):
        return _draw(augmentation, low, high)


def _draw(augmentation: Augmentation, low: float, high: float) -> float:
    strength, step = random.uniform(low, high), augmentation.step
    return step * round(strength / step) if step else strength


def parse_list(text: str) -> tuple[str, ...]:
    """Notations with commas between them, each of them checked.

    Raises:
        AugmentationError: one of them is none.
    """
    notations = tuple(part.strip() for part in text.split(",") if part.strip())
    for notation in notations:
        _parse(notation)
    if len(set(notations)) < len(notations):
        raise AugmentationError(f"{text!r} names an augmentation twice")
    return notations


def _parse(notation: str) -> tuple[Augmentation, tuple[float, float]]:
    found = NOTATION.fullmatch(notation)
    if found is None or found["name"] not in AUGMENTATIONS:
        raise AugmentationError(
            f"no augmentation is called {notation!r}; there are {', '.join(AUGMENTATIONS)}, each "
            f"also with a range, as in pitch:-2..2"
        )
    augmentation = AUGMENTATIONS[found["name"]]
    if found["low"] is None:
        return augmentation, augmentation.usual
    low = float(found["low"])
    high = low if found["high"] is None else float(found["high"])
    least, most = augmentation.bounds
    if not least <= low <= high <= most:
        raise AugmentationError(
            f"the range of {notation!r} must rise and lie in {least:g}..{most:g} "
            f"{augmentation.unit}".rstrip()
        )
    return augmentation, (low, high)


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Global generators, which audiomentations draws from, seeded and then as they were."""
    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


def _noise(signal: Signal, sampling_rate: int, snr: float) -> Signal:
    return _run(audiomentations.AddGaussianSNR(snr, snr, p=1.0), signal, sampling_rate)


def _stretch(signal: Signal, sampling_rate: int, rate: float) -> Signal:
    stretch = audiomentations.TimeStretch(rate, rate, leave_length_unchanged=False, p=1.0)
    return _run(stretch, signal, sampling_rate)


def _shift(signal: Signal, sampling_rate: int, fraction: float) -> Signal:
    return _run(
        audiomentations.Shift(fraction, fraction, rollover=True, p=1.0), signal, sampling_rate
    )


def _pitch(signal: Signal, sampling_rate: int, semitones: float) -> Signal:
    return _run(audiomentations.PitchShift(semitones, semitones, p=1.0), signal, sampling_rate)


def _gain(signal: Signal, sampling_rate: int, decibels: float) -> Signal:
    return _run(audiomentations.Gain(decibels, decibels, p=1.0), signal, sampling_rate)


def _telephone(signal: Signal, sampling_rate: int, decibels_an_octave: float) -> Signal:
    low, high = TELEPHONE
    centre, steepness = (low + high) / 2, round(decibels_an_octave)
    width = (high - low) / centre
    band = audiomentations.BandPassFilter(centre, centre, width, width, steepness, steepness, p=1.0)
    return _run(band, signal, sampling_rate)


def _equaliser(signal: Signal, sampling_rate: int, strength: float) -> Signal:
    # Its bands reach to 9.5 kHz, which must lie under half the sampling rate.
    rate = max(sampling_rate, 22_050)
    up = soxr.resample(signal, sampling_rate, rate)
    changed = _run(audiomentations.SevenBandParametricEQ(-strength, strength, p=1.0), up, rate)
    return _as_long_as(signal, soxr.resample(changed, rate, sampling_rate))


def _codec(signal: Signal, sampling_rate: int, kilobits: float) -> Signal:
    container = random.choice(list(CODECS))
    sent = np.clip(soxr.resample(signal, sampling_rate, CODEC_RATE), -1, 1)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(CODECS[container], rate=CODEC_RATE, layout="mono")
        stream.bit_rate = round(1000 * kilobits)
        frame = av.AudioFrame.from_ndarray(sent[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = CODEC_RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return _as_long_as(signal, audio.load(file.getvalue(), sampling_rate))


def _room(signal: Signal, sampling_rate: int, reverberation: float) -> Signal:
    """Polack's model of a room: the direct sound, then noise that decays by 60 dB.

    J.-D. Polack 1988, "La transmission de l'énergie sonore dans les salles"; audiomentations' own
    rooms trace rays, with a package that has to be compiled on some machines.
    """
    count = max(1, round(reverberation * sampling_rate))
    decay = 10 ** (-3 * np.arange(count) / count)
    response = np.random.standard_normal(count) * decay
    # The reverberation is as strong as the direct sound, as at the critical distance.
    response *= 1 / np.sqrt(np.sum(response**2))
    response[0] += 1
    size = 1 << (len(signal) + count).bit_length()
    wet = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)
    return np.asarray(wet[: len(signal)] / np.sqrt(2), np.float32)


def _run(transform: Any, signal: Signal, sampling_rate: int) -> Signal:
    changed: Signal = transform(samples=signal, sample_rate=sampling_rate)
    return changed


def _as_long_as(signal: Signal, changed: Sequence[float] | NDArray[Any]) -> Signal:
    fitted = np.zeros(len(signal), np.float32)
    kept = min(len(signal), len(changed))
    fitted[:kept] = changed[:kept]
    return fitted


AUGMENTATIONS = {
    "noise": Augmentation("white noise", "dB under the voice", (5, 30), (-20, 80), _noise),
    "stretch": Augmentation("another tempo", "times as fast", (0.8, 1.25), (0.5, 2), _stretch),
    "shift": Augmentation("moved in time, round", "of its length", (-0.3, 0.3), (-1, 1), _shift),
    "pitch": Augmentation("another pitch", "semitones", (-3, 3), (-12, 12), _pitch),
    "gain": Augmentation("louder or quieter", "dB", (-12, 12), (-60, 60), _gain),
    "telephone": Augmentation(
        "300 to 3400 Hz remain", "dB an octave outside", (12, 24), (12, 96), _telephone, step=6
    ),
    "codec": Augmentation("sent as MP3, Opus or AAC", "kbit/s", (12, 48), (8, 128), _codec),
    "room": Augmentation("reverberation", "s to decay by 60 dB", (0.2, 0.8), (0.05, 5), _room),
    "eq": Augmentation("another microphone", "dB up or down", (3, 9), (0, 24), _equaliser),
}
"""Every augmentation by name."""
