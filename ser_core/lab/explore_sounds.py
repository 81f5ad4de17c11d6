"""What emotions look and sound like: the part of `ser explore` that decodes recordings."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import librosa
import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ser_core import audio
from ser_core.audio import SAMPLING_RATE, AudioError
from ser_core.lab import plots
from ser_core.lab import report_page as html
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import voiced

logger = logging.getLogger(__name__)

Signal = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

N_FFT, HOP = 1024, 256
"""64 ms frames every 16 ms at 16 kHz."""
LONGEST = 4.0
"""Seconds of a clip that are drawn and played."""
CLIPS = 25
"""Recordings of each emotion and sex that an average spectrum is of."""
SPLIT_HERTZ = 2000.0
"""Where the band energy ratio divides low from high."""
RANGE = 70.0
"""dB that pictures show."""
PICTURES = (3.6, 1.6)
"""Inches of one panel."""

TERMS = (
    ("waveform", "the pressure of the air over time; the line around it is the amplitude envelope, "
     "the largest value of each frame"),
    ("spectrogram", "how strong each frequency is at each moment, bright is strong; the stripes "
     "are the harmonics of the voice"),
    ("log-mel", "the same in bands as wide as the ear tells apart: what the networks here see"),
    ("MFCC", "the shape of a log-mel in a few numbers a moment, the coarsest at the bottom"),
    ("chroma", "the strength of the twelve notes, octaves put together"),
    ("constant-Q", "frequencies spaced as notes on a piano, so that a rising voice is a straight "
     "line"),
    ("ZCR", "zero-crossing rate: how often the wave changes its sign; high in s and f"),
    ("RMS", "root mean square, the loudness of each frame"),
    ("centroid", "the mean frequency of the spectrum: bright or dull"),
    ("flux", "how much the spectrum changes from frame to frame"),
    ("BER", f"band energy ratio: dB by which what lies under {SPLIT_HERTZ:g} Hz is stronger than "
     "what lies above; falls when a voice gets tense"),
)  # fmt: skip


def sections(utterances: Sequence[Utterance], emotions: Sequence[str]) -> Iterator[str]:
    """Clips of each emotion with their features, average spectra, and augmentations."""
    examples = choose_examples(utterances, emotions)
    if examples:
        yield _gallery(examples)
    yield from _spectra(utterances, emotions)
    if examples:
        yield _augmentations(*next(iter(examples.values())))


def choose_examples(
    utterances: Sequence[Utterance], emotions: Sequence[str]
) -> dict[str, tuple[Utterance, Signal]]:
    """One readable clip of each emotion: by one speaker, of one sentence, as far as that goes.

    What then differs between them is the emotion and not the voice or the words.
    """
    by_voice: dict[tuple[str, str, str], dict[str, Utterance]] = defaultdict(dict)
    for u in utterances:
        by_voice[u.corpus, u.speaker, u.sentence].setdefault(u.emotion, u)
    best = max(by_voice.values(), key=len)
    voice = next(iter(best.values()))
    of_speaker = [u for u in utterances if (u.corpus, u.speaker) == (voice.corpus, voice.speaker)]
    chosen: dict[str, tuple[Utterance, Signal]] = {}
    for emotion in emotions:
        candidates = [best[emotion]] if emotion in best else []
        for pool in (of_speaker, utterances):
            candidates += [u for u in pool if u.emotion == emotion][:3]
        for utterance in candidates:
            signal = _clip(utterance)
            if signal is not None:
                chosen[emotion] = utterance, signal
                break
    return chosen


def _clip(utterance: Utterance) -> Signal | None:
    try:
        signal = voiced(utterance.path, SAMPLING_RATE)[: round(LONGEST * SAMPLING_RATE)]
    except (AudioError, OSError) as e:
        logger.warning("%s is not shown: %s", utterance.path, e)
        return None
    return signal if len(signal) > 2 * N_FFT else None


def _gallery(examples: dict[str, tuple[Utterance, Signal]]) -> str:
    longest = max(len(signal) for _, signal in examples.values()) / SAMPLING_RATE
    measured = {emotion: measure(signal) for emotion, (_, signal) in examples.items()}
    tops = {
        name: max(float(np.nanmax(values[name])) for values in measured.values()) * 1.05
        for name in ("ZCR", "centroid", "flux")
    }
    cards = []
    for emotion, (utterance, signal) in examples.items():
        peak = float(np.abs(signal).max())
        name = f"{utterance.corpus} {utterance.speaker} {utterance.path.stem}".strip()
        cards.append(
            f"<h3>{html.dot(emotion)}</h3><code>{html.escape(name)}</code>"
            + html.sound(signal / peak * 0.8, SAMPLING_RATE, f"{emotion}: {name}")
            + html.figure(_panels(emotion, signal, measured[emotion], longest, tops))
        )
    voices = {(u.corpus, u.speaker) for u, _ in examples.values()}
    told = (
        "All by one speaker" + (" with the same words" if _same_words(examples) else "")
        if len(voices) == 1
        else "By different speakers where one has not acted them all"
    )
    terms = "".join(f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in TERMS)
    return html.section(
        "What each emotion looks like",
        f"One clip of each. {told}; all axes are the same, so that they can be compared. Clips are "
        "brought to one level to be played.",
        f'<dl class="terms">{terms}</dl>',
        *cards,
        '<p class="note">Recordings keep their publishers\' terms; mind them before you pass this '
        "page on.</p>",
    )


def _same_words(examples: dict[str, tuple[Utterance, Signal]]) -> bool:
    sentences = {u.sentence for u, _ in examples.values()}
    return len(sentences) == 1 and "" not in sentences


def measure(signal: Signal) -> dict[str, Floats]:
    """What changes over time in a signal `(samples,)`, a number a frame of 16 ms; see `TERMS`."""
    magnitude = np.abs(librosa.stft(signal, n_fft=N_FFT, hop_length=HOP))
    power = magnitude**2
    hertz = librosa.fft_frequencies(sr=SAMPLING_RATE, n_fft=N_FFT)
    low, high = (power[side].sum(axis=0) for side in (hertz < SPLIT_HERTZ, hertz >= SPLIT_HERTZ))
    shares = magnitude / (magnitude.sum(axis=0, keepdims=True) + 1e-9)
    frames = librosa.util.frame(np.pad(signal, (0, HOP)), frame_length=HOP, hop_length=HOP)
    rms = librosa.feature.rms(y=signal, frame_length=N_FFT, hop_length=HOP)[0]
    # Where nobody speaks, the spectrum is the room's.
    quiet = rms < 0.02 * rms.max()
    return {
        "magnitude": magnitude,
        "envelope": np.abs(frames).max(axis=0),
        "ZCR": librosa.feature.zero_crossing_rate(signal, frame_length=N_FFT, hop_length=HOP)[0],
        "RMS": rms,
        "centroid": np.where(
            quiet, np.nan, librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLING_RATE)[0]
        ),
        "flux": np.append(0.0, np.abs(np.diff(shares, axis=1)).sum(axis=0)),
        "BER": np.where(quiet, np.nan, 10 * np.log10((low + 1e-9) / (high + 1e-9))),
    }


def _panels(
    emotion: str,
    signal: Signal,
    measured: dict[str, Floats],
    longest: float,
    tops: dict[str, float],
) -> str:
    width, height = PICTURES
    figure, axes = plots.figure_of(3 * width, 4 * height, 4, 3, sharex=True)
    seconds = np.arange(len(signal)) / SAMPLING_RATE
    times = np.arange(measured["magnitude"].shape[1]) * HOP / SAMPLING_RATE
    fill = plots.colour(emotion)
    level = float(np.abs(signal).max())
    first = axes[0, 0]
    first.plot(seconds[::4], signal[::4] / level, color=fill, linewidth=0.5)
    moments = np.arange(len(measured["envelope"])) * HOP / SAMPLING_RATE
    for sign in (1, -1):
        first.plot(moments, sign * measured["envelope"] / level, color=plots.INK, linewidth=0.8)
    first.set(title="waveform and amplitude envelope", ylim=(-1.1, 1.1))
    end = float(times[-1])
    for place, (title, values, low, high, label) in zip(
        axes.flat[1:6], _pictures(signal, measured["magnitude"]), strict=True
    ):
        place.imshow(
            values,
            origin="lower",
            aspect="auto",
            extent=(0, end, low, high),
            interpolation="none",
        )
        place.set(title=title, ylabel=label)
        place.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    lines = (
        ("zero-crossing rate (ZCR)", "ZCR", "share", 1.0),
        ("spectral centroid", "centroid", "kHz", 1000.0),
        ("spectral flux", "flux", "", 1.0),
    )
    for place, (title, name, unit, divisor) in zip(axes.flat[6:9], lines, strict=True):
        values = measured[name] / divisor
        place.plot(times[: len(values)], values[: len(times)], color=fill)
        place.set(title=title, ylabel=unit, ylim=(0, tops[name] / divisor))
        place.grid()
    levels = (
        (f"band energy ratio at {SPLIT_HERTZ / 1000:g} kHz (BER)", measured["BER"], (-30, 50)),
        ("loudness (RMS), dB of full scale", _decibels(measured["RMS"] ** 2), (-80, 0)),
    )
    for place, (title, values, ends) in zip(axes.flat[9:11], levels, strict=True):
        place.plot(times[: len(values)], values[: len(times)], color=fill)
        place.set(title=title, ylabel="dB", ylim=ends)
        place.grid()
    last = axes.flat[11]
    last.plot(moments, measured["envelope"] / level, color=fill)
    last.set(title="amplitude envelope", ylim=(0, 1.1))
    last.grid()
    for place in axes[-1]:
        place.set_xlabel("s")
    first.set_xlim(0, longest)
    return plots.picture(
        figure, f"Twelve features of a clip of {emotion}: waveform, spectrogram and others"
    )


def _pictures(signal: Signal, magnitude: Floats) -> Iterator[tuple[str, Floats, float, float, str]]:
    """Title, values `(k, frames)`, the ends of the vertical axis, and what it is in."""
    nyquist = SAMPLING_RATE / 2000
    # Every second bin is more than a panel has pixels.
    yield "spectrogram", _audible(magnitude**2)[::2], 0, nyquist, "kHz"
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLING_RATE, n_mels=64)
    yield "log-mel", _audible(mel), 0, 64, "mel band"
    mfcc = librosa.feature.mfcc(S=_audible(mel), n_mfcc=13)
    # The first is the level, and so much larger that nothing else would show.
    yield "MFCC 1 to 12", mfcc[1:], 0.5, 12.5, "coefficient"
    chroma = librosa.feature.chroma_stft(S=magnitude**2, sr=SAMPLING_RATE, tuning=0.0)
    yield "chroma", chroma, 0, 12, "C to B"
    cqt = np.abs(
        librosa.cqt(
            signal, sr=SAMPLING_RATE, hop_length=HOP, fmin=librosa.note_to_hz("C2"), n_bins=72
        )
    )
    yield "constant-Q", _audible(cqt**2), 0, 72, "notes from C2"


def _audible(power: Floats) -> Floats:
    """In dB, cut off `RANGE` under the loudest."""
    decibels = _decibels(power)
    return np.asarray(np.maximum(decibels, decibels.max() - RANGE))


def _decibels(power: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)))


def _spectra(utterances: Sequence[Utterance], emotions: Sequence[str]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for u in utterances:
        groups[u.sex, u.emotion].append(u)
    chosen = {key: _evenly(group) for key, group in groups.items()}
    everything = [u for group in chosen.values() for u in group]
    with ThreadPoolExecutor(2) as pool:
        spectra = dict(zip(map(id, everything), pool.map(_spectrum, everything), strict=True))
    curves: dict[str, dict[str, Floats]] = defaultdict(dict)
    for emotion in emotions:
        for sex in ("F", "M", ""):
            found = [spectra[id(u)] for u in chosen.get((sex, emotion), [])]
            known = [spectrum for spectrum in found if spectrum is not None]
            if known:
                curves[sex][emotion] = np.mean(known, axis=0)
    shown = [sex for sex in ("F", "M", "") if curves[sex]]
    if not shown:
        return
    figure, axes = plots.figure_of(5.0 * len(shown), 3.8, 1, len(shown), sharey=True, squeeze=False)
    for place, sex in zip(axes[0], shown, strict=True):
        plots.lines_over_frequency(place, CENTRES, curves[sex], emotions)
        place.set_title({"F": "women", "M": "men", "": "speakers of sex not stated"}[sex])
    axes[0, 0].set_ylabel("dB relative to the whole")
    fullest = max(axes[0], key=lambda place: len(place.lines))
    figure.legend(*fullest.get_legend_handles_labels(), loc="outside lower center", ncols=9)
    yield html.section(
        "Average spectra by emotion and sex",
        "How a voice's energy is spread over frequency, on the average of up to "
        f"{CLIPS} clips a line, each at the same loudness. Aroused speech (angry, happy, "
        "fear) has more between 1 and 4 kHz, as the voice is tenser; sad speech has less.",
        html.figure(plots.picture(figure, "Average spectra of each emotion, for women and men")),
    )


BANDS = librosa.mel_frequencies(42, fmin=60, fmax=7800)
CENTRES = BANDS[1:-1]
FILTERS = librosa.filters.mel(sr=SAMPLING_RATE, n_fft=N_FFT, n_mels=40, fmin=60, fmax=7800)


def _spectrum(utterance: Utterance) -> Floats | None:
    """Mean power in 40 mel bands in dB, relative to their sum, `(40,)`; None if unreadable."""
    try:
        signal = audio.load(utterance.path, SAMPLING_RATE)[: 6 * SAMPLING_RATE]
    except (AudioError, OSError) as e:
        logger.warning("%s is not in the average spectra: %s", utterance.path, e)
        return None
    power = np.abs(librosa.stft(signal, n_fft=N_FFT, hop_length=2 * HOP)) ** 2
    bands = FILTERS @ power.mean(axis=1)
    return _decibels(bands / max(float(bands.sum()), 1e-12))


def _evenly(utterances: Sequence[Utterance]) -> list[Utterance]:
    places = np.linspace(0, len(utterances) - 1, min(CLIPS, len(utterances)))
    return [utterances[round(place)] for place in places]


def _augmentations(utterance: Utterance, signal: Signal) -> str:
    """The clip as every named augmentation changes it."""
    from ser_core.lab.augmentations import AUGMENTATIONS, change  # noqa: PLC0415 (takes seconds)

    signal = (signal / np.abs(signal).max() * 0.5).astype(np.float32)
    cards = [_changed("as it is", "", signal)]
    for name, augmentation in AUGMENTATIONS.items():
        low, high = augmentation.usual
        told = f"{augmentation.title}, {low:g} to {high:g} {augmentation.unit}"
        cards.append(_changed(name, told, change(name)(signal, SAMPLING_RATE, 1)))
    return html.section(
        "What augmentation does to a clip",
        f"The clip of {html.escape(utterance.emotion)} as training may change it, so that a model "
        "does not learn one microphone, room or level. The emotion should stay: listen whether it "
        "does. <code>ser train --augment NAME:LOW..HIGH</code> sets the ranges, where a preset "
        "takes them.",
        f'<div class="clips">{"".join(cards)}</div>',
    )


def _changed(name: str, told: str, signal: Signal) -> str:
    power = np.abs(librosa.stft(signal, n_fft=N_FFT, hop_length=HOP)) ** 2
    mel = librosa.feature.melspectrogram(S=power, sr=SAMPLING_RATE, n_mels=64)
    figure, axes = plots.figure_of(3.4, 1.4)
    axes.imshow(_audible(mel), origin="lower", aspect="auto", interpolation="none")
    axes.set_axis_off()
    return (
        f'<div class="clip"><b>{html.escape(name)}</b><br><span class="note">'
        f"{html.escape(told)}</span>{html.sound(signal, SAMPLING_RATE, name)}"
        f"{plots.picture(figure, f'log-mel of the clip, {name}')}</div>"
    )
