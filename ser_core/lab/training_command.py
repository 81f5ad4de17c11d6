"""`ser train`: its arguments, and what it prints."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ser_core.bundle import INFO, Bundle, is_file_name
from ser_core.emotions import normalise_label
from ser_core.lab.arguments import DATA_HELP, fraction, names, positive, seed
from ser_core.lab.augmentations import AUGMENTATIONS, AugmentationError, parse_list
from ser_core.lab.build import NetworksFitted, Order, train
from ser_core.lab.checkpoint import CheckpointError, begun
from ser_core.lab.classics import CLASSICS, Classic
from ser_core.lab.corpora import CorpusError
from ser_core.lab.export import ExportError
from ser_core.lab.presets import DEFAULT, PRESETS, Preset, preset
from ser_core.lab.search import GRIDS, SearchError, grid_of, print_trials
from ser_core.lab.splits import SplitError
from ser_core.lab.training import TrainingError
from ser_core.lab.transfer import TransferError, gentle

logger = logging.getLogger(__name__)


class UsageError(ValueError):
    """Options that do not go together, or with what is there; the message says what does."""


EXPECTED = (
    CorpusError,
    SplitError,
    TrainingError,
    CheckpointError,
    ExportError,
    UsageError,
    TransferError,
    AugmentationError,
    SearchError,
)
"""What data or an earlier training may be at fault for."""


GIVEN = ("epochs", "clips", "learning_rate")
"""Options that take the place of what the preset's schedule has."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser train --data ... [--preset NAME] [--out FOLDER]`."""
    command.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help=f"the design (default: that of the bundle to begin with, else {DEFAULT.name})",
    )
    command.add_argument(
        "--corpora", type=names, default=(), metavar="NAME,...", help="of the data (default: all)"
    )
    command.add_argument(
        "--emotions",
        type=names,
        metavar="NAME,...",
        help="the classes (default: those of the bundle to begin with, else the preset's)",
    )
    command.add_argument("--out", type=Path, help="the bundle's folder (default: models/PRESET)")
    command.add_argument("--name", help="the bundle's name (default: its folder's)")
    command.add_argument("--version", default="1.0.0", help="the bundle's version")
    command.add_argument("--note", default="", help="what its card is to say of the data")
    command.add_argument(
        "--init",
        metavar="BUNDLE",
        default="",
        help="begin with this bundle's network: fewer epochs, smaller steps (see docs/own-data.md)",
    )
    command.add_argument("--epochs", type=positive, help="other than the preset's")
    command.add_argument("--clips", type=positive, help="drawn for an epoch, likewise")
    command.add_argument(
        "--learning-rate", type=fraction, metavar="X", help="the highest, other than the preset's"
    )
    command.add_argument(
        "--teachers",
        type=positive,
        metavar="N",
        help="larger networks that are fitted first and learnt from: best with KERAS_BACKEND=jax "
        "and an accelerator (see docs/own-data.md)",
    )
    command.add_argument(
        "--augment",
        metavar="NAME,...",
        default="",
        help="a changed copy of every clip for each: " + ", ".join(AUGMENTATIONS) + "; pitch:-2..2 "
        "names a range (classic designs; the others change what they hear batch by batch)",
    )
    command.add_argument(
        "--search",
        nargs="?",
        const="quick",
        default="",
        metavar="GRID",
        help=f"try a grid of hyperparameters, quick or full ({', '.join(GRIDS)})",
    )
    command.add_argument(
        "--seed", type=seed, default=0, help="of the division by speaker, and of all else drawn"
    )
    command.add_argument("--resume", action="store_true", help="go on where a training was stopped")
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the bundle that is there",
    )


