"""Frames and their spectra, the ground that the layers in `ser_core.lab.features` stand on.

Constants are always the *left* operand of a matrix product, with frames last. LiteRT's
dynamic-range quantisation rounds right operands to int8, and the spectrum they meet with them: a
log-mel spectrum then comes out 30 dB wrong. Left operands stay as they are.
"""

import math
from typing import Any, Literal

import keras
import librosa
import numpy as np
from keras import ops
from numpy.typing import NDArray

PadMode = Literal["reflect", "constant", "edge"]
"""How the ends are padded when frames are centred: mirrored, with zeros, with the last sample."""

Method = Literal["fft", "dft"]
"""The FFT operation, or the same numbers by products with cosines and sines."""

_MAX_SLICES = 64
"""More slices than this to build a frame, and one gather is the cheaper graph."""


def frame(signal: Any, length: int, hop: int, *, frames_last: bool = False) -> Any:
    """Overlapping frames: `(batch, samples)` -> `(batch, 1 + (samples - length) // hop, length)`,
    or with frames last.

    Slices and a concatenation where length and hop share a large divisor, since a gather costs
    more in LiteRT. What frames have in common is turned before it is in each of them.
    """
    block = math.gcd(length, hop)
    frames = 1 + (ops.shape(signal)[1] - length) // hop
    if length // block > _MAX_SLICES:
        starts = ops.arange(frames) * hop
        indices = ops.expand_dims(starts, 1) + ops.expand_dims(ops.arange(length), 0)
        gathered = ops.take(signal, indices, axis=1)
        return ops.transpose(gathered, (0, 2, 1)) if frames_last else gathered
    step = hop // block
    span = (frames - 1) * step + 1
    count = span - 1 + length // block
    blocks = ops.reshape(signal[:, : count * block], (-1, count, block))
    starts = range(length // block)
    if frames_last:
        blocks = ops.transpose(blocks, (0, 2, 1))
        return ops.concatenate([blocks[:, :, i : i + span : step] for i in starts], axis=1)
    return ops.concatenate([blocks[:, i : i + span : step] for i in starts], axis=-1)


def frame_sums(signal: Any, length: int, hop: int) -> Any:
    """Sum of the samples in each frame: `(batch, samples)` -> `(batch, frames)`.

    Blocks that frames have in common are summed once.
    """
    block = math.gcd(length, hop)
    count = ops.shape(signal)[1] // block
    blocks = ops.reshape(signal[:, : count * block], (-1, count, block))
    return ops.sum(frame(ops.sum(blocks, axis=-1), length // block, hop // block), axis=-1)


def pad(signal: Any, length: int, mode: PadMode) -> Any:
    """`length // 2` samples more at either end, so that frame t is centred on sample t * hop."""
    half = length // 2
    if mode == "edge":
        first, last = signal[:, :1], signal[:, -1:]
        ends = [ops.repeat(end, half, axis=1) for end in (first, last)]
        return ops.concatenate([ends[0], signal, ends[1]], axis=1)
    return ops.pad(signal, ((0, 0), (half, half)), mode=mode)


class Framewise(keras.layers.Layer):  # type: ignore[misc]
    """A layer without weights from `(batch, samples)` to `(batch, frames, width)`.

    With `center`, frame t is centred on sample t * hop and `frames` is `1 + samples // hop` (for
    an even length); without, it begins there.
    """

    width: int
    """Numbers a frame."""

    settings: tuple[str, ...] = ("hop", "center", "pad_mode")
    """The arguments that rebuild the layer, each an attribute of the same name."""

    def __init__(
        self, length: int, hop: int, *, center: bool, pad_mode: PadMode, **kwargs: Any
    ) -> None:
        # Half precision would lose the quiet bands: a power spectrum spans ten decades.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.input_spec = keras.InputSpec(ndim=2)
        if pad_mode not in ("reflect", "constant", "edge"):
            raise ValueError(f"pad_mode is 'reflect', 'constant' or 'edge', not {pad_mode!r}")
        if length < 1 or hop < 1:
            raise ValueError(f"frames of {length} samples every {hop}: both must be at least 1")
        self.length, self.hop, self.center, self.pad_mode = length, hop, center, pad_mode

    def padded(self, signal: Any) -> Any:
        """The signal as it will be framed; `ValueError` where it is too short for that."""
        samples = signal.shape[1]
        shortest = self.length
        if self.center:
            shortest = self.length // 2 + 1 if self.pad_mode == "reflect" else 1
        if samples is not None and samples < shortest:
            raise ValueError(
                f"{self.name} needs at least {shortest} samples, and the signal has {samples}"
            )
        return pad(signal, self.length, self.pad_mode) if self.center else signal

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, int | None, int]:
        batch, samples = input_shape
        if samples is None:
            return (batch, None, self.width)
        padding = 2 * (self.length // 2) if self.center else 0
        return (batch, 1 + (samples + padding - self.length) // self.hop, self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in self.settings}}


class Spectral(Framewise):
    """A layer on the power spectrum of windowed frames.

    `n_fft` samples a frame, `window` as in `scipy.signal.get_window`. `method` "fft" needs a power
    of two (LiteRT's FFT knows no other); "dft" takes any length, and is what runtimes without an
    FFT are given. In LiteRT "dft" is also the faster for 1024 samples and fewer, at the price of
    a larger file (0.26 MB for 1024 samples, 0.07 MB for 512).
    """

    settings = (*Framewise.settings, "n_fft", "window", "method")

    def __init__(
        self,
        n_fft: int = 1024,
        hop: int = 256,
        *,
        window: str = "hann",
        center: bool = True,
        pad_mode: PadMode = "constant",
        method: Method = "fft",
        **kwargs: Any,
    ) -> None:
        super().__init__(n_fft, hop, center=center, pad_mode=pad_mode, **kwargs)
        if method not in ("fft", "dft"):
            raise ValueError(f"method is 'fft' or 'dft', not {method!r}")
        if method == "fft" and n_fft & (n_fft - 1):
            raise ValueError(f"n_fft={n_fft} is not a power of two: that takes method='dft'")
        self.n_fft, self.window, self.method = n_fft, window, method
        self._window = librosa.filters.get_window(window, n_fft).astype(np.float32)
        self._dft = DFT(n_fft) if method == "dft" else None

    def power(self, signal: Any) -> Any:
        """Power spectrum with frames last, `(batch, bins, frames)`, bins in ascending order."""
        spectrum = self._power(signal)
        if self._dft is None:
            return spectrum
        return ops.take(spectrum, np.argsort(self._dft.bins), axis=1)

    def weighted(self, weights: NDArray[np.float32], signal: Any, *, of: str = "power") -> Any:
        """Weighted sums over the bins: weights `(k, bins)` -> `(batch, k, frames)`.

        Of the power spectrum, or of the magnitude spectrum (`of="magnitude"`).
        """
        spectrum = self._power(signal)
        if of == "magnitude":
            spectrum = ops.sqrt(spectrum)
        if self._dft is not None:
            # Sorting the weights here saves sorting the spectrum at every call.
            weights = np.ascontiguousarray(weights[:, self._dft.bins])
        return ops.matmul(weights, spectrum)

    def windowed(self, signal: Any, *, frames_last: bool = False) -> Any:
        """`(batch, samples)` -> `(batch, frames, n_fft)`, each frame under the window, or with
        frames last.
        """
        frames = frame(self.padded(signal), self.n_fft, self.hop, frames_last=frames_last)
        return ops.multiply(frames, self._window[:, None] if frames_last else self._window)

    def _power(self, signal: Any) -> Any:
        if self._dft is not None:
            return self._dft.power(self.windowed(signal, frames_last=True))
        real, imaginary = ops.rfft(self.windowed(signal))
        return ops.transpose(ops.square(real) + ops.square(imaginary), (0, 2, 1))


@keras.saving.register_keras_serializable(package="ser")
class PowerSpectrogram(Spectral):
    """Squared magnitude of the short-time Fourier transform, `|librosa.stft(...)| ** 2`.

    `(batch, samples)` -> `(batch, frames, 1 + n_fft // 2)`. Arguments are those of `Spectral`; the
    ends are mirrored by default.
    """

    def __init__(
        self, n_fft: int = 1024, hop: int = 256, *, pad_mode: PadMode = "reflect", **kwargs: Any
    ) -> None:
        super().__init__(n_fft, hop, pad_mode=pad_mode, **kwargs)
        self.width = 1 + n_fft // 2

    def call(self, signal: Any) -> Any:
        return ops.transpose(self.power(signal), (0, 2, 1))


class DFT:
    """Power spectrum of real frames by matrix products, at a tenth of the plain sum's work.

    Two stages of Cooley and Tukey (1965): with `length = rows * columns`, first the transforms of
    each column, then, with the twiddle factors in them, those of each row. Real input needs the
    first half of the rows alone; their transforms hold all bins but those of the first and the
    last row, whose columns' transforms are real.
    """

    bins: NDArray[np.int_]
    """The bin that each row of `power` is."""

    def __init__(self, length: int) -> None:
        self._rows = _even_factor(length)
        if not self._rows:
            self.bins = np.arange(length // 2 + 1)
            self._plain = _waves(self.bins, length, length)
            return
        self._columns = columns = length // self._rows
        middle = np.arange(1, self._rows // 2)
        cosines, sines = _waves(middle, self._rows, self._rows)
        edges = [np.ones(self._rows), np.resize([1.0, -1.0], self._rows)]
        pairs = np.stack([cosines, -sines], axis=1).reshape(-1, self._rows)
        self._down = np.concatenate([edges, pairs]).astype(np.float32)
        inside = middle[:, None] + self._rows * np.arange(columns)
        cosines, sines = (
            each.reshape(*inside.shape, columns) for each in _waves(inside.ravel(), columns, length)
        )
        self._along = np.block([[cosines, sines], [-sines, cosines]])
        outside = [np.arange(row, length // 2 + 1, self._rows) for row in (0, self._rows // 2)]
        self._edges = [_waves(bins, columns, length) for bins in outside]
        self.bins = np.concatenate([*outside, np.minimum(inside, length - inside).ravel()])

    def power(self, frames: Any) -> Any:
        """`(batch, length, frames)` -> `(batch, bins, frames)`."""
        if not self._rows:
            return _projected_power(self._plain, frames)
        rows, columns, count = self._rows, self._columns, ops.shape(frames)[2]
        frames = ops.reshape(frames, (-1, rows, columns * count))
        down = ops.reshape(ops.matmul(self._down, frames), (-1, rows * columns, count))
        powers = [
            _projected_power(waves, down[:, edge * columns : (edge + 1) * columns])
            for edge, waves in enumerate(self._edges)
        ]
        if rows > 2:
            pairs = ops.reshape(down[:, 2 * columns :], (-1, rows // 2 - 1, 2 * columns, count))
            spectrum = ops.square(ops.matmul(self._along, pairs))
            power = spectrum[:, :, :columns] + spectrum[:, :, columns:]
            powers.append(ops.reshape(power, (-1, (rows // 2 - 1) * columns, count)))
        return ops.concatenate(powers, axis=1)


Waves = tuple[NDArray[np.float32], NDArray[np.float32]]


def _even_factor(length: int) -> int:
    """The even divisor for which both stages together are the least work; 0 if there is none.

    The first costs as many products a sample as there are rows, the second twice the columns.
    """
    factors = [rows for rows in range(2, length, 2) if length % rows == 0]
    return min(factors, key=lambda rows: rows + 2 * length // rows, default=0)


def _waves(bins: NDArray[np.int_], samples: int, period: int) -> Waves:
    # Whole turns are dropped while the product is an integer, where that is exact.
    angle = 2 * np.pi / period * (np.outer(bins, np.arange(samples)) % period)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _projected_power(waves: Waves, frames: Any) -> Any:
    cosines, sines = waves
    return ops.square(ops.matmul(cosines, frames)) + ops.square(ops.matmul(sines, frames))
