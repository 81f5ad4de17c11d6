"""Acoustic features as Keras layers: waveform `(batch, samples)` -> `(batch, frames, k)`.

Written with `keras.ops` alone, so that one model trains on TensorFlow, JAX or PyTorch, and
convertible to LiteRT with builtin operations. The numbers are librosa's (McFee et al. 2015,
"librosa: Audio and Music Signal Analysis in Python"): filters and windows come from
`librosa.filters`, and tests hold each layer against `librosa.feature`. Constants are plain arrays
and not weights, so a network's parameter count is its own.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
import librosa
import numpy as np
from keras import ops
from numpy.typing import NDArray

PadMode = Literal["reflect", "constant", "edge"]
Method = Literal["fft", "dft"]

# More slices than this to build a frame and one gather is the cheaper graph.
_MAX_SLICES = 64


def frame(signal: Any, length: int, hop: int) -> Any:
    """Overlapping frames: `(batch, samples)` -> `(batch, 1 + (samples - length) // hop, length)`.

    Slices and a concatenation where length and hop share a large divisor, since a gather costs
    more in LiteRT.
    """
    block = math.gcd(length, hop)
    samples = ops.shape(signal)[1]
    frames = 1 + (samples - length) // hop
    if length // block > _MAX_SLICES:
        starts = ops.arange(frames) * hop
        indices = ops.expand_dims(starts, 1) + ops.expand_dims(ops.arange(length), 0)
        return ops.take(signal, indices, axis=1)
    step = hop // block
    blocks = (frames - 1) * step + length // block
    split = ops.reshape(signal[:, : blocks * block], (-1, blocks, block))
    span = (frames - 1) * step + 1
    return ops.concatenate([split[:, i : i + span : step] for i in range(length // block)], -1)


def pad_and_frame(signal: Any, length: int, hop: int, center: bool, pad_mode: PadMode) -> Any:
    """Frames around (`center`) or after every hop-th sample, as `librosa` cuts them.

    Raises `ValueError` where the signal is too short to be padded or framed so.
    """
    samples, half = signal.shape[1], length // 2
    needed = (half + 1 if pad_mode == "reflect" else 1) if center else length
    if samples is not None and samples < needed:
        raise ValueError(f"a signal of {samples} samples is too short: {needed} are needed")
    if not center:
        return frame(signal, length, hop)
    if pad_mode == "edge":
        first, last = signal[:, :1], signal[:, -1:]
        padded = ops.concatenate(
            [ops.repeat(first, half, axis=1), signal, ops.repeat(last, half, axis=1)], axis=1
        )
    else:
        padded = ops.pad(signal, ((0, 0), (half, half)), mode=pad_mode)
    return frame(padded, length, hop)


def _frame_count(samples: int | None, length: int, hop: int, center: bool) -> int | None:
    if samples is None:
        return None
    return 1 + (samples + (2 * (length // 2) if center else 0) - length) // hop


class _FrameLayer(keras.layers.Layer):  # type: ignore[misc]
    """What the layers share: float32 whatever the policy, no weights, a config that rebuilds."""

    width: int  # features a frame
    length: int  # samples a frame
    hop: int
    center: bool

    def __init__(self, **kwargs: Any) -> None:
        # Half precision would lose the quiet bands: a power spectrum spans ten decades.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, int | None, int]:
        frames = _frame_count(input_shape[1], self.length, self.hop, self.center)
        return (input_shape[0], frames, self.width)

    def _config(self, *names: str) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="ser")
class PowerSpectrogram(_FrameLayer):
    """Squared magnitude of the short-time Fourier transform, `|librosa.stft(...)| ** 2`.

    `(batch, samples)` -> `(batch, 1 + samples // hop, 1 + n_fft // 2)` when `center`.
    `pad_mode` is how the ends are padded when `center`: "reflect", or "constant" (zeros, what
    `librosa.feature` does by default). `method` "fft" uses the FFT operation; "dft" multiplies
    with windowed cosines and sines, the same numbers, for runtimes without an FFT.
    """

    def __init__(
        self,
        n_fft: int = 1024,
        hop: int = 256,
        window: str = "hann",
        center: bool = True,
        pad_mode: PadMode = "reflect",
        method: Method = "fft",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if method not in ("fft", "dft"):
            raise ValueError(f"method is 'fft' or 'dft', not {method!r}")
        if n_fft % 4:
            raise ValueError(f"n_fft must be a multiple of 4, not {n_fft}")
        self.n_fft, self.hop, self.window = n_fft, hop, window
        self.center, self.pad_mode, self.method = center, pad_mode, method
        self.length, self.width = n_fft, 1 + n_fft // 2
        self._window = librosa.filters.get_window(window, n_fft).astype(np.float32)

    def call(self, signal: Any) -> Any:
        frames = pad_and_frame(signal, self.n_fft, self.hop, self.center, self.pad_mode)
        frames = frames * self._window
        if self.method == "dft":
            return _dft_power(frames, self.n_fft)
        real, imaginary = ops.rfft(frames)
        return ops.square(real) + ops.square(imaginary)

    def get_config(self) -> dict[str, Any]:
        return self._config("n_fft", "hop", "window", "center", "pad_mode", "method")


def _dft_power(frames: Any, n_fft: int) -> Any:
    """Power spectrum of real frames by two matrix products, half the work of the plain sum.

    First stage of decimation in frequency (Gentleman and Sande 1966): even bins need only the sum
    of a frame's two halves, odd bins only their difference.
    """
    half = n_fft // 2
    first, second = frames[..., :half], frames[..., half:]
    even = _projected_power(first + second, np.arange(0, half + 1, 2), n_fft)
    odd = _projected_power(first - second, np.arange(1, half, 2), n_fft)
    # Bins 0, 2, ... and 1, 3, ... interleaved; the last one, at half the sampling rate, is even.
    paired = ops.stack([even[..., :-1], odd], axis=-1)
    shape = ops.shape(frames)
    return ops.concatenate([ops.reshape(paired, (-1, shape[1], half)), even[..., -1:]], axis=-1)


def _projected_power(signal: Any, bins: NDArray[np.int_], n_fft: int) -> Any:
    angle = 2 * np.pi / n_fft * (np.outer(np.arange(signal.shape[-1]), bins) % n_fft)
    real = ops.matmul(signal, np.cos(angle).astype(np.float32))
    imaginary = ops.matmul(signal, np.sin(angle).astype(np.float32))
    return ops.square(real) + ops.square(imaginary)


@keras.saving.register_keras_serializable(package="ser")
class MelSpectrogram(_FrameLayer):
    """Power in bands of the Slaney mel scale, `librosa.feature.melspectrogram(pad_mode=...)`.

    `(batch, samples)` -> `(batch, 1 + samples // hop, n_mels)` when `center`. `fmax` in Hz is half
    the sampling rate unless given. Other arguments are those of `PowerSpectrogram`.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 64,
        fmin: float = 0.0,
        fmax: float | None = None,
        window: str = "hann",
        center: bool = True,
        pad_mode: PadMode = "reflect",
        method: Method = "fft",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sampling_rate, self.n_fft, self.hop = sampling_rate, n_fft, hop
        self.n_mels, self.fmin, self.fmax = n_mels, fmin, fmax
        self.window, self.center, self.pad_mode, self.method = window, center, pad_mode, method
        self.length, self.width = n_fft, n_mels
        self._spectrogram = PowerSpectrogram(n_fft, hop, window, center, pad_mode, method)
        self._filters = librosa.filters.mel(
            sr=sampling_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
        ).T.astype(np.float32)

    def call(self, signal: Any) -> Any:
        return ops.matmul(self._spectrogram(signal), self._filters)

    def get_config(self) -> dict[str, Any]:
        return self._config(
            "sampling_rate", "n_fft", "hop", "n_mels", "fmin", "fmax",
            "window", "center", "pad_mode", "method",
        )  # fmt: skip


@keras.saving.register_keras_serializable(package="ser")
class LogMel(MelSpectrogram):
    """Mel spectrogram in dB: `10 log10(max(mel, 1e-10))`, no `top_db` floor.

    Equals `librosa.power_to_db(mel, top_db=None)`; each frame then depends on its own samples
    alone, never on the loudest frame of the window.
    """

    def call(self, signal: Any) -> Any:
        return _decibels(super().call(signal))


def _decibels(power: Any) -> Any:
    return (10 / math.log(10)) * ops.log(ops.maximum(power, 1e-10))
