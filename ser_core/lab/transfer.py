"""A network that begins with what a bundle has learnt, on data of one's own."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from ser_core.bundle import Bundle, sha256
from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import speaker_key
from ser_core.lab.export import KERAS, load_keras
from ser_core.lab.networks import NETWORK
from ser_core.lab.parts import in_words, known_by
from ser_core.lab.presets import Preset, Schedule
from ser_core.lab.relative import Parent, RelativeToProfile
from ser_core.lab.splits import Split
from ser_core.profile import Norm

logger = logging.getLogger(__name__)

EPOCHS, CLIPS = 10, 2048
"""What a network that knows speech already needs: a twentieth of what a new one does."""
LEARNING_RATE = 3e-4
EMBEDDER = "embedder"
"""The name that the network's copy without its last layer has in a bundle that knows profiles."""


class TransferError(ValueError):
    """A bundle that this network cannot begin with; the message says why."""


def gentle(schedule: Schedule) -> Schedule:
    """The schedule for a network that begins with learnt weights: shorter, in smaller steps."""
    return replace(schedule, epochs=EPOCHS, clips=CLIPS, learning_rate=LEARNING_RATE, warm_up=1)


def begin_with(model: keras.Model, bundle: Bundle, preset: Preset) -> None:
    """Give `model`, as `preset` builds it, the weights of the bundle's network.

    The last layer comes along where the emotions are the same; else it begins anew.

    Raises:
        TransferError: the bundle has no such network.
    """
    whole = load_whole(bundle)
    source = next(_networks(whole), None)
    if source is None:
        raise TransferError(f"{bundle.path} has no network that {preset.name} could begin with")
    kept, given = _weighted(model.get_layer(NETWORK)), _weighted(source)
    if source.name == EMBEDDER or bundle.emotions != preset.emotions:
        kept = [layer for layer in kept if layer.name != "logits"]
        given = [layer for layer in given if layer.name != "logits"]
    if [_shapes(layer) for layer in kept] != [_shapes(layer) for layer in given]:
        raise TransferError(
            f"{bundle.path} has another network than the preset {preset.name}: it was made with "
            f"{bundle.info.get('preset', 'an unknown one')}"
        )
    for layer, other in zip(kept, given, strict=True):
        layer.set_weights(other.get_weights())


def begin_with_bundle(
    name: str, preset: Preset, split: Split
) -> tuple[Callable[[Any], None], dict[str, Any]]:
    """What gives a new network the bundle's weights, and what is to be said of that.

    Raises:
        BundleError: there is no such bundle.
        TransferError: its network is another one, or it has several.
    """
    bundle = Bundle.load(name)
    if members := bundle.info.get("members"):
        raise TransferError(
            f"{bundle.path} is an ensemble: begin with one of its members ({', '.join(members)})"
        )
    begin = partial(begin_with, bundle=bundle, preset=preset)
    begin(preset.build())  # what is wrong shows before any time is spent
    if known := known_by(bundle.info, [*split.valid, *split.test]):
        logger.warning(
            "Warning: %s %s, by whom this one is judged; the figures flatter it.",
            bundle.name,
            in_words(known),
        )
    heard = set(bundle.info.get("speakers", []))
    own = {speaker_key(u) for u in split.train if u.speaker}
    return begin, {"init": lineage(bundle), "speakers": sorted(own | heard)}


def heads_of(name: str, preset: Preset, judges: Sequence[Utterance] = ()) -> Parent | None:
    """The heads of a bundle that hears the same emotions relative to profiles, to go on from.

    None of one that has heard some who are to judge those that go on.

    Raises:
        BundleError: there is no such bundle.
        TransferError: it cannot be loaded.
    """
    bundle = Bundle.load(name)
    if bundle.norm() is None or bundle.emotions != preset.emotions:
        return None
    if {*bundle.info.get("speakers", ())} & {speaker_key(u) for u in judges}:
        logger.warning("The heads of %s heard some who validate here: others begin anew.", name)
        return None
    layers = load_whole(bundle).get_layer("relative").layers
    # Of the network and not of bundle.json, which tells of the last speakers that it learnt from.
    (relation,) = (layer for layer in layers if isinstance(layer, RelativeToProfile))
    norm = Norm(np.array(relation.mean, np.float32), np.array(relation.spread, np.float32))
    return Parent(norm, {part.name: part for part in layers if isinstance(part, keras.Model)})


def lineage(bundle: Bundle) -> dict[str, Any]:
    """What a model that begins with `bundle` has to say of it: its data's terms go on."""
    corpora = dict(bundle.info.get("corpora", {}))
    for name, count in bundle.info.get("init", {}).get("corpora", {}).items():
        corpora[name] = corpora.get(name, 0) + count
    return {
        "name": bundle.name,
        "version": bundle.version,
        "corpora": corpora,
        # A training that is resumed must have begun with the very same weights.
        KERAS: sha256(bundle.path / KERAS),
    }


def load_whole(bundle: Bundle) -> keras.Model:
    """The Keras model of a bundle.

    Raises:
        TransferError: there is none that can be loaded.
    """
    try:
        return load_keras(bundle.path / KERAS)
    except (OSError, ValueError, TypeError) as e:
        first = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise TransferError(f"{bundle.path} has no {KERAS} that can be loaded: {first}") from e


def _networks(model: Any) -> Iterator[Any]:
    """The models named as a network in `model`, however deep."""
    for layer in getattr(model, "layers", ()):
        if layer.name in {NETWORK, EMBEDDER} and isinstance(layer, keras.Model):
            yield layer
        else:
            yield from _networks(layer)


def _weighted(model: Any) -> list[Any]:
    """Layers that hold weights, in the order in which data flows."""
    return [layer for layer in model.layers if layer.weights]


def _shapes(layer: Any) -> Sequence[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
