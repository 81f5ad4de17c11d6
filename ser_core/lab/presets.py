"""What can be trained, by name: the front end, the network and how to train it."""

from dataclasses import dataclass, field, replace
from typing import Any

import keras
import librosa
import numpy as np
from numpy.typing import NDArray

from ser_core.emotions import EMOTIONS_7, EMOTIONS_8
from ser_core.lab import networks
from ser_core.lab.classics import CLASSICS, Classic
from ser_core.lab.features import LogMel
from ser_core.lab.functionals import Functionals, VoiceFeatures
from ser_core.lab.pooling import FrameMask, LevelNormalisation, PeakNormalised, Sounding, Trimmed
from ser_core.lab.spectral import SpectralAugmentation

LOGITS, FUNCTIONALS = "logits", "functionals"
"""Names of what a model answers."""


TEACHER = {"channels": (32, 48, 96, 160, 192), "strides": (2, 1, 2, 2, 2), "dropout": 0.4}
"""Options of a teacher's network: 1.3 million parameters, and seven times the arithmetic."""


@dataclass(frozen=True)
class Schedule:
    """How a network is fitted."""

    epochs: int = 60
    clips: int = 8192
    """Clips drawn for one epoch, balanced over corpora and classes."""
    crop: float = 2.0
    """Seconds of a clip that are heard at a time, until the last epochs (`finish`) hear whole
    windows: shorter ones train in two thirds of the time (as in FixRes, Touvron et al. 2019,
    arXiv:1906.06423). 0 for whole windows throughout."""
    batch: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 2
    """Epochs over which the learning rate rises; then it falls along a cosine."""
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    mixup: float = 0.2
    """Parameter of the Beta distribution (Zhang et al. 2018, arXiv:1710.09412)."""
    mixstyle: float = 0.0
    """How often a clip is given, in part, the style of another (`sampling.restyled`)."""
    finish: float = 0.15
    """Share of the epochs, at the end, with whole windows, without mixup and with milder
    augmentation: the last look is at speech as it is recorded (as in YOLOX, Ge et al. 2021,
    arXiv:2107.08430)."""
    ema: float = 0.998
    """Decay of the averaged weights that are judged and kept."""
    relative_steps: int = 4000
    """Batches that a head on relative functionals is fitted with; it is hardened with no more."""

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, self.clips // self.batch)

    @property
    def first_finishing(self) -> int:
        """The first of the last epochs."""
        return self.epochs - round(self.finish * self.epochs)


