"""Batches for training: balanced over corpora and classes, cropped, augmented, mixed."""

from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ser_core.lab.dataset import FeatureSet
from ser_core.lab.presets import Preset
from ser_core.lab.spectral import overlay

SOFTNESS = 2.0
"""Temperature at which a network learns what its teachers say."""
STYLES = 0.4
"""Parameter of the Beta distribution that styles are mixed by."""
QUIETEST = -80.0
"""dB under the loudest point of a clip, where a style ends."""

WANTED_SHARE = 0.6
"""What the corpora that are to be heard have of all draws, at least."""


def balanced_probabilities(
    corpora: Sequence[str],
    labels: NDArray[np.int64],
    speakers: Sequence[str],
    wanted: Collection[str] = (),
) -> NDArray[np.float64]:
    """How likely each utterance is drawn, `(utterances,)`.

    A corpus has a share as the square root of its size times the fourth root of the number of its
    speakers: other voices tell more than other takes. Within one, each class has the same.
    The `wanted` corpora, those that the validation speakers are of, have `WANTED_SHARE` of all at
    least: others are there to help, not to be heard.
    """
    names, corpus = np.unique(corpora, return_inverse=True)
    voices = np.array(speakers)
    probabilities = np.zeros(len(labels))
    for index in range(len(names)):
        inside = corpus == index
        share = np.sqrt(inside.sum()) * len(np.unique(voices[inside])) ** 0.25
        classes = np.unique(labels[inside])
        for label in classes:
            chosen = inside & (labels == label)
            probabilities[chosen] = share / len(classes) / chosen.sum()
    probabilities /= probabilities.sum()
    asked = np.isin(corpora, [*wanted])
    share = probabilities[asked].sum()
    if 0 < share < WANTED_SHARE:
        probabilities[asked] *= WANTED_SHARE / share
        probabilities[~asked] *= (1 - WANTED_SHARE) / (1 - share)
    return probabilities


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Random batches of `([features, mask], targets)`; another draw in every epoch.

    `targets` are of `ser_core.lab.targets`. In their place comes what `teachers` say on average,
    where there are any. Clips are crops, until the last epochs (`finishing`) are near to speech as
    it is recorded.
    """

    def __init__(
        self,
        features: FeatureSet,
        targets: NDArray[np.float32],
        probabilities: NDArray[np.float64],
        preset: Preset,
        seed: int,
        *,
        epoch: int = 0,
        finishing: bool = False,
        teachers: Sequence[keras.Model] = (),
    ) -> None:
        super().__init__(workers=1)
        self.features, self.targets, self.probabilities = features, targets, probabilities
        self.preset, self.seed, self.epoch, self.finishing = preset, seed, epoch, finishing
        self.teachers = teachers

    def __len__(self) -> int:
        return self.preset.schedule.steps

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        schedule = self.preset.schedule
        rng = np.random.default_rng((self.seed, self.epoch, index))
        chosen = rng.choice(len(self.targets), schedule.batch, p=self.probabilities)
        frequencies = self.preset.frequencies
        augmentation, frames = self.preset.augmentation, self.preset.crop_frames
        if self.finishing:
            augmentation, frames = augmentation.milder(), self.preset.frames
        clips = []
        for utterance in chosen:
            log_mel = random_crop(self.features[utterance], int(1.2 * frames), rng)
            if rng.random() < augmentation.babble:
                voices = rng.choice(len(self.targets), int(rng.integers(1, 4)))
                others = [np.asarray(self.features[voice], np.float32) for voice in voices]
                log_mel = overlay(log_mel, others, rng)
            clips.append(augmentation(log_mel, frequencies, rng))
        x, mask = padded([random_crop(clip, frames, rng) for clip in clips], frames)
        y = self.targets[chosen]
        if schedule.mixup and not self.finishing:
            x, mask, y = mixed(x, mask, y, schedule.mixup, rng)
        if schedule.mixstyle:
            x = restyled(x, mask, schedule.mixstyle, rng)
        return (x, mask), said(self.teachers, x, mask) if self.teachers else y


def said(
    teachers: Sequence[keras.Model], x: NDArray[np.float32], mask: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Probabilities of the teachers' mean logits at the temperature `SOFTNESS`."""
    heard = [np.asarray(teacher.predict_on_batch([x, mask])) for teacher in teachers]
    soft = np.mean(heard, axis=0) / SOFTNESS
    exponential = np.exp(soft - soft.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponential / exponential.sum(axis=1, keepdims=True)
    return probabilities


def random_crop(frames: NDArray[Any], length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """At most `length` frames from a random place."""
    start = int(rng.integers(0, max(0, len(frames) - length) + 1))
    return frames[start : start + length].astype(np.float32)


def padded(
    clips: Sequence[NDArray[np.float32]], frames: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Clips of different lengths as one array `(clips, frames, k)` and its mask."""
    x = np.full((len(clips), frames, clips[0].shape[1]), -100.0, np.float32)
    mask = np.zeros((len(clips), frames), np.float32)
    for row, clip in enumerate(clips):
        length = min(len(clip), frames)
        x[row, :length] = clip[:length]
        mask[row, :length] = 1
    return x, mask


def mixed(
    x: NDArray[np.float32],
    mask: NDArray[np.float32],
    y: NDArray[np.float32],
    alpha: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mixup of log-mels, each clip's loudest point at the same level (arXiv:1710.09412)."""
    share = rng.beta(alpha, alpha, (len(x), 1)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    other = rng.permutation(len(x))
    relative = x - x.max(axis=(1, 2), keepdims=True)
    weight = share[:, :, None]
    both = weight * relative + (1 - weight) * relative[other]
    label = weight * y + (1 - weight) * y[other]
    return both, np.maximum(mask, mask[other]), label


def restyled(
    x: NDArray[np.float32], mask: NDArray[np.float32], often: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Log-mels of which some, so `often`, have each band's mean and spread over time moved towards
    those of another clip: microphone, room and voice leave their traces there (MixStyle, Zhou et
    al. 2021, arXiv:2104.02008, by frequency).
    """
    own = rng.beta(STYLES, STYLES, (len(x), 1, 1)).astype(np.float32)
    own[rng.random(len(x)) >= often] = 1
    changed: NDArray[np.float32] = in_styles(x, mask, own, rng.permutation(len(x)))
    return changed


def in_styles(x: Any, mask: Any, own: Any, other: Any, xp: Any = np) -> Any:
    """Each log-mel with the share `own` of its style, and the rest of that of the log-mel `other`.

    `xp` is what computes: NumPy, or JAX's.
    """
    heard = mask[:, :, None]
    relative = xp.maximum(x - x.max(axis=(1, 2), keepdims=True), QUIETEST)
    frames = heard.sum(axis=1, keepdims=True) + 1e-3
    mean = (relative * heard).sum(axis=1, keepdims=True) / frames
    variance = (xp.square(relative - mean) * heard).sum(axis=1, keepdims=True) / frames
    spread = xp.sqrt(variance + 1)
    style = own * spread + (1 - own) * spread[other], own * mean + (1 - own) * mean[other]
    return xp.where(heard > 0, (relative - mean) / spread * style[0] + style[1], -100)
