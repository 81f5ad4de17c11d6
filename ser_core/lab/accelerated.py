"""Fitting on an accelerator: data, augmentation and every step of an epoch in one JAX program.

The same as `ser_core.lab.training.fit`, which draws its batches with NumPy and is made for CPUs: an
accelerator would wait for them. Needs Keras on JAX (`KERAS_BACKEND=jax`). Its checkpoint is that
of a finished training, from which `ser train --resume` goes on, on any backend.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
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
from ser_core.lab.targets import AmongTold
from ser_core.lab.training import (
    Labelled,
    Taught,
    TrainingError,
    as_good,
    judged,
    optimizer,
    settings_of,
    targets_of,
)

CHUNK = 256
"""Clips that are judged at once."""


class Weights(NamedTuple):
    """All that a network has learnt."""

    trained: Any
    """The trainable variables, one after the other, `(parameters,)`: one array to step on, not one
    for each layer."""
    state: Any
    """The others: moving statistics and seeds."""


class State(NamedTuple):
    """A training between two batches."""

    weights: Weights
    average: Weights
    optimizer: Any
    """Its variables."""
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
    init: Mapping[str, Any] | None = None,
    teachers: Sequence[keras.Model] = (),
) -> tuple[keras.Model, list[dict[str, float]]]:
    """As `training.fit`, but that `resume` only spares what was finished: this takes minutes."""
    checkpoints = Checkpoints(folder, settings_of(preset, train, valid, seed, init))
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
        train.features,
        targets_of(preset, train),
        balanced_probabilities(train.corpora, train.labels, train.speakers, valid.corpora),
    )
    network = _Network(model)
    kept = network.weights()
    rule = _rule(preset, kept)
    variables = [variable.value for variable in rule.variables]
    state = State(kept, kept, variables, jnp.zeros((), "int32"))
    teacher = _Network(teachers[0]) if teachers else None
    taught = _stacked([_Network(each).weights() for each in teachers])
    judge = _Judge(preset, valid)
    history: list[dict[str, float]] = []
    key = random.key(seed)
    bar = tqdm(range(preset.schedule.epochs), preset.name, unit="epoch", disable=not progress)
    for epoch in bar:
        run = _epoch(_Frozen(preset), epoch >= preset.schedule.first_finishing, teacher)
        state, loss = run(state, data, taught, random.fold_in(key, epoch))
        if not math.isfinite(float(loss)):
            raise TrainingError(f"the loss is {loss} in epoch {epoch + 1}")
        figures = judge(state.average)
        if as_good(figures["uar"], history, len(valid.labels)):
            kept = state.average
        history.append({"loss": float(loss), **figures})
        bar.set_postfix({name: f"{value:.3f}" for name, value in history[-1].items()})
    network.assign(kept)
    checkpoints.save_best(model)
    checkpoints.save(model, Progress(history, model.get_weights(), int(state.step)))
    return model, history


class _Frozen:
    """A preset that can be the key of a cache: programs are compiled once for each."""

    def __init__(self, preset: Preset) -> None:
        self.preset, self._key = preset, repr(replace(preset, name=""))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class _Network:
    """A model as a function of its weights."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._apart = ravel_pytree([v.value for v in model.trainable_variables])[1]

    def __call__(self, weights: Weights, x: Any, mask: Any, *, training: bool) -> tuple[Any, Any]:
        """Logits `(batch, classes)` and the new state."""
        return self.model.stateless_call(  # type: ignore[no-any-return]
            self._apart(weights.trained), weights.state, [x, mask], training=training
        )

    def weights(self) -> Weights:
        """What the model holds."""
        trained = [variable.value for variable in self.model.trainable_variables]
        state = [variable.value for variable in self.model.non_trainable_variables]
        return Weights(ravel_pytree(trained)[0], state)

    def assign(self, weights: Weights) -> None:
        """Have the model hold these."""
        values = [*self._apart(weights.trained), *weights.state]
        variables = [*self.model.trainable_variables, *self.model.non_trainable_variables]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _rule(preset: Preset, weights: Weights) -> keras.optimizers.Optimizer:
    """`training.fit`'s optimizer, for the one array of trainable weights."""
    rule = optimizer(preset.schedule)
    rule.build([keras.Variable(weights.trained)])
    return rule


@cache
def _network(frozen: _Frozen) -> _Network:
    return _Network(frozen.preset.build())


@cache
def _epoch(frozen: _Frozen, finishing: bool, teacher: _Network | None) -> Any:
    """The program of one epoch: state, data, teachers' weights and key -> state and mean loss."""
    preset, network = frozen.preset, _network(frozen)
    schedule = preset.schedule
    draw = batches.drawing(preset, finishing)
    rule = _rule(preset, network.weights())

    def target(x: Any, mask: Any, y: Any, taught: Any) -> Any:
        if teacher is None:
            return y
        heard = lax.map(lambda each: teacher(each, x, mask, training=False)[0], taught)
        return jax.nn.softmax(heard.mean(axis=0) / SOFTNESS)

    penalty = AmongTold() if teacher is None else Taught()

    def step(state: State, key: Any, data: Any, taught: Any) -> tuple[State, Any]:
        x, mask, y = draw(key, data)
        y = target(x, mask, y, taught)

        def loss(trained: Any) -> tuple[Any, Any]:
            weights = Weights(trained, state.weights.state)
            logits, others = network(weights, x, mask, training=True)
            return penalty(y, logits), others

        (value, others), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights.trained)
        (trained,), variables = rule.stateless_apply(
            state.optimizer, [gradient], [state.weights.trained]
        )
        weights, count = Weights(trained, others), state.step + 1
        decay = jnp.minimum(schedule.ema, (1 + count) / (10 + count))
        average = jax.tree.map(partial(_averaged, decay), state.average, weights)
        return State(weights, average, variables, count), value

    @jax.jit
    def run(state: State, data: Any, taught: Any, key: Any) -> tuple[State, Any]:
        keys = random.split(key, schedule.steps)
        state, losses = lax.scan(lambda s, k: step(s, k, data, taught), state, keys)
        return state, losses.mean()

    return run


def _averaged(decay: Any, mean: Any, now: Any) -> Any:
    """Seeds have no mean."""
    is_number = jnp.issubdtype(now.dtype, jnp.floating)
    return decay * mean + (1 - decay) * now if is_number else now


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
