"""Fitting a preset to utterances: speaker-disjoint, balanced, a good epoch kept."""

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core.emotions import to_label_set
from ser_core.lab.checkpoint import Checkpoints, Progress, fingerprint
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import FeatureSet, Front, features_of
from ser_core.lab.pooling import QUIETEST_PEAK
from ser_core.lab.presets import Preset, Schedule
from ser_core.lab.sampling import SOFTNESS, Batches, balanced_probabilities, padded
from ser_core.lab.targets import AmongTold, targets

logger = logging.getLogger(__name__)


class TrainingError(ValueError):
    """The data cannot train this preset; the message says what is missing."""


@dataclass(frozen=True)
class Labelled:
    """Features with their labels, ready to train on or to judge."""

    utterances: list[Utterance]
    features: FeatureSet
    labels: NDArray[np.int64]

    @property
    def corpora(self) -> list[str]:
        """The corpus of each utterance."""
        return [utterance.corpus for utterance in self.utterances]

    @property
    def speakers(self) -> list[str]:
        """The speaker of each utterance."""
        return [utterance.speaker for utterance in self.utterances]


def prepare(utterances: Sequence[Utterance], preset: Preset, purpose: str = "training") -> Labelled:
    """Log-mel and labels of the utterances whose emotion the preset knows.

    Raises:
        TrainingError: fewer than two classes are left; the message names the `purpose`.
    """
    key = "peak 1 " + json.dumps(preset.log_mel().get_config(), default=str, sort_keys=True)

    def log_mels(known: Sequence[Utterance]) -> FeatureSet:
        return features_of(known, front_of(preset), preset.sampling_rate, key)

    return labelled(utterances, preset.emotions, purpose, log_mels)


