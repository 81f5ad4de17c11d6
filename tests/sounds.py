"""Sounds made by formula, as arrays and as files' bytes: no recording is needed to test."""

import io
from collections.abc import Iterable

import numpy as np
import soundfile
from numpy.typing import NDArray

Signal = NDArray[np.float32]

FORMATS = {
    "wav8": ("WAV", "PCM_U8"),
    "wav16": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wav32": ("WAV", "PCM_32"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-double": ("WAV", "DOUBLE"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Name of an encoding -> what soundfile calls its container and coding."""


def times(seconds: float, sampling_rate: int = 16_000) -> NDArray[np.float64]:
    """The moment of each sample, in seconds."""
    return np.arange(round(seconds * sampling_rate)) / sampling_rate


def tone(
    seconds: float = 1.0, hertz: float = 440.0, level: float = 0.5, sampling_rate: int = 16_000
) -> Signal:
    """A sine of peak `level`."""
    phase = 2 * np.pi * hertz * times(seconds, sampling_rate)
    return (level * np.sin(phase)).astype(np.float32)


def noise(
    seconds: float = 1.0, level: float = 0.1, sampling_rate: int = 16_000, seed: int = 0
) -> Signal:
    """White Gaussian noise of standard deviation `level`."""
    count = round(seconds * sampling_rate)
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def silence(seconds: float = 1.0, sampling_rate: int = 16_000) -> Signal:
    """Digital zero."""
    return np.zeros(round(seconds * sampling_rate), np.float32)


def voice(
    seconds: float = 3.0,
    pitch: float = 150.0,
    level: float = 0.5,
    sampling_rate: int = 16_000,
    seed: int = 0,
) -> Signal:
    """Voice-like: harmonics up to 3.8 kHz under three formants, with vibrato, four syllables a
    second, and a breath of noise; peaks at `level`."""
    t = times(seconds, sampling_rate)
    vibrato = 1 + 0.03 * np.sin(2 * np.pi * 5 * t)
    phase = 2 * np.pi * pitch * np.cumsum(vibrato) / sampling_rate
    sound = 0.01 * np.random.default_rng(seed).standard_normal(t.size)
    for harmonic in range(1, int(min(3800, 0.4 * sampling_rate) / pitch) + 1):
        hertz = harmonic * pitch
        gain = sum(np.exp(-(((hertz - f) / 150) ** 2)) for f in (600, 1200, 2500)) + 0.05
        sound += gain * np.sin(harmonic * phase)
    sound *= 0.1 + np.sin(np.pi * 4 * t) ** 2
    return (level * sound / np.abs(sound).max()).astype(np.float32)


def encode(signal: Signal, format_name: str = "wav16", sampling_rate: int = 16_000) -> bytes:
    """A file's bytes; `signal` has shape `(samples,)` or `(samples, channels)`."""
    container, coding = FORMATS[format_name]
    file = io.BytesIO()
    soundfile.write(file, signal, sampling_rate, format=container, subtype=coding)
    return file.getvalue()


def encode_blocks(
    blocks: Iterable[Signal], format_name: str, sampling_rate: int = 16_000, channels: int = 1
) -> bytes:
    """A file too long for one array."""
    container, coding = FORMATS[format_name]
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", sampling_rate, channels, format=container, subtype=coding
    ) as out:
        for block in blocks:
            out.write(block)
    return file.getvalue()


def flac_of_unknown_length(flac: bytes) -> bytes:
    """The same FLAC as a live encoder writes it: its 36-bit count of samples says 0, unknown."""
    patched = bytearray(flac)
    patched[21] &= 0xF0
    patched[22:26] = bytes(4)
    return bytes(patched)


def wav_with_data_size(wav: bytes, size: int) -> bytes:
    """The same WAV with another size of its data in the header (at byte 40, as written here)."""
    assert wav[36:40] == b"data"
    return wav[:40] + size.to_bytes(4, "little") + wav[44:]
