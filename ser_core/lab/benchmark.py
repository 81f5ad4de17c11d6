"""Training and judging presets under named protocols, one cell after the other."""

import hashlib
import json
import logging
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

import ser_core
from ser_core.bundle import INFO, Bundle
from ser_core.lab.acquaintance import heard_before
from ser_core.lab.benchmark_results import Results, Row, held
from ser_core.lab.build import NetworksFitted, Order, train_on
from ser_core.lab.calibration import expected_calibration_error
from ser_core.lab.checkpoint import CheckpointError, begun
from ser_core.lab.classics import Classic
from ser_core.lab.corpora import Utterance
from ser_core.lab.ensemble import members_of, write_ensemble
from ser_core.lab.evaluation import Outcome, figures, hear_all
from ser_core.lab.export import KERAS
from ser_core.lab.parts import in_words, known_by, usable
from ser_core.lab.presets import Preset
from ser_core.lab.protocols import Protocol, protocol
from ser_core.lab.referencing import draw_profiles
from ser_core.lab.splits import Split, SplitError
from ser_core.lab.training import TrainingError
from ser_core.prediction import Bias
from ser_core.recognizer import Recognizer

logger = logging.getLogger(__name__)

WORK = Path(".cache/benchmark")
"""Where models in training and those of finished cells are kept."""

MORE_EPOCHS, LEARNING_RATE = 12, 1e-3
"""How a model goes on where its protocol is `after` another: a whole corpus is there to learn from,
so in larger steps than with a few recordings of one's own."""

RUNS = 50
"""Runs of which the quickest tells what a window costs."""


