"""The same recordings under other conditions: lines, codecs, noise, levels, rooms, pauses."""

import io
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core import audio
from ser_core.activity import active_frames
from ser_core.audio import AudioError
from ser_core.emotions import to_label_set
from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import WORKERS, figures, speaker_key
from ser_core.lab.risk import trust
from ser_core.recognizer import Recognizer

Signal = NDArray[np.float32]
Generator = np.random.Generator
Recording = Signal | bytes
"""Samples at the rate they came in, or a file."""

RATE = audio.SAMPLING_RATE
"""Hz at which recordings are changed."""
TELEPHONE_RATE = 8_000
TELEPHONE = (300.0, 3400.0)
"""Hz that an ordinary telephone line lets through (ITU-T G.712)."""
REVERBERATION = 0.3
"""Seconds in which a small furnished room's sound decays by 60 dB."""
TALKERS = 5
"""Voices that babble is made of."""
POOL = 60
"""Recordings that they are drawn from."""
CLEAN = "clean"


@dataclass(frozen=True)
class Talker:
    """A recording that may be part of somebody else's babble."""

    speaker: str
    signal: Signal
    """At a level of 1 where somebody speaks."""


@dataclass(frozen=True)
class Judged:
    """What was heard in each recording under each condition."""

    emotions: tuple[str, ...]
    utterances: list[Utterance]
    labels: NDArray[np.int64]
    probabilities: dict[str, NDArray[np.float64]]
    """Condition -> `(utterances, classes)`; NaN where the service refuses the recording."""
    skipped: list[tuple[Utterance, str]]
    """What was left out of all conditions, and why."""


Change = Callable[[Signal, Generator], Recording]


def conditions(talkers: Sequence[Signal]) -> dict[str, Change]:
    """Every condition by name, in the order of the table; babble only where others talk."""
    changes: dict[str, Change] = {
        CLEAN: lambda signal, rng: signal,
        "telephone band, 8 kHz": lambda signal, rng: telephone(signal),
        "Opus, 16 kbit/s": lambda signal, rng: encoded(signal, "ogg", "libopus", 16),
        "MP3, 32 kbit/s": lambda signal, rng: encoded(signal, "mp3", "libmp3lame", 32),
    }
    for decibels in (20, 15, 10):
        changes[f"white noise, {decibels} dB"] = partial(_in_white_noise, decibels=decibels)
    if talkers:
        for decibels in (20, 15, 10):
            changes[f"babble, {decibels} dB"] = partial(
                _in_babble, talkers=talkers, decibels=decibels
            )
    return changes | {
        "20 dB louder": lambda signal, rng: 10 * signal,
        "20 dB louder, clipped": lambda signal, rng: np.clip(10 * signal, -1, 1),
        "20 dB quieter": lambda signal, rng: signal / np.float32(10),
        "small room": small_room,
        "1 s of silence around": lambda signal, rng: np.pad(signal, RATE),
    }


def telephone(signal: Signal) -> Signal:
    """300 to 3400 Hz at 8 kHz, and back; what is above is gone."""
    narrow = soxr.resample(signal, RATE, TELEPHONE_RATE)
    spectrum = np.fft.rfft(narrow)
    frequencies = np.fft.rfftfreq(len(narrow), 1 / TELEPHONE_RATE)
    spectrum[(frequencies < TELEPHONE[0]) | (frequencies > TELEPHONE[1])] = 0
    band = np.fft.irfft(spectrum, len(narrow)).astype(np.float32)
    wide: Signal = soxr.resample(band, TELEPHONE_RATE, RATE)
    return wide


