"""From labelled recordings to a written bundle: what `ser train` does."""

import contextlib
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from ser_core.bundle import CARD, INFO, Bundle, write_info
from ser_core.lab import classic_training, export, plots, training
from ser_core.lab.acquaintance import acquaintance, heard_before
from ser_core.lab.calibration import choose_threshold, expected_calibration_error, fit_temperature
from ser_core.lab.card import model_card
from ser_core.lab.classics import Classic
from ser_core.lab.corpora import Utterance
from ser_core.lab.dataset import voiced
from ser_core.lab.evaluation import Outcome, hear_all, scores, speaker_key
from ser_core.lab.export import FLOAT, INT8, KERAS
from ser_core.lab.hardening import harden_once
from ser_core.lab.heads import Judge, fit_to_profiles
from ser_core.lab.parts import judged_by, split_of, usable
from ser_core.lab.presets import Preset
from ser_core.lab.search import grid_of, search
from ser_core.lab.splits import Split
from ser_core.lab.transfer import begin_with_bundle, heads_of
from ser_core.profile import Norm
from ser_core.recognizer import Recognizer

logger = logging.getLogger(__name__)

CURVES = "training.png"


class NetworksFitted(Exception):  # noqa: N818 (nothing went wrong)
    """All is fitted that an accelerator is needed for; what is left to do needs TensorFlow."""

    def __init__(self, work: Path) -> None:
        super().__init__(
            f"The networks are fitted, in {work}. The rest needs TensorFlow: the same command with "
            f"--resume and without KERAS_BACKEND goes on."
        )


@dataclass(frozen=True)
class Order:
    """What to train, on what, and where to put it."""

    data: Path
    preset: Preset | Classic
    out: Path
    name: str
    version: str = "1.0.0"
    note: str = ""
    """What the card is to say of the data."""
    seed: int = 0
    resume: bool = False
    search: str = ""
    """Name of a grid of `ser_core.lab.search`; the best of it is kept."""
    corpora: tuple[str, ...] = ()
    """Those of `data` to use; all unless named."""
    needed: tuple[str, ...] = ()
    """Emotions that there must be recordings of to train on: those that were asked for."""
    init: str = ""
    """A bundle whose network the new one begins with: its name or folder."""
    command: str = ""


def train(order: Order, progress: bool = True) -> dict[str, Any]:
    """`train_on` the split of `order.data`.

    Raises:
        CorpusError, SplitError: nothing can be read there, or it cannot be split.
    """
    split = split_of(
        order.data,
        order.preset.emotions,
        corpora=order.corpora,
        seed=order.seed,
        needed=order.needed,
    )
    if not split.test:
        logger.warning(
            "No row is to test on: figures will be those of the validation recordings, which help "
            "to choose the model."
        )
    return train_on(split, order, progress)


def train_on(split: Split, order: Order, progress: bool = True) -> dict[str, Any]:
    """Train the preset of `order` on `split` and write its bundle; returns its `bundle.json`.

    The one way to train, for every preset that `ser_core.lab.presets.preset` knows: `split.train`
    is fitted, `split.valid` (not empty) chooses the epoch, the temperature and the threshold, and
    teaches the heads of relative designs (`ser_core.lab.heads`), `split.test` (may be empty) is
    judged. `order.data` is not read. Figures are at
    `["metrics"]["test"]`; the bundle lies in `order.out`.

    What an interrupted training leaves is in `order.out / "work"`; a bundle that was there before
    stays as it is until the new one is complete.

    Raises:
        TrainingError: the data cannot train this preset.
        CheckpointError: the training to resume is another one.
        ExportError: an exported file does not do what the Keras model does.
    """
    work = order.out / "work"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise training.TrainingError(f"{work} cannot be made: {e.strerror}") from e
    try:
        fitted = _fit(split, order, work, progress)
    except Exception:
        # Folders that nothing was written to go with what was refused.
        with contextlib.suppress(OSError):
            work.rmdir()
            order.out.rmdir()
        raise
    bundle = work / "bundle"
    bundle.mkdir(exist_ok=True)
    plot_curves(fitted, order.preset, bundle / CURVES)
    info = write_bundle(replace(order, out=bundle), fitted)
    for file in sorted(bundle.iterdir(), key=lambda file: file.name == INFO):
        file.replace(order.out / file.name)
    shutil.rmtree(work)
    return info


def _fit(split: Split, order: Order, work: Path, progress: bool) -> "Fitted":
    preset = order.preset
    # That nothing can be judged must not show only when the model is made.
    test = usable(split.test, preset.emotions, preset.sampling_rate)
    if split.test and not test:
        raise training.TrainingError(
            f"none of the {len(split.test)} recordings to test on can be used"
        )
    split = replace(split, test=test)
    if isinstance(preset, Preset):
        return fit_spectral(split, order, preset, work, progress)
    return fit_classic(split, order, preset, work, progress)


