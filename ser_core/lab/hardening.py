"""A network that says of a bad recording what it said of the recording as it is.

A network that has learnt goes on for a while with pairs: what it said of a clip (its embedding) is
what it is to say of one of the clip's variants, through a telephone, in noise, among others. No
label is looked at: who learns labels once more learns the voices once more
(`benchmarks/experiments.md`). Both hear the clip in another tempo and pitch each time, so that
there are more voices than speakers.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core.lab.describe import VARIANTS, varied
from ser_core.lab.presets import Preset
from ser_core.lab.sampling import balanced_probabilities, padded
from ser_core.lab.spectral import (
    add_noise,
    change_tempo,
    equalise,
    overlay,
    shift_pitch,
)
from ser_core.lab.training import Labelled, front_of

BATCH = 48
LEARNING_RATE = 1e-3
EMA = 0.995
"""Decay of the averaged weights that are kept."""
STEPS = 2500
"""Batches; later ones change little."""
AS_RECORDED = 0.2
"""Share of the draws in which the variant is the recording as it is."""
OFTEN = 0.12
"""How often there is noise, and how often there are other voices, behind a variant as well."""
EQUALISED = 0.3
"""How often a variant is heard through another channel as well."""
SHARE = 0.5
"""How far the weights go from the old to the new ones (Wortsman et al. 2022, arXiv:2109.01903):
by the distance of embeddings, half of the way is most of what bad recordings gain, and a third of
what good ones lose."""


def harden_once(
    path: Path, preset: Preset, model: keras.Model, train: Labelled, **options: Any
) -> keras.Model:
    """What `harden` gives with these options, kept at `path` for a training that is resumed."""
    if path.exists():
        hard = preset.build()
        hard.load_weights(path)
        return hard
    steps = min(STEPS, preset.schedule.relative_steps)
    hard = harden(preset, model, train, steps=steps, **options)
    partial = path.with_name(f"partial.{path.name}")
    hard.save_weights(partial)
    partial.replace(path)
    return hard


def harden(
    preset: Preset,
    model: keras.Model,
    train: Labelled,
    *,
    wanted: Collection[str] = (),
    seed: int = 0,
    steps: int = STEPS,
    progress: bool = True,
) -> keras.Model:
    """A copy of `model` (log-mel and mask -> logits) whose embedding bears bad recordings."""
    keras.utils.set_random_seed(seed)
    clips = _Clips(
        preset,
        train,
        variants=_variants(preset, train, progress),
        probabilities=balanced_probabilities(train.corpora, train.labels, train.speakers, wanted),
    )
    pairs = _Pairs(clips, preset.embedder(model), seed, steps)
    hard = preset.build()
    hard.set_weights(model.get_weights())
    student = preset.embedder(hard)
    # What is normal for a layer was learnt already, from more than is heard here.
    frozen = [layer for layer in _layers(student) if isinstance(layer, layers.BatchNormalization)]
    for layer in frozen:
        layer.trainable = False
    student.compile(optimizer=_optimizer(steps), loss=_Distance(pairs.spread()))
    with tqdm(total=steps, desc="hardening", unit="batch", disable=not progress) as bar:
        count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update())
        student.fit(pairs, verbose=0, shuffle=False, callbacks=[count])
    for layer in frozen:
        layer.trainable = True
    weights = zip(model.get_weights(), hard.get_weights(), strict=True)
    hard.set_weights([old + (SHARE * (new - old)).astype(old.dtype) for old, new in weights])
    return hard


def _layers(model: Any) -> list[Any]:
    """All layers of a model, of models in it as well."""
    found = []
    for layer in getattr(model, "layers", ()):
        found += [layer, *_layers(layer)]
    return found


def _optimizer(steps: int) -> keras.optimizers.Optimizer:
    warm_up = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, max(1, steps - warm_up), warmup_target=LEARNING_RATE, warmup_steps=warm_up
    )
    # Of a short training the average must not be mostly what there was before.
    decay = min(EMA, max(0.0, 1 - 10 / steps))
    return keras.optimizers.Adam(rate, global_clipnorm=5.0, use_ema=True, ema_momentum=decay)


class _Distance(keras.losses.Loss):  # type: ignore[misc]
    """Mean squared difference of embeddings, each place in units of its spread."""

    def __init__(self, spread: NDArray[np.float32]) -> None:
        super().__init__()
        self.scale = 1 / spread

    def call(self, heard: Any, said: Any) -> Any:
        return ops.mean(ops.square((said - heard) * self.scale), axis=-1)


@dataclass(frozen=True)
class _Clips:
    """Log-mel in dB of clips and of their variants, of one window at most."""

    preset: Preset
    train: Labelled
    variants: Sequence[Sequence[NDArray[np.float16]]]
    probabilities: NDArray[np.float64]
    """How often each clip is drawn."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of `count` clips."""
        return rng.choice(len(self.train.labels), count, p=self.probabilities)

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        return np.asarray(self.train.features[row][: self.preset.frames], np.float32)

    def pair(
        self, row: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A clip and what might have been recorded of it, in the same tempo and pitch."""
        strength, frequencies = self.preset.augmentation, self.preset.frequencies
        clip = variant = self[row]
        if rng.random() >= AS_RECORDED:
            variant = self.variants[int(rng.integers(len(self.variants)))][row].astype(np.float32)
        tempo = 1 + rng.uniform(-strength.tempo, strength.tempo)
        pitch = 1 + rng.uniform(-strength.pitch, strength.pitch)
        clip, variant = (
            shift_pitch(change_tempo(x, tempo), frequencies, pitch) for x in (clip, variant)
        )
        behind = rng.random()
        if behind < OFTEN:
            variant = add_noise(variant, rng)
        elif behind < 2 * OFTEN:
            voices = rng.choice(len(self.train.labels), int(rng.integers(1, 4)))
            variant = overlay(variant, [self[voice] for voice in voices], rng)
        if rng.random() < EQUALISED:
            variant = equalise(variant, strength.equaliser, rng)
        return clip, variant


class _Pairs(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of `([log-mel, mask] of a variant, embedding of the clip as it is)`."""

    def __init__(self, clips: _Clips, teacher: keras.Model, seed: int, steps: int) -> None:
        super().__init__(workers=1)
        self.clips, self.teacher, self.seed, self.steps = clips, teacher, seed, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rng = np.random.default_rng((self.seed, index))
        pairs = [self.clips.pair(row, rng) for row in self.clips.draw(BATCH, rng)]
        variants = padded([variant for _, variant in pairs], self.clips.preset.frames)
        return variants, self._said([clip for clip, _ in pairs])

    def spread(self) -> NDArray[np.float32]:
        """Standard deviation of the places of the embedding over clips as they are, `(k,)`."""
        rows = self.clips.draw(8 * BATCH, np.random.default_rng(self.seed))
        deviation = self._said([self.clips[row] for row in rows]).std(axis=0)
        # What hardly ever changes must not weigh without bound.
        spread: NDArray[np.float32] = deviation + 0.05 * deviation.mean() + 1e-6
        return spread

    def _said(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        heard = self.teacher.predict_on_batch([*padded(clips, self.clips.preset.frames)])
        return np.asarray(heard)


def _variants(
    preset: Preset, train: Labelled, progress: bool
) -> Sequence[Sequence[NDArray[np.float16]]]:
    """Log-mel of each variant but the recording itself and another body size, of each clip."""
    front = front_of(preset)
    chosen = range(2, VARIANTS)
    found: dict[int, list[NDArray[np.float16]]] = {variant: [] for variant in chosen}
    for variant, _, signal in varied(train.utterances, preset, chosen, progress=progress):
        found[variant].append(front(signal).astype(np.float16)[: preset.frames])
    return [found[variant] for variant in chosen]
