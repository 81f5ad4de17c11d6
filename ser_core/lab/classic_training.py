"""Fitting a classic design: values of every clip once, then epochs over all of them."""

import logging
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_core.lab import augmentations
from ser_core.lab.checkpoint import Checkpoints, Progress, fingerprint
from ser_core.lab.classics import SEXES, Classic, Values
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import FeatureSet, Front, features_of
from ser_core.lab.training import Labelled, TrainingError, judged, labelled

logger = logging.getLogger(__name__)

History = list[dict[str, float]]
Tell = Callable[[dict[str, float]], None]
"""Shows the figures of an epoch."""


@dataclass(frozen=True)
class Clips:
    """What a classic design is fitted to and judged by."""

    train: Labelled
    valid: Labelled
    values: Values
    """Of the clips to train on and of their changed copies, `(clips, k)`."""
    targets: NDArray[np.int64]
    """The class of each, `(clips,)`."""
    held_out: Values
    """Of the validation clips, `(clips, k)`."""


def prepare(
    classic: Classic, train: Sequence[Utterance], valid: Sequence[Utterance], seed: int = 0
) -> Clips:
    """Values and classes of all clips, from the cache where they were computed before.

    Raises:
        TrainingError: the utterances have fewer than two of the classes, or lack a speaker's sex.
    """
    if classic.by_sex:
        train = _with_sex(classic, train)
    front = _front(classic)
    # The smaller part first: what is wrong with it shows before the long one is read.
    held_out = _labelled(classic, valid, "validation", front)
    plain = _labelled(classic, train, "training", front)
    copies = [
        _labelled(
            classic,
            plain.utterances,
            f"training with {name}",
            _changing(classic, front, name, seed),
            f"{name} {seed}",
        )
        for name in classic.augmentation
    ]
    parts = [plain, *copies]
    return Clips(
        train=plain,
        valid=held_out,
        values=np.concatenate([np.asarray(part.features.frames) for part in parts]),
        targets=np.concatenate([_targets(classic, part) for part in parts]),
        held_out=np.asarray(held_out.features.frames),
    )


def fit(
    classic: Classic,
    clips: Clips,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> tuple[keras.Model, History]:
    """Fit the network of `classic`; returns the whole model and the figures of every epoch.

    The epoch of the best mean UAR over the validation corpora is kept, and every epoch leaves a
    checkpoint in `folder`; `MLPClassifier` is over in moments, goes by its own loss alone and keeps
    its last epoch, as it does by itself.

    Raises:
        TrainingError: the loss is not finite.
        CheckpointError: the checkpoint is of a training with other settings or data.
    """
    mean, scale = _scaler(classic, clips.values)
    values, held_out = (clips.values - mean) / scale, (clips.held_out - mean) / scale
    scaled = replace(clips, values=values, held_out=held_out)
    with _bar(classic, progress) as tell:
        if classic.mlp is not None:
            network, history = _fit_mlp(classic, scaled, seed, tell)
        else:
            settings = {
                **asdict(classic),
                "seed": seed,
                "number of clips": len(clips.targets),
                **fingerprint(clips.train.utterances, clips.valid.utterances),
            }
            checkpoints = Checkpoints(folder, settings)
            network, history = _fit_keras(
                classic, scaled, checkpoints, seed, resume=resume, tell=tell
            )
    return classic.whole(network, mean, scale), history


def judge(classic: Classic, logits: NDArray[Any], valid: Labelled) -> dict[str, float]:
    """Mean UAR over the validation corpora, weighted by the root of their sizes, and each one's."""
    if classic.by_sex:
        logits = np.logaddexp(*np.split(logits, len(SEXES), axis=1))
    return judged(valid, logits.argmax(axis=1))


def kept(classic: Classic, history: History) -> dict[str, float]:
    """The figures of the epoch whose weights `fit` returns."""
    return history[-1] if classic.mlp is not None else max(history, key=lambda row: row["uar"])


def _fit_keras(
    classic: Classic, clips: Clips, checkpoints: Checkpoints, seed: int, *, resume: bool, tell: Tell
) -> tuple[keras.Model, History]:
    schedule = classic.schedule
    earlier = checkpoints.load() if resume else None
    keras.utils.set_random_seed(seed)
    if earlier is not None:
        model, history = earlier[0], earlier[1].history
    else:
        checkpoints.begin()
        model, history = classic.build(), []
        model.compile(
            optimizer=keras.optimizers.Adam(schedule.learning_rate),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        )
    one_hot = np.eye(classic.classes, dtype=np.float32)[clips.targets]
    while len(history) < schedule.epochs and not _stale(history, schedule.patience):
        order = np.random.default_rng((seed, len(history))).permutation(len(clips.targets))
        fitted = model.fit(
            clips.values[order], one_hot[order], schedule.batch, shuffle=False, verbose=0
        )
        loss = float(fitted.history["loss"][0])
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} in epoch {len(history) + 1}")
        figures = judge(classic, model.predict(clips.held_out, verbose=0), clips.valid)
        if figures["uar"] > max((past["uar"] for past in history), default=-1.0):
            checkpoints.save_best(model)
        history.append({"loss": loss, **figures})
        checkpoints.save(model, Progress(history))
        tell(history[-1])
    model.load_weights(checkpoints.best)
    return model, history


