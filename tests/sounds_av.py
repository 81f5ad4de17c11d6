"""Sounds in the formats of phones and browsers, written with FFmpeg's libraries."""

import io
from typing import Any

import av
import numpy as np

from tests.sounds import Signal

AV_FORMATS = {
    "m4a": ("ipod", "aac", 16_000),
    "m4a-alac": ("ipod", "alac", 16_000),
    "mp4": ("mp4", "aac", 44_100),
    "mov": ("mov", "pcm_s16be", 16_000),
    "3gp": ("3gp", "libopencore_amrnb", 8_000),
    "aac": ("adts", "aac", 16_000),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "alac", 16_000),
    "wma": ("asf", "wmav2", 16_000),
    "caf": ("caf", "pcm_mulaw", 8_000),
}
"""Name -> FFmpeg's muxer and encoder, and a sampling rate that they take."""


def encode_av(
    signal: Signal,
    name: str = "m4a",
    sampling_rate: int | None = None,
    video: str = "",
    pictures_last: float = 1.0,
) -> bytes:
    """A file's bytes; `signal` `(samples,)` or `(samples, channels)` is at the format's own rate
    unless another is given; `video` adds a picture stream of that codec, of so many seconds."""
    muxer, codec, rate = AV_FORMATS[name]
    rate = sampling_rate or rate
    samples = signal.reshape(len(signal), -1)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[samples.shape[1]]
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        track: Any = container.add_stream(codec, rate=rate, layout=layout)
        pictures: Any = container.add_stream(video, rate=5) if video else None
        if pictures:
            pictures.width = pictures.height = 64
            for _ in range(round(5 * pictures_last)):
                container.mux(pictures.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(pictures.encode(None))
        track.bit_rate = 64_000
        track.codec_context.open(strict=False)  # only then its frames have a size
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32).reshape(1, -1), format="flt", layout=layout
        )
        frame.sample_rate = rate
        resampler = av.AudioResampler(track.format, layout, rate, track.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return file.getvalue()