@dataclass(frozen=True)
class Training:
    """One model to train, and the cells that are judged with it."""

    protocol: Protocol
    fold: int
    """From 1 on."""
    folds: int
    split: Split
    preset: Preset | Classic
    """With the protocol's classes."""
    seed: int
    data: str
    """Hash of the manifest."""
    first: "Training | None" = None
    """What is trained before, and gone on from."""
    members: "tuple[Training, ...]" = ()
    """What is trained before, and answers together: nothing else is trained."""

    @property
    def design(self) -> str:
        """Hash of the preset's settings."""
        preset = asdict(self.preset)
        # What is newer than finished cells, and off, is nothing that they did otherwise.
        for fields, newer in ((preset, "dynamics"), (preset["schedule"], "mixstyle")):
            if not fields.get(newer):
                fields.pop(newer, None)
        if self.protocol.begin:
            preset["begin"] = Bundle.load(self.protocol.begin).info["artefacts"].get(KERAS)
        settings = json.dumps(preset, default=str, sort_keys=True)
        return hashlib.sha256(settings.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """For people."""
        of = f" fold {self.fold}/{self.folds}" if self.folds > 1 else ""
        return f"{self.protocol.name}{of}, {self.preset.name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it is trained; another design or other data has another one."""
        name = f"{self.protocol.name}-{self.fold}-{self.preset.name}-{self.seed}"
        return WORK / f"{name}-{self.design}-{self.data}"

    @property
    def references(self) -> tuple[int, ...]:
        """Counts of references that it is judged with."""
        return self.protocol.references if getattr(self.preset, "relative", False) else (0,)

    @property
    def epochs(self) -> int:
        """Epochs at most, those of what is trained before with them, but not those of a bundle."""
        if self.members:
            return max(member.epochs for member in self.members)
        if self.protocol.begin:
            return MORE_EPOCHS
        own = self.preset.schedule.epochs
        return own if self.first is None else self.first.epochs + MORE_EPOCHS

    def key(self, references: int) -> tuple[object, ...]:
        """As `Row.key`."""
        name, preset = self.protocol.name, self.preset.name
        return (name, preset, references, self.design, self.data, self.fold, self.seed)

    def missing(self, results: Results) -> list[int]:
        """Counts of references whose cells are not finished."""
        done = {row.key for row in results.rows()}
        return [count for count in self.references if self.key(count) not in done]


def trainings(
    utterances: Sequence[Utterance],
    protocols: Sequence[Protocol],
    presets: Sequence[Preset | Classic],
    seeds: int,
    data: str,
    *,
    together: bool = False,
) -> list[Training]:
    """Every model that the cells need, in the order in which they are trained.

    With `together` come those that are made of the models of all seeds, as `ser_core.lab.ensemble`
    makes them, called `NAME-xSEEDS`.

    Raises:
        SplitError: a protocol does not go with these utterances, or another seed tests others.
    """
    plan: list[Training] = []
    for each in protocols:
        for seed in range(seeds):
            splits = each.splits(utterances, seed)
            for preset in presets:
                wanted = replace(preset, emotions=each.emotions)
                before = _before(each, utterances, preset, seed, data)
                plan += [
                    Training(
                        each, index + 1, len(splits), split, wanted, seed, data,
                        before[index % len(before)] if before else None,
                    )
                    for index, split in enumerate(splits)
                ]  # fmt: skip
    return plan + (_together(plan, seeds) if together else [])


def _before(
    each: Protocol, utterances: Sequence[Utterance], preset: Preset | Classic, seed: int, data: str
) -> list[Training]:
    """What is trained first, with the same seed: nothing where it is after no other protocol."""
    if not each.after:
        return []
    plan = trainings(utterances, [protocol(each.after)], [preset], seed + 1, data)
    return [training for training in plan if training.seed == seed]


def _together(plan: Sequence[Training], seeds: int) -> list[Training]:
    """What the models of all seeds make, of each fold of each design."""
    found: dict[tuple[str, str, int], list[Training]] = {}
    for each in plan:
        found.setdefault((each.protocol.name, each.preset.name, each.fold), []).append(each)
    made = []
    for members in found.values():
        first = members[0]
        if any(member.split.test != first.split.test for member in members):
            raise SplitError(
                f"{first.protocol.name} tests other recordings with another seed, and one model "
                "would be tested on what another heard: its seeds do not answer together."
            )
        preset = replace(first.preset, name=f"{first.preset.name}-x{seeds}")
        made.append(replace(first, preset=preset, first=None, members=tuple(members)))
    return made


def run(
    training: Training, results: Results, *, progress: bool = False, again: bool = False
) -> list[Row]:
    """Train, unless that was done before, judge what is missing, and add it to `results`.

    The cells that are finished, which may be none: where all are there already, and where another
    process is at this model. A training that was killed goes on after its last epoch. `again`
    trains and judges anew what is finished.

    Raises:
        TrainingError, ExportError: this preset cannot be trained so.
    """
    with held(training.folder.with_suffix(".lock")) as mine:
        if not mine:
            return []
        missing = training.missing(results)
        if again and not missing:
            missing = list(training.references)
            shutil.rmtree(training.folder, ignore_errors=True)
        if not missing:
            return []
        try:
            seconds = _trained(training, progress)
        except NetworksFitted as e:
            logger.info("%s", e)
            return []
        bundle = training.folder / "bundle"
        rows = list(_judged(training, Recognizer.load(bundle.resolve()), missing, seconds))
        results.add(rows)
    return rows


def _trained(training: Training, progress: bool) -> float | None:
    """Write the bundle; the seconds of training, None where it was interrupted once."""
    bundle, clock = training.folder / "bundle", training.folder / "seconds"
    if training.members:
        _answer_together(training, bundle, progress)
        return None
    if not (bundle / INFO).is_file():
        preset, init = training.preset, ""
        if training.protocol.begin:
            preset, init = _more(training), _never_heard(training)
        elif training.first is not None:
            preset, init = _going_on(training, training.first, progress)
        resume = begun(bundle / "work")
        order = Order(
            data=training.folder,
            preset=preset,
            out=bundle,
            init=init,
            name=training.preset.name,
            note=f"Trained for the protocol {training.protocol.name}, fold {training.fold}.",
            seed=training.seed,
            resume=resume,
            command=f"ser benchmark --protocol {training.protocol.name} "
            f"--preset {training.preset.name}",
        )
        keras.backend.clear_session(free_memory=True)
        # What is tested on stays out of sight until the bundle is complete.
        unseen = Split(training.split.train, training.split.valid, [])
        started = time.monotonic()
        try:
            train_on(unseen, order, progress)
        except CheckpointError as e:
            logger.warning("begun anew: %s", e)
            shutil.rmtree(bundle / "work")
            train_on(unseen, replace(order, resume=False), progress)
        if not resume:
            clock.write_text(f"{time.monotonic() - started:.1f}", encoding="utf-8")
    return float(clock.read_text(encoding="utf-8")) if clock.is_file() else None


def _answer_together(training: Training, bundle: Path, progress: bool) -> None:
    """Write the bundle that its members make, which are trained where there are none yet."""
    for member in training.members:
        if (member.folder / "bundle" / INFO).is_file():
            continue
        logger.info("%s is trained first", member.name)
        with held(member.folder.with_suffix(".lock")) as mine:
            if not mine:
                raise TrainingError(f"{member.name} is being trained: run again when that is done")
            _trained(member, progress)
    folders = [str((member.folder / "bundle").resolve()) for member in training.members]
    bundles = members_of(folders)
    # One that is there may be of members that were trained anew since.
    shutil.rmtree(bundle, ignore_errors=True)
    preset = training.members[0].preset.name
    write_ensemble(
        bundles,
        bundle,
        name=training.preset.name,
        note=f"Made for the protocol {training.protocol.name}, fold {training.fold}.",
        command=f"ser benchmark --protocol {training.protocol.name} --preset {preset} "
        f"--seeds {len(folders)} --together",
        compared=usable(training.split.valid, bundles[0].emotions, bundles[0].sampling_rate),
    )


def _going_on(training: Training, first: Training, progress: bool) -> tuple[Preset, str]:
    """How it goes on, and from which bundle, which is trained where there is none yet."""
    preset = _more(training)
    with held(first.folder.with_suffix(".lock")) as mine:
        if not mine:
            raise TrainingError(f"{first.name} is being trained: run again when that is done")
        _trained(first, progress)
    return preset, str((first.folder / "bundle").resolve())


def _more(training: Training) -> Preset:
    """The preset for a network that begins with what another one has learnt."""
    if not isinstance(training.preset, Preset):
        raise TrainingError(f"{training.preset.name} cannot go on from a model: it is begun anew")
    schedule = replace(
        training.preset.schedule, epochs=MORE_EPOCHS, learning_rate=LEARNING_RATE, warm_up=1
    )
    # As with `ser train --init`: what it begins with has learnt from its teachers already.
    return replace(training.preset, schedule=schedule, teachers=0)


def _never_heard(training: Training) -> str:
    """The bundle that the protocol begins with.

    Raises:
        TrainingError: it has heard who is tested.
    """
    bundle = Bundle.load(training.protocol.begin)
    if known := known_by(bundle.info, training.split.test):
        raise TrainingError(f"{bundle.path} {in_words(known)}, who are tested here")
    return training.protocol.begin


def _judged(
    training: Training, recognizer: Recognizer, references: Sequence[int], seconds: float | None
) -> Iterator[Row]:
    bundle = recognizer.bundle
    outcome = hear_all(recognizer, training.split.test)
    milliseconds = quickest(recognizer)
    for count in references:
        heard = outcome
        if count:
            profiles = draw_profiles(outcome, count, training.seed)
            heard = hear_all(recognizer, outcome.utterances, profiles=profiles)
        yield Row(
            protocol=training.protocol.name,
            fold=training.fold,
            folds=training.folds,
            preset=training.preset.name,
            seed=training.seed,
            references=count,
            speakers_heard=speakers_heard(training.split),
            **scored(heard, bundle.temperature, bundle.bias),
            parameters=int(bundle.info["parameters"]),
            bytes=bundle.model.stat().st_size,
            milliseconds=round(milliseconds, 3),
            epochs=training.epochs,
            seconds=seconds,
            design=training.design,
            data=training.data,
            code=code_version(),
            date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


def scored(outcome: Outcome, temperature: float, bias: Bias = ()) -> dict[str, Any]:
    """n, accuracy, UAR and ECE, the answers being among the classes that the utterances have."""
    present = np.unique(outcome.labels)
    probabilities = outcome.probabilities(temperature, bias)[:, present]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = np.searchsorted(present, outcome.labels)
    emotions = [outcome.emotions[index] for index in present]
    found = figures(emotions, labels, probabilities.argmax(axis=1))
    error = expected_calibration_error(probabilities, labels)
    return {
        "n": found["n"],
        "accuracy": round(found["accuracy"], 4),
        "uar": round(found["uar"], 4),
        "ece": round(error, 4),
    }


def speakers_heard(split: Split) -> str:
    """Whether tested speakers are on the training side too: yes, no, or unknown."""
    heard = heard_before(split.test, [*split.train, *split.valid])
    return "unknown" if heard is None else "yes" if heard else "no"


def quickest(recognizer: Recognizer, runs: int = RUNS) -> float:
    """Milliseconds that the network takes for 3 s of sound; the least, as others use the CPUs."""
    signal = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    return min(recognizer.hear(signal, 16_000).model_seconds for _ in range(runs)) * 1000


def data_version(manifest: Path) -> str:
    """The first digits of the SHA-256 of the manifest, or of the files' names in a folder."""
    if manifest.is_dir() and (manifest / "manifest.csv").is_file():
        manifest = manifest / "manifest.csv"
    if manifest.is_file():
        content = manifest.read_bytes()
    else:
        names = sorted(str(path.relative_to(manifest)) for path in manifest.rglob("*"))
        content = "\n".join(names).encode()
    return hashlib.sha256(content).hexdigest()[:8]


def code_version() -> str:
    """The commit of the source tree, or the version that is installed."""
    root = Path(ser_core.__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ser_core.__version__
    return said.stdout.strip()