def front_of(preset: Preset) -> Front:
    """From a signal, `(samples,)`, to its log-mel in dB, `(frames, bands)`, its peak at 1."""
    layer = preset.log_mel()

    def front(signal: NDArray[np.float32]) -> NDArray[np.float32]:
        signal = signal / max(float(np.abs(signal).max()), QUIETEST_PEAK)
        # Whole hops only: the graph need not be traced for every length there is.
        padding = -len(signal) % preset.hop_length
        frames = -(-len(signal) // preset.hop_length)
        return np.asarray(layer(np.pad(signal, (0, padding))[None]))[0, :frames]

    return front


def labelled(
    utterances: Sequence[Utterance],
    emotions: Sequence[str],
    purpose: str,
    features: Callable[[Sequence[Utterance]], FeatureSet],
) -> Labelled:
    """`features` and labels of the utterances whose emotion is one of `emotions`.

    Raises:
        TrainingError: fewer than two classes are left; the message names the `purpose`.
    """
    known = [u for u in utterances if to_label_set(u.emotion, emotions) is not None]
    unknown = Counter(u.emotion for u in utterances) - Counter(u.emotion for u in known)
    for emotion, count in sorted(unknown.items()):
        logger.warning("%s does without %d x %r, no label of the model", purpose, count, emotion)
    _check_classes(known, emotions, purpose)
    computed = features(known)
    kept = [known[index] for index in computed.kept]
    _check_classes(kept, emotions, purpose)
    labels = [list(emotions).index(str(to_label_set(u.emotion, emotions))) for u in kept]
    return Labelled(kept, computed, np.array(labels, np.int64))


def fit(
    preset: Preset,
    train: Labelled,
    valid: Labelled,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    begin: Callable[[keras.Model], None] | None = None,
    init: Mapping[str, Any] | None = None,
    teachers: Sequence[keras.Model] = (),
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Fit `preset`; the weights of the last epoch that is `as_good` by mean UAR over the
    validation corpora.

    Every epoch leaves a checkpoint in `folder`, from which `resume` goes on. `begin` may give the
    new model other weights to begin with, those of the bundle that `init` tells of. With `teachers`
    it learns what these say on average, in place of the labels.
    Returns the model (log-mel and mask -> logits) and the figures of every epoch.

    Raises:
        TrainingError: the loss is not finite.
        CheckpointError: the checkpoint is of a training with other settings or data.
    """
    checkpoints = Checkpoints(folder, settings_of(preset, train, valid, seed, init))
    earlier = checkpoints.load() if resume else None
    keras.utils.set_random_seed(seed)
    probabilities = balanced_probabilities(
        train.corpora, train.labels, train.speakers, valid.corpora
    )
    drawn = train.features, targets_of(preset, train), probabilities
    judge = _Judge(preset, valid, checkpoints, progress)
    if earlier is not None:
        model, judge.so_far = earlier
    else:
        checkpoints.begin()
        model = preset.build()
        if begin is not None:
            begin(model)
        model.compile(
            optimizer=optimizer(preset.schedule), loss=Taught() if teachers else AmongTold()
        )
    with tqdm(
        total=preset.schedule.epochs,
        initial=len(judge.so_far.history),
        desc=preset.name,
        unit="epoch",
        disable=not progress,
    ) as judge.bar:
        for finishing in (False, True):
            begun = len(judge.so_far.history)
            end = preset.schedule.epochs if finishing else preset.schedule.first_finishing
            if begun >= end:
                continue  # what was fitted on an accelerator is not even compiled
            model.fit(
                Batches(*drawn, preset, seed, epoch=begun, finishing=finishing, teachers=teachers),
                initial_epoch=begun,
                epochs=end,
                verbose=0,
                shuffle=False,
                callbacks=[judge],
            )
    model.load_weights(checkpoints.best)
    return model, judge.so_far.history


def targets_of(preset: Preset, train: Labelled) -> NDArray[np.float32]:
    """What each utterance teaches, `(utterances, 2, classes)`."""
    smoothing = preset.schedule.label_smoothing
    return targets(train.corpora, train.labels, len(preset.emotions), smoothing)


@keras.saving.register_keras_serializable(package="ser")
class Taught(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy with what teachers say at the temperature `SOFTNESS`."""

    def call(self, said: Any, logits: Any) -> Any:
        softened = keras.losses.categorical_crossentropy(said, logits / SOFTNESS, from_logits=True)
        return SOFTNESS * softened


def settings_of(
    preset: Preset,
    train: Labelled,
    valid: Labelled,
    seed: int,
    init: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a training must have in common with the one that it resumes."""
    return {
        **asdict(preset),
        "seed": seed,
        "number of utterances": [len(train.labels), len(valid.labels)],
        "bundle to begin with": init,
        **fingerprint(train.utterances, valid.utterances),
    }


def logits(model: keras.Model, preset: Preset, data: Labelled) -> NDArray[np.float32]:
    """What `model` says of the first window of each utterance, `(utterances, classes)`."""
    answers = []
    for first in range(0, len(data.labels), 128):
        clips = [
            data.features[i][: preset.frames].astype(np.float32)
            for i in range(first, min(first + 128, len(data.labels)))
        ]
        answers.append(np.asarray(model.predict_on_batch(list(padded(clips, preset.frames)))))
    return np.concatenate(answers)


def uar(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Unweighted average recall: the mean over the classes present of the share found."""
    present = np.unique(labels)
    return float(np.mean([(predicted[labels == label] == label).mean() for label in present]))


def uar_by_corpus(
    corpora: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> dict[str, float]:
    """UAR of each corpus on its own."""
    names = np.array(corpora)
    return {
        name: uar(labels[names == name], predicted[names == name]) for name in sorted(set(corpora))
    }


def judged(valid: Labelled, predicted: NDArray[np.int64]) -> dict[str, float]:
    """UAR of each validation corpus, and their mean as `uar`."""
    corpora = uar_by_corpus(valid.corpora, valid.labels, predicted)
    # A corpus of one validation speaker says little: its weight is the root of its size.
    sizes = [valid.corpora.count(name) for name in corpora]
    return {"uar": float(np.average(list(corpora.values()), weights=np.sqrt(sizes))), **corpora}


def as_good(uar: float, history: Sequence[Mapping[str, float]], clips: int) -> bool:
    """Whether an epoch is kept in place of those before, as far as so many clips can tell.

    It is within a standard error (that of a share of the clips) of the best of them, the rule of
    Breiman et al. 1984, "Classification and Regression Trees": the later has learnt for longer, at
    smaller steps.
    """
    best = max((past["uar"] for past in history), default=0.0)
    return uar >= best - math.sqrt(best * (1 - best) / clips)


class _Judge(keras.callbacks.Callback):  # type: ignore[misc]
    """Averages the weights; after each epoch judges the average and keeps the last good one.

    The average is an exponential one that starts quickly (decay min(ema, (1 + t) / (10 + t)))
    and holds the moving statistics of batch normalisation too.
    """

    def __init__(
        self, preset: Preset, valid: Labelled, checkpoints: Checkpoints, progress: bool
    ) -> None:
        super().__init__()
        self.preset, self.valid, self.checkpoints = preset, valid, checkpoints
        self.progress = progress
        self.so_far = Progress()
        self.bar: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.so_far.average = self.so_far.average or self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        so_far = self.so_far
        so_far.steps += 1
        decay = min(self.preset.schedule.ema, (1 + so_far.steps) / (10 + so_far.steps))
        weights = self.model.get_weights()
        so_far.average = [
            decay * mean + (1 - decay) * weight
            for mean, weight in zip(so_far.average, weights, strict=True)
        ]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} in epoch {epoch + 1}")
        history = self.so_far.history
        trained = self.model.get_weights()
        self.model.set_weights(self.so_far.average)
        predicted = logits(self.model, self.preset, self.valid).argmax(axis=1)
        figures = judged(self.valid, predicted)
        if as_good(figures["uar"], history, len(self.valid.labels)):
            self.checkpoints.save_best(self.model)
        self.model.set_weights(trained)
        history.append({"loss": loss, **figures})
        self.checkpoints.save(self.model, self.so_far)
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in history[-1].items()})
        self.bar.update()
        if not self.progress:
            logger.info("epoch %d: loss %.3f, UAR %.3f", epoch + 1, loss, figures["uar"])


def _check_classes(utterances: Sequence[Utterance], emotions: Sequence[str], purpose: str) -> None:
    present = sorted({str(to_label_set(u.emotion, emotions)) for u in utterances})
    if len(present) < 2:
        raise TrainingError(
            f"{purpose} needs utterances of at least two of {', '.join(emotions)}; "
            f"here is {'only ' + present[0] if present else 'none'}"
        )


def check_heard(train: Labelled, emotions: Sequence[str], needed: Sequence[str] = ()) -> None:
    """Warn of emotions that no recording teaches.

    Raises:
        TrainingError: one of them is `needed`.
    """
    heard = np.unique(train.labels)
    unheard = [emotion for index, emotion in enumerate(emotions) if index not in heard]
    if missing := [emotion for emotion in unheard if emotion in needed]:
        raise TrainingError(f"no recording that can be trained on is {' or '.join(missing)}")
    if unheard:
        logger.warning("no utterance to train on is %s", " or ".join(unheard))


def optimizer(schedule: Schedule) -> keras.optimizers.Optimizer:
    """AdamW, its learning rate rising and then falling along a cosine."""
    total = schedule.epochs * schedule.steps
    warm_up = min(schedule.warm_up * schedule.steps, total // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=schedule.learning_rate / 100,
        warmup_target=schedule.learning_rate,
        warmup_steps=max(1, warm_up),
        decay_steps=max(1, math.ceil(total - warm_up)),
    )
    return keras.optimizers.AdamW(
        rate,
        weight_decay=schedule.weight_decay,
        global_clipnorm=5.0,
    )