@dataclass(frozen=True)
class Preset:
    """A named design: log-mel of a window of speech into a network."""

    name: str
    emotions: tuple[str, ...] = EMOTIONS_7
    sampling_rate: int = 16_000
    window: float = 3.0
    hop: float = 1.5
    n_fft: int = 1024
    hop_length: int = 256
    bands: int = 64
    fmin: float = 50.0
    fmax: float = 8000.0
    per_band: bool = False
    network: str = "residual_cnn"
    options: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = Schedule()
    augmentation: SpectralAugmentation = field(default_factory=SpectralAugmentation)
    relative: bool = False
    """The answer is given relative to a speaker's profile; see `ser_core.lab.relative`."""
    dynamics: bool = False
    """Beside the functionals are those of how a voice moves; see `ser_core.lab.dynamics`."""
    teachers: int = 0
    """So many larger networks are fitted first, each from a seed of its own. It learns what they
    say on average of every augmented clip, in place of its label (Hinton et al. 2015,
    arXiv:1503.02531; Beyer et al. 2022, arXiv:2106.05237)."""

    @property
    def samples(self) -> int:
        """Samples of one window."""
        return round(self.window * self.sampling_rate)

    @property
    def frames(self) -> int:
        """Frames of one window."""
        return 1 + self.samples // self.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sampling_rate / self.hop_length

    @property
    def crop_frames(self) -> int:
        """Frames of what is heard at a time in most of the training."""
        crop = round(self.schedule.crop * self.sampling_rate) // self.hop_length
        return min(self.frames, 1 + crop) if crop else self.frames

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Centre of each mel band in Hz, shape `(bands,)`."""
        edges = librosa.mel_frequencies(self.bands + 2, fmin=self.fmin, fmax=self.fmax)
        return np.asarray(edges[1:-1], np.float64)

    @property
    def front(self) -> dict[str, Any]:
        """Arguments of the layers on the spectrum."""
        return {
            "sampling_rate": self.sampling_rate,
            "n_fft": self.n_fft,
            "hop": self.hop_length,
            "n_mels": self.bands,
            "fmin": self.fmin,
            "fmax": self.fmax,
        }

    def log_mel(self) -> LogMel:
        """The layer from waveform `(batch, samples)` to log-mel `(batch, frames, bands)` in dB."""
        return LogMel(**self.front, name="log_mel")

    def build(self) -> keras.Model:
        """The part that is fitted first: log-mel in dB and its mask -> logits."""
        frames = None if self.crop_frames < self.frames else self.frames
        decibels = keras.Input((frames, self.bands), name="decibels")
        sound = keras.Input((frames,), name="mask")
        mask = Sounding()([decibels, sound])
        make = getattr(networks, self.network)
        network = make((frames, self.bands), len(self.emotions), **self.options)
        return keras.Model([decibels, sound], network([self._level(decibels, mask), mask]))

    @property
    def teacher(self) -> "Preset":
        """The design of its teachers: a wider network that looks closer."""
        epochs = max(1, round(self.schedule.epochs * 2 / 3))
        return replace(
            self,
            name=f"teacher of {self.name}",
            options=TEACHER,
            teachers=0,
            schedule=replace(self.schedule, epochs=epochs),
        )

    def whole(self, trained: keras.Model) -> keras.Model:
        """Waveform `(batch, samples)` and length `(batch, 1)` in samples -> logits."""
        waveform, length = self._inputs()
        mask = FrameMask(self.frames, self.hop_length)(length)
        decibels = self.log_mel()(self._audible(waveform, length))
        return keras.Model([waveform, length], {LOGITS: trained([decibels, mask])})

    def describer(self, trained: keras.Model) -> keras.Model:
        """Waveform and length -> all that is known of a window, `(batch, k)`.

        That is its functionals, and beside them the embedding of the `trained` network.
        """
        waveform, length = self._inputs()
        # The DFT by products is LiteRT's faster one at this size.
        voice = VoiceFeatures(**self.front, method="dft")
        decibels, pitch = voice(self._audible(waveform, length))
        mask = Sounding()([decibels, FrameMask(self.frames, self.hop_length)(length)])
        rate = self.frame_rate if self.dynamics else 0.0
        functionals = Functionals(self.bands, self.frames, rate, name=FUNCTIONALS)(
            [decibels, pitch, mask]
        )
        embedding = _embedding(trained)([self._level(decibels, mask), mask])
        described = keras.layers.Concatenate()([functionals, embedding])
        return keras.Model([waveform, length], described, name="describer")

    def embedder(self, trained: keras.Model) -> keras.Model:
        """Log-mel in dB of a window and its mask -> the embedding of the `trained` network."""
        decibels = keras.Input((self.frames, self.bands), name="decibels")
        sound = keras.Input((self.frames,), name="mask")
        mask = Sounding()([decibels, sound])
        embedding = _embedding(trained)([self._level(decibels, mask), mask])
        return keras.Model([decibels, sound], embedding)

    def whole_relative(self, describer: keras.Model, relative: keras.Model) -> keras.Model:
        """Waveform, length, profile `(batch, k)` and its count `(batch, 1)` -> logits, functionals.

        What `relative` is given as functionals is all that `describer` knows of the window.
        """
        waveform, length = self._inputs()
        profile = keras.Input((describer.output_shape[-1],), name="profile")
        count = keras.Input((1,), name="count")
        described = describer([waveform, length])
        logits = relative([described, profile, count])
        return keras.Model(
            [waveform, length, profile, count], {LOGITS: logits, FUNCTIONALS: described}
        )

    def _inputs(self) -> tuple[Any, Any]:
        waveform = keras.Input((self.samples,), name="waveform")
        return waveform, keras.Input((1,), dtype="int32", name="length")

    def _audible(self, waveform: Any, length: Any) -> Any:
        return PeakNormalised()(Trimmed()([waveform, length]))

    def _level(self, decibels: Any, mask: Any) -> Any:
        return LevelNormalisation(per_band=self.per_band)([decibels, mask])


def _embedding(trained: keras.Model) -> keras.Model:
    """The network in `trained` without its last layer: normalised log-mel and mask -> embedding."""
    network = trained.get_layer(networks.NETWORK)
    return keras.Model(
        network.inputs, network.get_layer(networks.EMBEDDING).output, name="embedder"
    )


PLAIN = Preset("residual-cnn")
DEFAULT = replace(PLAIN, name="relative-cnn", relative=True, dynamics=True)

DISTILLED = replace(DEFAULT, name="relative-distilled", teachers=4)
"""As good as several networks together, as quick as one; best fitted on an accelerator. It goes on
with bad recordings afterwards (`ser_core.lab.hardening`)."""

RESTYLED = replace(
    DISTILLED, name="relative-restyled", schedule=replace(DEFAULT.schedule, mixstyle=0.5)
)
"""Hears corpora never heard better where it is given references, and bears noise worse."""

LOGMEL_CNN2D = replace(
    PLAIN,
    name="logmel-cnn2d",
    network="plain_cnn",
    emotions=EMOTIONS_8,
    schedule=Schedule(epochs=30, clips=3072),
)

SPECTRAL = (
    DEFAULT,
    replace(DEFAULT, name="relative-cnn-8", emotions=EMOTIONS_8),
    DISTILLED,
    RESTYLED,
    PLAIN,
    replace(PLAIN, name="residual-cnn-8", emotions=EMOTIONS_8),
    LOGMEL_CNN2D,
    # Its recurrence is unrolled over the frames of a whole window.
    replace(
        LOGMEL_CNN2D,
        name="crnn",
        network="crnn",
        schedule=Schedule(epochs=30, clips=3072, crop=0),
    ),
)

PRESETS: dict[str, Preset | Classic] = {preset.name: preset for preset in SPECTRAL} | CLASSICS
"""Every preset by name, as `ser train --preset` takes it."""


def preset(name: str) -> Preset | Classic:
    """The preset of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
