"""What emotions look and sound like: the part of `ser explore` that decodes recordings."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

from ser_core import audio
from ser_core.audio import SAMPLING_RATE, AudioError
from ser_core.lab import explore_panels, plots
from ser_core.lab import report_page as html
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import voiced
from ser_core.lab.explore_panels import HOP, N_FFT, RANGE, decibels, log_mel, power_of

logger = logging.getLogger(__name__)

Signal = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

LONGEST = 4.0
"""Seconds of a clip that are drawn and played."""
CLIPS = 25
"""Recordings of each emotion and sex that an average spectrum is of."""
SEED = 18
"""What augmentations are shown with, the first by name; one that shows each of them well."""
SEXES = {"F": "women", "M": "men", "": "speakers of sex not stated"}


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
    drawn = explore_panels.panels({emotion: signal for emotion, (_, signal) in examples.items()})
    cards = []
    for emotion, (utterance, signal) in examples.items():
        peak = float(np.abs(signal).max())
        name = f"{utterance.corpus} {utterance.speaker} {utterance.path.stem}".strip()
        cards.append(
            f"<h3>{html.dot(emotion)}</h3><code>{html.escape(name)}</code>"
            + html.sound(signal / peak * 0.8, SAMPLING_RATE, f"{emotion}: {name}")
            + html.figure(drawn[emotion])
        )
    voices = {(u.corpus, u.speaker) for u, _ in examples.values()}
    told = (
        "All by one speaker" + (" with the same words" if _same_words(examples) else "")
        if len(voices) == 1
        else "By different speakers where one has not acted them all"
    )
    terms = "".join(
        f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in explore_panels.TERMS
    )
    return html.section(
        "What each emotion looks like",
        f"One clip of each. {told}; all axes and colours are the same, so that they can be "
        "compared: a quieter clip is drawn smaller and darker. To be played, clips are brought to "
        "one level.",
        f'<dl class="terms">{terms}</dl>',
        *cards,
        '<p class="note">Recordings keep their publishers\' terms; mind them before you pass this '
        "page on.</p>",
    )


def _same_words(examples: dict[str, tuple[Utterance, Signal]]) -> bool:
    sentences = {u.sentence for u, _ in examples.values()}
    return len(sentences) == 1 and "" not in sentences


def _spectra(utterances: Sequence[Utterance], emotions: Sequence[str]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for u in utterances:
        groups[u.sex, u.emotion].append(u)
    chosen = {key: _evenly(group) for key, group in groups.items()}
    everything = [u for group in chosen.values() for u in group]
    with ThreadPoolExecutor(2) as pool:
        spectra = dict(zip(map(id, everything), pool.map(_spectrum, everything), strict=True))
    curves: dict[str, dict[str, Floats]] = defaultdict(dict)
    counts: dict[str, int] = {}
    for emotion in emotions:
        for sex, title in SEXES.items():
            found = [spectra[id(u)] for u in chosen.get((sex, emotion), [])]
            known = [spectrum for spectrum in found if spectrum is not None]
            if known:
                curves[sex][emotion] = np.mean(known, axis=0)
                counts[f"{emotion}, {title}"] = len(known)
    shown = [sex for sex in SEXES if curves[sex]]
    if not shown:
        return
    figure, axes = plots.figure_of(5.0 * len(shown), 3.8, 1, len(shown), sharey=True, squeeze=False)
    for place, sex in zip(axes[0], shown, strict=True):
        plots.lines_over_frequency(place, CENTRES, curves[sex], emotions)
        place.set_title(SEXES[sex])
    axes[0, 0].set_ylabel("dB relative to the whole")
    # An emotion may be of one sex only.
    handles = {line.get_label(): line for place in axes[0] for line in place.lines}
    named = [emotion for emotion in emotions if emotion in handles]
    figure.legend(
        [handles[e] for e in named], named, loc="outside lower center", ncols=4 * len(shown)
    )
    fewest = min(counts, key=lambda name: counts[name])
    yield html.section(
        "Average spectra by emotion and sex",
        "How a voice's energy is spread over frequency, on the average of up to "
        f"{CLIPS} clips a line, each at the same loudness; the fewest are {counts[fewest]}, of "
        f"{html.escape(fewest)}: a line of few clips shows these rather than the emotion. Aroused "
        "speech (angry, happy, fear) usually has more between 1 and 4 kHz, as the voice is tenser; "
        "sad speech usually has less.",
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
    return decibels(bands / max(float(bands.sum()), 1e-12))


def _evenly(utterances: Sequence[Utterance]) -> list[Utterance]:
    places = np.linspace(0, len(utterances) - 1, min(CLIPS, len(utterances)))
    return [utterances[round(place)] for place in places]


def _augmentations(utterance: Utterance, signal: Signal) -> str:
    """The clip as every named augmentation changes it."""
    from ser_core.lab.augmentations import (  # noqa: PLC0415 (takes seconds)
        AUGMENTATIONS,
        change,
        drawn_strength,
    )

    # So low that the loudest gain is not cut off.
    signal = (signal / np.abs(signal).max() * 0.25).astype(np.float32)
    changed = {"as it is": ("", signal)}
    # With one seed for all, all would be as strong within their ranges.
    for seed, (name, augmentation) in enumerate(AUGMENTATIONS.items(), SEED):
        low, high = augmentation.usual
        told = (
            f"{augmentation.title}: here {drawn_strength(name, seed):.3g} {augmentation.unit}, "
            f"drawn from {low:g} to {high:g}"
        )
        changed[name] = told, change(name)(signal, SAMPLING_RATE, seed)
    mels = {name: log_mel(power_of(sound)) for name, (_, sound) in changed.items()}
    top = max(float(mel.max()) for mel in mels.values())
    longest = max(mel.shape[1] for mel in mels.values())
    cards = [
        f'<div class="clip"><b>{html.escape(name)}</b><br><span class="note">{html.escape(told)}'
        f"</span>{html.sound(sound, SAMPLING_RATE, name)}{_small(name, mels[name], top, longest)}"
        "</div>"
        for name, (told, sound) in changed.items()
    ]
    return html.section(
        "What augmentation does to a clip",
        f"The clip of {html.escape(utterance.emotion)} as training may change it, so that a model "
        "does not learn one microphone, room or level. The emotion should stay: listen whether it "
        "does. The pictures are log-mels with the same axes and colours.",
        f'<div class="clips">{"".join(cards)}</div>',
        '<p class="note"><code>ser train --augment NAME:LOW..HIGH</code> sets the ranges, where a '
        "preset takes them.</p>",
    )


def _small(name: str, mel: Floats, top: float, longest: int) -> str:
    """A log-mel `(bands, frames)` without its axes, which reach to `longest` frames."""
    figure, axes = plots.figure_of(3.4, 1.4)
    axes.imshow(
        mel,
        origin="lower",
        aspect="auto",
        interpolation="none",
        vmin=top - RANGE,
        vmax=top,
        extent=(0, mel.shape[1], 0, len(mel)),
    )
    axes.set_xlim(0, longest)
    axes.set_axis_off()
    return plots.picture(figure, f"log-mel of the clip, {name}")