def main(options: argparse.Namespace) -> int:
    """Train, write the bundle and say how well it hears."""
    chosen = chosen_preset(options)
    out = options.out or Path("models") / chosen.name
    work = out / "work"
    goes_on = options.resume and begun(work)
    if (out / INFO).exists() and not (goes_on or options.overwrite):
        raise UsageError(
            f"{out} holds a bundle already: name another folder with --out, or replace it with "
            f"--overwrite"
        )
    name = options.name or out.resolve().name
    # A bundle that could not be loaded is not to be told of after all the training.
    if not is_file_name(name) or not options.version.strip():
        raise UsageError("--name must be a name as of a file, and --version must not be empty")
    order = Order(
        data=options.data,
        preset=chosen,
        out=out,
        name=name,
        version=options.version,
        note=options.note,
        seed=options.seed,
        resume=options.resume,
        search=options.search,
        corpora=options.corpora,
        needed=chosen.emotions if options.emotions else (),
        init=options.init,
        command=options.command,
    )
    try:
        info = train(order, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        if keeps_epochs(options, chosen) and begun(work):
            logger.warning("Finished epochs are kept: the same command with --resume goes on.")
        raise
    except NetworksFitted as e:
        print(e)
        return 0
    if options.search:
        print_trials(info["search"])
    figures, clips = info["metrics"].get("test"), "clips"
    if figures is None:
        figures = info["metrics"]["valid"]
        clips = "validation clips, which helped to choose the model"
    print(
        f"wrote {out}: UAR {figures['uar']:.3f} on {figures['n']} {clips} ({figures['protocol']})"
    )
    return 0


def keeps_epochs(options: argparse.Namespace, chosen: Preset | Classic) -> bool:
    """Whether a training that is stopped can go on: a search and scikit-learn's cannot."""
    return not options.search and (isinstance(chosen, Preset) or chosen.mlp is None)


def _preset_of(parent: Bundle | None) -> str:
    """The design of the bundle to begin with, if there is one and it tells one that is known."""
    named = parent.info.get("preset") if parent else None
    return named if named in PRESETS else DEFAULT.name


def _different(emotions: Sequence[str]) -> tuple[str, ...]:
    """The project's names of these emotions.

    Raises:
        UsageError: two of them are the same.
    """
    names = tuple(map(normalise_label, emotions))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        said = [e for e, name in zip(emotions, names, strict=True) if name == twice[0]]
        raise UsageError(f"--emotions names {twice[0]} more than once: {', '.join(said)}")
    return names


def chosen_preset(options: argparse.Namespace) -> Preset | Classic:
    """The preset that the options name, changed as they say.

    Raises:
        UsageError: they do not go with it.
        BundleError: there is no such bundle to begin with.
    """
    parent = Bundle.load(options.init) if options.init else None
    chosen = preset(options.preset or _preset_of(parent))
    if options.emotions:
        if len(options.emotions) < 2:
            raise UsageError("--emotions needs two or more to tell apart")
        chosen = replace(chosen, emotions=_different(options.emotions))
    elif parent:
        chosen = replace(chosen, emotions=tuple(parent.emotions))
    given = {name: getattr(options, name) for name in GIVEN if getattr(options, name)}
    if isinstance(chosen, Preset):
        if options.augment or options.search:
            option = "--augment" if options.augment else "--search"
            raise UsageError(f"{option} is for classic designs: {', '.join(CLASSICS)}")
        usual = gentle(chosen.schedule) if options.init else chosen.schedule
        # What begins with a bundle has learnt from its teachers already.
        chosen = replace(
            chosen, teachers=options.teachers or (0 if options.init else chosen.teachers)
        )
        return replace(chosen, schedule=replace(usual, **given))
    if options.teachers:
        raise UsageError(f"--teachers is not for {chosen.name}: classic designs learn from labels")
    if options.init:
        raise UsageError(f"--init is not for {chosen.name}: classic designs begin anew")
    if options.clips:
        raise UsageError(f"--clips is not for {chosen.name}, which hears every clip in an epoch")
    if options.search:
        grid_of(chosen, options.search)
    if options.resume and not keeps_epochs(options, chosen):
        what = "--search" if options.search else chosen.name
        raise UsageError(f"{what} begins anew, so --resume does not go with it")
    schedule = replace(chosen.schedule, **given)
    return replace(chosen, schedule=schedule, augmentation=parse_list(options.augment))