@dataclass(frozen=True)
class Fitted:
    """A whole model, and how it came about."""

    whole: Any
    """Waveform and length (and profile) -> logits."""
    history: list[dict[str, float]]
    """Figures of every epoch."""
    split: Split
    """The utterances that could be used."""
    norm: Norm | None = None
    """What is normal for the speakers, if the model hears relative to profiles."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else `bundle.json` is to say of how it was made."""
    judges: list[Judge] = field(default_factory=list)
    """Of the validation recordings, where its heads have heard these; else it is judged itself."""

    @property
    def heard(self) -> list[Utterance]:
        """Whatever a part of it was fitted to."""
        return [*self.split.train, *(self.split.valid if self.judges else ())]


def fit_spectral(
    split: Split, order: Order, preset: Preset, work: Path, progress: bool = True
) -> Fitted:
    """Fit a preset on log-mel that is augmented batch by batch."""
    # The smaller part first: what is wrong with it shows before the long one is read.
    valid_set = training.prepare(split.valid, preset, "validation")
    train_set = training.prepare(split.train, preset)
    hardened = work / "hardened.weights.h5"
    if not order.resume:
        hardened.unlink(missing_ok=True)
    begin, details = begin_with_bundle(order.init, preset, split) if order.init else (None, {})
    training.check_heard(train_set, preset.emotions, order.needed)
    how: dict[str, Any] = {"resume": order.resume, "progress": progress}
    # The steps of one program on an accelerator; on a CPU, which need not wait, one by one.
    fit = _accelerated() if keras.backend.backend() == "jax" else training.fit
    teachers = [
        fit(preset.teacher, train_set, valid_set, work / f"teacher-{n}", seed=order.seed + n, **how)
        for n in range(preset.teachers)
    ]
    model, history = fit(
        preset,
        train_set,
        valid_set,
        work,
        seed=order.seed,
        begin=begin,
        init=details.get("init"),
        teachers=[teacher for teacher, _ in teachers],
        **how,
    )
    if keras.backend.backend() != "tensorflow":
        raise NetworksFitted(work)
    readable = Split(train_set.utterances, valid_set.utterances, split.test)
    if not preset.relative:
        return Fitted(preset.whole(model), history, readable, details=details)
    if preset.teachers:
        more = {"wanted": valid_set.corpora, "seed": order.seed, "progress": progress}
        model = harden_once(hardened, preset, model, train_set, **more)
    parent = heads_of(order.init, preset, split.valid) if order.init else None
    heads = {"parent": parent, "known": details.get("speakers", ()), "seed": order.seed}
    made = fit_to_profiles(preset, model, train_set, valid_set, progress=progress, **heads)
    if made.places is not None:
        details["places"] = made.places.to_info()
    return Fitted(made.whole, history, readable, made.norm, details, made.judges)


def _accelerated() -> Any:
    try:
        from ser_core.lab import accelerated  # noqa: PLC0415 (needs JAX)
    except ImportError as e:
        raise training.TrainingError(
            f"KERAS_BACKEND=jax needs the extra accelerator, or JAX for yours: {e}"
        ) from e
    return accelerated.fit


def fit_classic(
    split: Split, order: Order, classic: Classic, work: Path, progress: bool = True
) -> Fitted:
    """Fit a classic design on values of whole windows that are computed once."""
    if keras.backend.backend() != "tensorflow":
        raise training.TrainingError(
            f"{classic.name} is fitted with TensorFlow alone: leave KERAS_BACKEND out"
        )
    grid = grid_of(classic, order.search) if order.search else None
    clips = classic_training.prepare(classic, split.train, split.valid, order.seed)
    training.check_heard(clips.train, classic.emotions, order.needed)
    readable = Split(clips.train.utterances, clips.valid.utterances, split.test)
    details: dict[str, Any] = {}
    if classic.augmentation:
        details["augmentation"] = list(classic.augmentation)
    if grid is None:
        whole, history = classic_training.fit(
            classic, clips, work, seed=order.seed, resume=order.resume, progress=progress
        )
    else:
        whole, history, details["search"] = search(
            classic, clips, grid, work, seed=order.seed, progress=progress
        )
    return Fitted(whole, history, readable, details=details)


