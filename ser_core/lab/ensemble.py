"""Several bundles as one, which answers what they say on average.

Networks that learnt the same from other beginnings are wrong in other places: their mean is right
more often than most of them. What they compute alike, the spectrum and the functionals, a LiteRT
file computes once.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from ser_core.bundle import CARD, Bundle, BundleError, write_info
from ser_core.lab.acquaintance import PERHAPS_HEARD, acquaintance
from ser_core.lab.build import spread, summary
from ser_core.lab.card import model_card
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import voiced
from ser_core.lab.evaluation import hear_all, speaker_key
from ser_core.lab.export import FLOAT, INT8, INT8_TOLERANCE, KERAS, check_both, export_both
from ser_core.lab.places import Places
from ser_core.lab.presets import FUNCTIONALS, LOGITS
from ser_core.lab.transfer import lineage, load_whole
from ser_core.profile import Norm
from ser_core.recognizer import Recognizer

PRESET = "ensemble"
"""What `bundle.json` calls the design."""


class EnsembleError(ValueError):
    """Bundles that cannot answer together; the message says why."""


def members_of(names: Sequence[str]) -> list[Bundle]:
    """The bundles of these names or folders.

    Raises:
        BundleError: there is no such bundle.
        EnsembleError: they cannot answer together.
    """
    bundles = [Bundle.load(name) for name in names]
    check(bundles)
    return bundles


def check(bundles: Sequence[Bundle]) -> None:
    """Raises `EnsembleError` for bundles that cannot answer together."""
    if keras.backend.backend() != "tensorflow":
        raise EnsembleError("an ensemble is made with TensorFlow alone: leave KERAS_BACKEND out")
    if len(bundles) < 2:
        raise EnsembleError("an ensemble has two bundles or more")
    first = bundles[0]
    for number, bundle in enumerate(bundles):
        if bundle.path.resolve() in {other.path.resolve() for other in bundles[:number]}:
            raise EnsembleError(f"{bundle.path} is named twice")
        if not (bundle.path / KERAS).is_file():
            raise EnsembleError(f"{bundle.path} has no {KERAS}, which an ensemble is made of")
        if bundle.home() is not None:
            raise EnsembleError(
                f"{bundle.path} was fitted to where it is used (home in bundle.json): make the "
                "ensemble of the bundles as they were, and calibrate that"
            )
        for what in ("emotions", "sampling_rate", "window", "hop"):
            mine, its = getattr(first, what), getattr(bundle, what)
            if mine != its:
                raise EnsembleError(
                    f"{first.path} and {bundle.path} do not go together: {what} "
                    f"{_said(mine)}, and {_said(its)}"
                )


def together(bundles: Sequence[Bundle]) -> keras.Model:
    """One model of all: waveform and length -> logits, the mean of their log-probabilities.

    Each is at its own temperature and bias. Those that hear relative to a profile are given their
    parts of one, `(batch, k)`, and its count `(batch, 1)`: it holds their functionals in turn.
    """
    wholes = [_whole(bundle) for bundle in bundles]
    waveform, length = (
        keras.Input(each.shape[1:], dtype=each.dtype, name=each.name)
        for each in wholes[0].inputs[:2]
    )
    sizes = [whole.inputs[2].shape[1] if len(whole.inputs) > 2 else 0 for whole in wholes]
    profile = keras.Input((sum(sizes),), name="profile") if any(sizes) else None
    count = keras.Input((1,), name="count") if any(sizes) else None
    said, functionals, start = [], [], 0
    for number, (bundle, whole, size) in enumerate(zip(bundles, wholes, sizes, strict=True)):
        whole.name = f"member_{number}"
        known = [profile[:, start : start + size], count] if profile is not None and size else []
        start += size
        answer = whole([waveform, length, *known])
        bias = list(bundle.bias) or [0.0] * len(bundle.emotions)
        calibrated = layers.Rescaling(1 / bundle.temperature, bias)(answer[LOGITS])
        said.append(layers.Activation("log_softmax")(calibrated))
        functionals += [answer[FUNCTIONALS]] if size else []
    answers = {LOGITS: layers.Average()(said)}
    if profile is None:
        return keras.Model([waveform, length], answers)
    answers[FUNCTIONALS] = (
        layers.Concatenate()(functionals) if len(functionals) > 1 else functionals[0]
    )
    return keras.Model([waveform, length, profile, count], answers)


def write_ensemble(
    bundles: Sequence[Bundle],
    out: Path,
    *,
    name: str,
    version: str = "1.0.0",
    note: str = "",
    command: str = "",
    compared: Sequence[Utterance],
    test: Sequence[Utterance] = (),
) -> dict[str, Any]:
    """Write the bundle of all these in the folder `out`, complete or not at all.

    Its files are compared with Keras on some recordings of `compared`, and it is judged by `test`.
    Returns its `bundle.json`.

    Raises:
        EnsembleError: they cannot answer together.
        TransferError: what Keras has of one cannot be loaded.
        ExportError: an exported file does not do what the Keras model does.
        BundleError: the folder cannot be written.
    """
    check(bundles)
    whole = together(bundles)
    info = described(bundles, whole) | {
        "name": name,
        "version": version,
        "note": note,
        "command": command,
    }
    samples = [voiced(u.path, info["sampling_rate"]) for u in spread(compared, 20)]
    # Whoever serves the float is not refused for what 8 bits cost.
    int8_tolerance = INT8_TOLERANCE if info["serve"] == INT8 else 1.0
    out = out.resolve()
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        whole.save(partial / KERAS)
        export_both(whole, partial)
        info["agreement_with_keras"] = check_both(whole, partial, samples, int8_tolerance)
        write_info(partial, info)
        _judge(partial, info, test)
        (partial / CARD).write_text(model_card(Bundle.load(partial.resolve())), encoding="utf-8")
        partial.rename(out)
    except OSError as e:
        raise BundleError(f"{out} cannot be written: {e.strerror or e}") from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return info


def unheard(bundles: Sequence[Bundle], utterances: Sequence[Utterance]) -> list[Utterance]:
    """Those of speakers whom none of the bundles was trained on, chosen or calibrated by."""
    known = {*_heard(bundles), *_chose(bundles)}
    return [u for u in utterances if u.speaker and speaker_key(u) not in known]


def described(bundles: Sequence[Bundle], whole: keras.Model) -> dict[str, Any]:
    """What `bundle.json` says of the ensemble `whole`, but for its name and figures."""
    first = bundles[0]
    corpora: dict[str, int] = {}
    for bundle in bundles:
        # The terms of whatever a member began with are the ensemble's as well.
        for corpus, count in lineage(bundle)["corpora"].items():
            corpora[corpus] = max(count, corpora.get(corpus, 0))
    heard, chose = _heard(bundles), _chose(bundles)
    named = all(bundle.info.get("speakers") and bundle.info.get("judged_by") for bundle in bundles)
    info: dict[str, Any] = {
        "emotions": list(first.emotions),
        "sampling_rate": first.sampling_rate,
        "window": first.window,
        "hop": first.hop,
        "temperature": 1.0,
        "threshold": round(float(np.mean([bundle.threshold for bundle in bundles])), 4),
        "serve": INT8 if all(bundle.model.name == INT8 for bundle in bundles) else FLOAT,
        "preset": PRESET,
        "members": [f"{bundle.name} {bundle.version}" for bundle in bundles],
        "parameters": whole.count_params(),
        "corpora": dict(sorted(corpora.items())),
        "judged_by": {"valid": sorted(chose), "test": []} if named else {},
        "speakers": sorted(heard),
        "artefacts": [FLOAT, INT8, KERAS],
        "metrics": {},
    }
    norms = [norm for bundle in bundles if (norm := bundle.norm()) is not None]
    if norms:
        norm = Norm(
            *(np.concatenate([getattr(n, what) for n in norms]) for what in ("mean", "spread"))
        )
        info["profile"] = norm.to_info()
    # The first one's functionals stand first in a profile: where its corpora lie, all others' do.
    places = [Places.of_bundle(bundle) for bundle in bundles]
    if places[0] is not None and all(
        each is not None and {*each.means} == {*places[0].means} for each in places
    ):
        info["places"] = places[0].to_info()
    return info


def _whole(bundle: Bundle) -> keras.Model:
    whole = load_whole(bundle)
    logits = whole.output.get(LOGITS) if isinstance(whole.output, dict) else None
    if logits is None or logits.shape[-1] != len(bundle.emotions):
        raise EnsembleError(
            f"{bundle.path / KERAS} does not answer with logits of {len(bundle.emotions)} emotions"
        )
    return whole


def _judge(folder: Path, info: dict[str, Any], test: Sequence[Utterance]) -> None:
    """Add the figures of the test recordings to `bundle.json`, if there are any."""
    outcome = hear_all(Recognizer.load(folder.resolve()), test) if test else None
    if outcome is None or not outcome.heard:
        return
    who = PERHAPS_HEARD
    if info["judged_by"]:
        who = acquaintance(outcome.utterances, [], info["speakers"])
        info["judged_by"]["test"] = sorted({*map(speaker_key, outcome.utterances)})
    info["metrics"]["test"] = summary(outcome, info, who)
    write_info(folder, info)


def _heard(bundles: Sequence[Bundle]) -> set[str]:
    return {speaker for bundle in bundles for speaker in bundle.info.get("speakers", ())}


def _chose(bundles: Sequence[Bundle]) -> set[str]:
    return {
        speaker
        for bundle in bundles
        for speaker in bundle.info.get("judged_by", {}).get("valid", ())
    }


def _said(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else f"{value:g}"
