"""Fitting on an accelerator: data, augmentation and every step of an epoch in one JAX program.

The same as `ser_core.lab.training.fit`, which draws its batches with NumPy and is made for CPUs: an
accelerator would wait for them. Needs Keras on JAX (`KERAS_BACKEND=jax`). Its checkpoint is that
of a finished training, from which `ser train --resume` goes on, on any backend.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax, random
from jax.flatten_util import ravel_pytree
from tqdm import tqdm

from ser_core.lab import device_batches as batches
from ser_core.lab.checkpoint import Checkpoints, Progress
from ser_core.lab.presets import Preset
from ser_core.lab.sampling import SOFTNESS, balanced_probabilities, padded
from ser_core.lab.training import Labelled, TrainingError, judged, optimizer, settings_of

BETAS, EPSILON = (0.9, 0.999), 1e-7
CLIP = 5.0
"""Norm of a gradient from which on it is shortened."""
CHUNK = 256
"""Clips that are judged at once."""


class Weights(NamedTuple):
    """All that a network has learnt."""

    trained: Any
    """The trainable variables, one after the other, `(parameters,)`."""
    state: Any
    """The others: moving statistics and seeds."""


class State(NamedTuple):
    """A training between two batches."""

    weights: Weights
    average: Weights
    moments: tuple[Any, Any]
    step: Any


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
    teachers: Sequence[keras.Model] = (),
) -> tuple[keras.Model, list[dict[str, float]]]:
    """As `training.fit`, but that `resume` only spares what was finished: this takes minutes."""
    checkpoints = Checkpoints(folder, settings_of(preset, train, valid, seed))
    keras.utils.set_random_seed(seed)
    model = preset.build()
    earlier = checkpoints.load() if resume else None
    if earlier is not None and len(earlier[1].history) == preset.schedule.epochs:
        model.load_weights(checkpoints.best)
        return model, earlier[1].history
    checkpoints.begin()
    if begin is not None:
        begin(model)
    data = batches.Data.of(
        train, balanced_probabilities(train.corpora, train.labels, train.speakers)
    )
    weights = weights_of(model)
    state = State(weights, weights, (jnp.zeros_like(weights.trained),) * 2, jnp.zeros((), "int32"))
    taught = _stacked([weights_of(teacher) for teacher in teachers])
    teacher = _Network(teachers[0]) if teachers else None
    judge = _Judge(preset, valid)
    history: list[dict[str, float]] = []
    best = weights
    key, epochs = random.key(seed), jnp.float32(preset.schedule.epochs)
    bar = tqdm(range(preset.schedule.epochs), preset.name, unit="epoch", disable=not progress)
    for epoch in bar:
        finishing = epoch >= preset.schedule.first_finishing
        run = _epoch(_Frozen(preset), finishing, teacher)
        state, loss = run(state, data, taught, random.fold_in(key, epoch), epochs)
        if not math.isfinite(float(loss)):
            raise TrainingError(f"the loss is {loss} in epoch {epoch + 1}")
        figures = judge(state.average)
        # Of equals the last: it has learnt for longer, where few clips cannot tell.
        if figures["uar"] >= max((past["uar"] for past in history), default=-1.0):
            best = state.average
        history.append({"loss": float(loss), **figures})
        bar.set_postfix({name: f"{value:.3f}" for name, value in history[-1].items()})
    assign(model, best)
    model.compile(optimizer(preset.schedule), "categorical_crossentropy")
    # What loads the model wants its optimizer whole, though this one has done nothing.
    model.optimizer.build(model.trainable_variables)
    checkpoints.save_best(model)
    checkpoints.save(model, Progress(history, model.get_weights(), int(state.step)))
    return model, history


class _Frozen:
    """A preset that can be the key of a cache: programs are compiled once for each."""

    def __init__(self, preset: Preset) -> None:
        # The number of epochs is an argument of the programs.
        known = replace(preset, name="", schedule=replace(preset.schedule, epochs=0))
        self.preset, self._key = preset, repr(known)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class _Network:
    """A model as a function of its weights."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        arrays = [jnp.asarray(v.value) for v in self.model.trainable_variables]
        self._unravel = ravel_pytree(arrays)[1]

    def __call__(self, weights: Weights, x: Any, mask: Any, *, training: bool) -> tuple[Any, Any]:
        """Logits `(batch, classes)` and the new state."""
        return self.model.stateless_call(  # type: ignore[no-any-return]
            self._unravel(weights.trained), weights.state, [x, mask], training=training
        )


@cache
def _network(frozen: _Frozen) -> _Network:
    return _Network(frozen.preset.build())


def weights_of(model: keras.Model) -> Weights:
    """What `model` holds, to be given to `_Network`."""
    trained = [jnp.asarray(v.value) for v in model.trainable_variables]
    state = [jnp.asarray(v.value) for v in model.non_trainable_variables]
    return Weights(ravel_pytree(trained)[0], state)