def encoded(signal: Signal, container: str, codec: str, kilobits: int) -> bytes:
    """A file as FFmpeg's encoder writes it; louder than full scale is clipped, as it must be."""
    file = io.BytesIO()
    samples = np.ascontiguousarray(np.clip(signal, -1, 1), np.float32)[None]
    with av.open(file, "w", format=container) as output:
        track: Any = output.add_stream(codec, rate=RATE, layout="mono")
        track.bit_rate = 1000 * kilobits
        track.codec_context.open(strict=False)  # only then its frames have a size
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(track.format, "mono", RATE, track.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(track.encode(piece))
        output.mux(track.encode(None))
    return file.getvalue()


def level(signal: Signal) -> float:
    """Root mean square where there is sound: pauses do not make a voice quieter."""
    step = RATE // 50
    sounding = np.repeat(active_frames(signal, RATE), step)[: len(signal)]
    heard = signal[: len(sounding)][sounding]
    return float(np.sqrt(np.mean(np.square(heard if len(heard) else signal), dtype=np.float64)))


def mixed(signal: Signal, noise: Signal, decibels: float) -> Signal:
    """`signal` with `noise` so many dB under the level at which it speaks."""
    power = float(np.sqrt(np.mean(np.square(noise), dtype=np.float64))) + 1e-12
    gain = level(signal) / power * 10 ** (-decibels / 20)
    result: Signal = (signal + gain * noise).astype(np.float32)
    return result


def babble(talkers: Sequence[Signal], length: int, rng: Generator) -> Signal:
    """`length` samples of `TALKERS` voices at once, each equally loud, each begun somewhere."""
    total = np.zeros(length, np.float32)
    for index in rng.choice(len(talkers), min(TALKERS, len(talkers)), replace=False):
        voice = talkers[index]
        total += np.resize(np.roll(voice, int(rng.integers(len(voice)))), length)
    return total


def small_room(signal: Signal, rng: Generator) -> Signal:
    """As much sound from the walls as from the mouth: noise that decays (Polack 1988)."""
    count = round(REVERBERATION * RATE)
    response = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / count)
    response /= np.sqrt(np.sum(np.square(response)))
    response[0] += 1
    size = 1 << (len(signal) + count).bit_length()
    wet = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)
    return np.asarray(wet[: len(signal) + count] / np.sqrt(2), np.float32)


def choose(utterances: Sequence[Utterance], limit: int | None, seed: int = 0) -> list[Utterance]:
    """At most `limit` of them, as many of each corpus and emotion as there can be, in their order.

    They are drawn in turn: where one kind has no more, the others go on.
    """
    if limit is None or limit >= len(utterances):
        return list(utterances)
    rng = np.random.default_rng(seed)
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rng.permutation(len(utterances)).tolist():
        kinds[utterances[row].corpus, utterances[row].emotion].append(row)
    chosen: list[int] = []
    while len(chosen) < limit:
        for kind in sorted(kinds):
            if kinds[kind] and len(chosen) < limit:
                chosen.append(kinds[kind].pop())
    return [utterances[row] for row in sorted(chosen)]


def talkers_of(utterances: Sequence[Utterance], seed: int = 0) -> list[Talker]:
    """Up to `POOL` recordings of named speakers, for babble; what cannot be read is passed over."""
    named = [utterance for utterance in utterances if utterance.speaker]
    order = np.random.default_rng(seed).permutation(len(named)).tolist()
    pool: list[Talker] = []
    for row in order:
        if len(pool) == POOL:
            break
        try:
            signal = audio.load(named[row].path, RATE)
        except (AudioError, OSError):
            continue
        pool.append(Talker(speaker_key(named[row]), signal / np.float32(level(signal) + 1e-9)))
    return pool