def _fit_mlp(classic: Classic, clips: Clips, seed: int, tell: Tell) -> tuple[keras.Model, History]:
    """`MLPClassifier`, epoch by epoch, so that each can be judged; then in Keras's layers."""
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415 (only this design needs it)

    schedule = classic.schedule
    mlp = MLPClassifier(
        hidden_layer_sizes=classic.options["hidden"],
        batch_size=min(schedule.batch, len(clips.targets)),
        learning_rate_init=schedule.learning_rate,
        # A generator goes on from one call to the next; a number would shuffle all epochs alike.
        random_state=np.random.RandomState(seed),
        **(classic.mlp or {}),
    )
    history: History = []
    while len(history) < schedule.epochs and not _settled(mlp, history):
        mlp.partial_fit(clips.values, clips.targets, classes=np.arange(classic.classes))
        figures = judge(classic, mlp.predict_proba(clips.held_out), clips.valid)
        history.append({"loss": float(mlp.loss_), **figures})
        tell(history[-1])
    network = classic.build()
    carry_over(mlp, network)
    return network, history


def carry_over(mlp: Any, network: keras.Model) -> None:
    """Give the dense layers of `network` the weights of a fitted `MLPClassifier`."""
    weights = [each for pair in zip(mlp.coefs_, mlp.intercepts_, strict=True) for each in pair]
    if len(mlp.classes_) == 2:
        # It has one output, for the second class; a softmax over 0 and that is the same.
        weights[-2:] = [np.concatenate([0 * each, each], axis=-1) for each in weights[-2:]]
    network.set_weights([np.asarray(each, np.float32) for each in weights])


def _settled(mlp: Any, history: History) -> bool:
    """Whether `MLPClassifier.fit` would end: no loss lower by `tol` in so many epochs."""
    best, since = math.inf, 0
    for row in history:
        since = since + 1 if row["loss"] > best - mlp.tol else 0
        best = min(best, row["loss"])
    return since > int(mlp.n_iter_no_change)


def _stale(history: History, patience: int) -> bool:
    if not history:
        return False
    uars = [row["uar"] for row in history]
    return len(uars) - 1 - uars.index(max(uars)) >= patience


def _scaler(classic: Classic, values: Values) -> tuple[Values, Values]:
    """Mean and deviation of each value, as `StandardScaler` has them; 0 and 1 if not wanted."""
    if not classic.standardised:
        return np.zeros(values.shape[1], np.float32), np.ones(values.shape[1], np.float32)
    wide = values.astype(np.float64)
    scale = wide.std(axis=0)
    scale[scale <= 10 * np.finfo(np.float32).eps * np.abs(wide).max(axis=0)] = 1
    return wide.mean(axis=0).astype(np.float32), scale.astype(np.float32)


def _labelled(
    classic: Classic, utterances: Sequence[Utterance], purpose: str, front: Front, changed: str = ""
) -> Labelled:
    key = f"{classic.values} of {classic.window} s {changed}"

    def values(known: Sequence[Utterance]) -> FeatureSet:
        return features_of(known, front, classic.sampling_rate, key, dtype=np.float32)

    return labelled(utterances, classic.emotions, purpose, values)


def _front(classic: Classic) -> Front:
    """A signal -> the values of its first window, `(1, k)`."""
    model = classic.front()

    def compute(signal: NDArray[np.float32]) -> Values:
        window = np.zeros((1, classic.samples), np.float32)
        length = min(len(signal), classic.samples)
        window[0, :length] = signal[:length]
        return np.asarray(model.predict_on_batch([window, np.array([[length]], np.int32)]))

    return compute


def _changing(classic: Classic, front: Front, name: str, seed: int) -> Front:
    """The values of a clip that was changed before, each clip in its own way."""
    change = augmentations.change(name)

    def compute(signal: NDArray[np.float32]) -> Values:
        own = zlib.crc32(signal.tobytes(), seed)
        return front(change(signal, classic.sampling_rate, own))

    return compute


def _targets(classic: Classic, data: Labelled) -> NDArray[np.int64]:
    if not classic.by_sex:
        return data.labels
    sexes = np.array([SEXES.index(utterance.sex) for utterance in data.utterances])
    targets: NDArray[np.int64] = sexes * len(classic.emotions) + data.labels
    return targets


def _with_sex(classic: Classic, utterances: Sequence[Utterance]) -> list[Utterance]:
    known = [utterance for utterance in utterances if utterance.sex in SEXES]
    if not known:
        raise TrainingError(
            f"{classic.name} learns sex and emotion together, and no recording names its "
            f"speaker's sex: fill the column sex with F or M, or train {classic.name}-8"
        )
    if len(known) < len(utterances):
        left_out = len(utterances) - len(known)
        logger.warning("training does without %d utterances of unknown sex", left_out)
    return known


@contextmanager
def _bar(classic: Classic, progress: bool) -> Iterator[Tell]:
    with tqdm(desc=classic.name, unit="epoch", disable=not progress) as bar:

        def tell(figures: dict[str, float]) -> None:
            bar.set_postfix(loss=f"{figures['loss']:.3f}", uar=f"{figures['uar']:.3f}")
            bar.update()

        yield tell