def assign(model: keras.Model, weights: Weights) -> None:
    """Give `model` these weights."""
    arrays = [jnp.asarray(v.value) for v in model.trainable_variables]
    for variable, value in zip(
        model.trainable_variables, ravel_pytree(arrays)[1](weights.trained), strict=True
    ):
        variable.assign(value)
    for variable, value in zip(model.non_trainable_variables, weights.state, strict=True):
        variable.assign(value)


@cache
def _epoch(frozen: _Frozen, finishing: bool, teacher: _Network | None) -> Any:
    """The program of one epoch -> state and mean loss.

    It is given state, data, teachers' weights, a key, and the number of all epochs.
    """
    preset, network = frozen.preset, _network(frozen)
    schedule = preset.schedule
    draw = batches.drawing(preset, finishing)
    rate = _rate(preset)

    def target(x: Any, mask: Any, y: Any, taught: Any) -> Any:
        if teacher is None:
            return y * (1 - schedule.label_smoothing) + schedule.label_smoothing / y.shape[-1]
        heard = lax.map(lambda each: teacher(each, x, mask, training=False)[0], taught)
        return jax.nn.softmax(heard.mean(axis=0) / SOFTNESS)

    def step(state: State, key: Any, data: Any, taught: Any, epochs: Any) -> tuple[State, Any]:
        x, mask, y = draw(key, data)
        y = target(x, mask, y, taught)

        def loss(trained: Any) -> tuple[Any, Any]:
            weights = Weights(trained, state.weights.state)
            logits, others = network(weights, x, mask, training=True)
            if teacher is not None:
                logits = logits / SOFTNESS
            return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(logits), axis=-1)), others

        (value, others), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights.trained)
        if teacher is not None:
            gradient = gradient * SOFTNESS
        gradient *= jnp.minimum(1, CLIP / (jnp.linalg.norm(gradient) + 1e-12))
        trained, moments = _adamw(state, gradient, rate(state.step, epochs), schedule.weight_decay)
        weights = Weights(trained, others)
        count = state.step + 1
        decay = jnp.minimum(schedule.ema, (1 + count) / (10 + count))
        average = jax.tree.map(
            lambda mean, now: (
                decay * mean + (1 - decay) * now if jnp.issubdtype(now.dtype, jnp.floating) else now
            ),
            state.average,
            weights,
        )
        return State(weights, average, moments, count), value

    @jax.jit
    def run(state: State, data: Any, taught: Any, key: Any, epochs: Any) -> tuple[State, Any]:
        keys = random.split(key, schedule.steps)
        state, losses = lax.scan(lambda s, k: step(s, k, data, taught, epochs), state, keys)
        return state, losses.mean()

    return run


def _adamw(state: State, gradient: Any, rate: Any, decay: float) -> tuple[Any, tuple[Any, Any]]:
    """One step of AdamW, as Keras takes it (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    count = (state.step + 1).astype("float32")
    first, second = state.moments
    first = BETAS[0] * first + (1 - BETAS[0]) * gradient
    second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
    size = rate * jnp.sqrt(1 - BETAS[1] ** count) / (1 - BETAS[0] ** count)
    trained = state.weights.trained * (1 - rate * decay)
    return trained - size * first / (jnp.sqrt(second) + EPSILON), (first, second)


def _rate(preset: Preset) -> Any:
    """Learning rate of a step, of so many epochs: a rise, then a cosine."""
    schedule = preset.schedule
    peak = schedule.learning_rate

    def rate(step: Any, epochs: Any) -> Any:
        total = epochs * schedule.steps
        rise = jnp.maximum(1, jnp.minimum(schedule.warm_up * schedule.steps, total // 2))
        risen = peak / 100 + (peak - peak / 100) * step / rise
        share = jnp.clip((step - rise) / jnp.maximum(1, total - rise), 0, 1)
        return jnp.where(step < rise, risen, peak * 0.5 * (1 + jnp.cos(math.pi * share)))

    return rate


class _Judge:
    """UAR of the validation corpora, as after each epoch of `training.fit`."""

    def __init__(self, preset: Preset, valid: Labelled) -> None:
        self.valid = valid
        clips = [
            np.asarray(valid.features[i][: preset.frames], np.float32)
            for i in range(len(valid.labels))
        ]
        clips += [clips[0]] * (-len(clips) % CHUNK)
        x, mask = padded(clips, preset.frames)
        self.chunks = [
            (jnp.asarray(x[i : i + CHUNK]), jnp.asarray(mask[i : i + CHUNK]))
            for i in range(0, len(clips), CHUNK)
        ]
        self.answer = _answer(_Frozen(preset))

    def __call__(self, weights: Weights) -> dict[str, float]:
        answers = np.concatenate([self.answer(weights, *chunk) for chunk in self.chunks])
        return judged(self.valid, answers[: len(self.valid.labels)].argmax(axis=1))


@cache
def _answer(frozen: _Frozen) -> Any:
    network = _network(frozen)
    return jax.jit(lambda weights, x, mask: network(weights, x, mask, training=False)[0])


def _stacked(weights: Sequence[Weights]) -> Any:
    """Several weights of one shape as one, which `lax.map` goes through."""
    return jax.tree.map(lambda *each: jnp.stack(each), *weights) if weights else ()