def judge(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    talkers: Sequence[Talker],
    *,
    seed: int = 0,
    progress: bool = False,
) -> Judged:
    """Run the exported model on every utterance under every condition.

    Each utterance has its own noise and babble, the same whenever it is judged with this `seed`.
    Those with labels that the model has not are left out.
    """
    bundle = recognizer.bundle
    skipped: list[tuple[Utterance, str]] = []
    known = [
        (utterance, bundle.emotions.index(label))
        for utterance in utterances
        if (label := to_label_set(utterance.emotion, bundle.emotions)) is not None
    ]
    others = _others(talkers, [utterance for utterance, _ in known])

    def hear(utterance: Utterance) -> list[NDArray[np.float64]] | str:
        try:
            signal = audio.load(utterance.path, RATE)
        except (AudioError, OSError) as e:
            return f"cannot be read: {type(e).__name__}"
        draw = zlib.crc32(f"{seed} {utterance.path.name} {utterance.speaker}".encode())
        answers = []
        for change in conditions(others[speaker_key(utterance)]).values():
            recording = change(signal, np.random.default_rng(draw))
            try:
                heard = recognizer.hear(recording, RATE)
            except AudioError:
                answers.append(np.full(len(bundle.emotions), np.nan))
            else:
                answers.append(heard.overall(bundle.temperature, bias=bundle.bias))
        return answers

    rows, kept = [], []
    with ThreadPoolExecutor(WORKERS) as pool:
        answered = pool.map(hear, (utterance for utterance, _ in known))
        bar = tqdm(answered, total=len(known), desc="judging", unit="clip", disable=not progress)
        for each, answers in zip(known, bar, strict=True):
            if isinstance(answers, str):
                skipped.append((each[0], answers))
            else:
                kept.append(each)
                rows.append(answers)
    names = [*conditions(next(iter(others.values()), []))]
    table = np.array(rows).reshape(len(rows), len(names), len(bundle.emotions))
    return Judged(
        bundle.emotions,
        [utterance for utterance, _ in kept],
        np.array([label for _, label in kept], np.int64),
        {name: table[:, column] for column, name in enumerate(names)},
        skipped,
    )


def rows(judged: Judged, threshold: float) -> Iterator[dict[str, Any]]:
    """One row for each condition and corpus, and one for all corpora together.

    A recording that is refused counts as judged wrongly; `lost` is UAR lost against clean, in
    points. Figures of trust are of what was answered.
    """
    corpora = np.array([utterance.corpus for utterance in judged.utterances])
    clean: Mapping[str, Any] = {}
    for name, probabilities in judged.probabilities.items():
        uars = {}
        for corpus in ("all", *sorted(set(corpora.tolist()))):
            inside = np.ones(len(corpora), bool) if corpus == "all" else corpora == corpus
            labels, answers = judged.labels[inside], probabilities[inside]
            refused = np.isnan(answers[:, 0])
            predicted = np.where(refused, -1, np.nan_to_num(answers).argmax(axis=1))
            result = figures(judged.emotions, labels, predicted)
            uars[corpus] = result["uar"]
            yield {
                "condition": name,
                "corpus": corpus,
                "n": result["n"],
                "refused": int(refused.sum()),
                "uar": result["uar"],
                "lost": 100 * ((clean or uars)[corpus] - result["uar"]),
                "accuracy": result["accuracy"],
                **trust(answers[~refused], labels[~refused], threshold),
            }
        clean = clean or uars


def _others(talkers: Sequence[Talker], utterances: Sequence[Utterance]) -> dict[str, list[Signal]]:
    """For each speaker the voices of others; none for anybody where somebody has too few."""
    speakers = {speaker_key(utterance) for utterance in utterances}
    others = {
        speaker: [talker.signal for talker in talkers if talker.speaker != speaker]
        for speaker in speakers
    }
    named = all(utterance.speaker for utterance in utterances)
    enough = named and all(len(voices) >= TALKERS for voices in others.values())
    return others if enough else {speaker: [] for speaker in speakers}


def _in_white_noise(signal: Signal, rng: Generator, decibels: float) -> Signal:
    return mixed(signal, rng.standard_normal(len(signal)).astype(np.float32), decibels)


def _in_babble(
    signal: Signal, rng: Generator, talkers: Sequence[Signal], decibels: float
) -> Signal:
    return mixed(signal, babble(talkers, len(signal), rng), decibels)