def write_bundle(order: Order, fitted: Fitted) -> dict[str, Any]:
    """Export, check, choose what is served, calibrate, judge, and write it all down."""
    preset, out, whole, split = order.preset, order.out, fitted.whole, fitted.split
    known = fitted.details.get("speakers", ())
    _forget_training(whole)
    whole.save(out / KERAS)
    export.export_both(whole, out)
    samples = [voiced(u.path, preset.sampling_rate) for u in spread(split.valid, 20)]
    # Values without a common scale lose much in 8 bits: then the UAR below leaves that file aside.
    int8_tolerance = export.INT8_TOLERANCE if isinstance(preset, Preset) else 1.0
    agreement = export.check_both(whole, out, samples, int8_tolerance)
    info: dict[str, Any] = {
        "name": order.name,
        "version": order.version,
        "note": order.note,
        "emotions": list(preset.emotions),
        "sampling_rate": preset.sampling_rate,
        "window": preset.window,
        "hop": preset.hop,
        "temperature": 1.0,
        "threshold": 0.0,
        "serve": FLOAT,
        "preset": preset.name,
        "parameters": whole.count_params(),
        "corpora": dict(sorted(Counter(u.corpus for u in fitted.heard).items())),
        "judged_by": judged_by(split),
        "seed": order.seed,
        "command": order.command,
        **fitted.details,
        # A bundle that it began with has heard others too.
        "speakers": sorted({*known, *(speaker_key(u) for u in fitted.heard if u.speaker)}),
        "agreement_with_keras": agreement,
        "artefacts": [FLOAT, INT8, KERAS],
    }
    if fitted.norm is not None:
        info["profile"] = fitted.norm.to_info()
    outcomes = _judge(out, info, fitted)
    uars = {artefact: scores(outcome)["uar"] for artefact, outcome in outcomes.items()}
    # Half a point of UAR is within noise; the smaller file loads and runs no slower.
    info["serve"] = INT8 if uars[INT8] >= uars[FLOAT] - 0.005 else FLOAT
    valid = outcomes[info["serve"]]
    info["temperature"] = round(fit_temperature(valid), 4)
    info["threshold"] = choose_threshold(valid, info["temperature"])
    who = acquaintance(split.valid, split.train, known)
    if fitted.judges:
        who = (
            "its heads fitted without the half of the validation speakers that judges them, " + who
        )
    figures = summary(valid, info, who)
    info["metrics"] = {"valid": {**figures, "uar_by_artefact": uars}}
    write_info(out, info)
    test = hear_all(Recognizer.load(out.resolve()), split.test)
    if test.heard:
        speakers = acquaintance(split.test, [*split.train, *split.valid], known)
        info["metrics"]["test"] = summary(test, info, speakers)
        write_info(out, info)
    (out / CARD).write_text(model_card(Bundle.load(out.resolve())), encoding="utf-8")
    return info


def _judge(out: Path, info: dict[str, Any], fitted: Fitted) -> dict[str, Outcome]:
    """What each artefact hears in the validation recordings, or its judges, who are exported too.

    Leaves the last one's `bundle.json` in `out`, where there are no judges.
    """

    def hear(folder: Path, utterances: Sequence[Utterance]) -> dict[str, Outcome]:
        found = {}
        for artefact in (FLOAT, INT8):
            write_info(folder, {**info, "serve": artefact, "artefacts": [FLOAT, INT8]})
            found[artefact] = hear_all(Recognizer.load(folder.resolve()), utterances)
        return found

    if not fitted.judges:
        return hear(out, fitted.split.valid)
    parts = []
    for judge in fitted.judges:
        with TemporaryDirectory() as folder:
            export.export_both(judge.whole, Path(folder))
            parts.append(hear(Path(folder), judge.utterances))
    return {name: Outcome.together([part[name] for part in parts]) for name in (FLOAT, INT8)}


def _forget_training(model: Any) -> None:
    """Leave the optimisers of a model's parts behind, which are as large as they are twice."""
    for part in getattr(model, "layers", ()):
        _forget_training(part)
    if isinstance(model, keras.Model):
        model.optimizer, model.compiled = None, False


def plot_curves(fitted: Fitted, preset: Preset | Classic, path: Path) -> None:
    """Loss and UAR of every epoch as a picture."""
    known = fitted.details.get("speakers", ())
    new = heard_before(fitted.split.valid, fitted.split.train, known) == set()
    held_out = "Speakers" if new else "Recordings"
    finishing = preset.schedule.first_finishing if isinstance(preset, Preset) else None
    with plots.style():
        plots.learning_curves(fitted.history, held_out, finishing).savefig(path, dpi=120)


def summary(outcome: Outcome, info: dict[str, Any], speakers: str) -> dict[str, Any]:
    """Figures of an outcome for `bundle.json`; `speakers` says who they were to the model."""
    result = scores(outcome, info["temperature"])
    probabilities = outcome.probabilities(info["temperature"])
    answered = probabilities.max(axis=1) >= info["threshold"]
    right = probabilities.argmax(axis=1) == outcome.labels
    return {
        "protocol": f"exported model, {speakers}, no reference recordings",
        "n": result["n"],
        "accuracy": result["accuracy"],
        "uar": result["uar"],
        "recall": result["recall"],
        "ece": expected_calibration_error(probabilities, outcome.labels),
        "coverage": float(answered.mean()),
        "accuracy_when_certain": float(right[answered].mean()) if answered.any() else None,
        "corpora": {
            name: {"n": row["n"], "accuracy": row["accuracy"], "uar": row["uar"]}
            for name, row in result["corpora"].items()
            if row["n"]
        },
        "sexes": result["sexes"],
    }


def spread(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    """So many of them, from the first to the last evenly."""
    places = np.linspace(0, len(utterances) - 1, min(count, len(utterances)))
    return [utterances[int(place)] for place in places]
