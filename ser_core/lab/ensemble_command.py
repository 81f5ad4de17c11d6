"""`ser ensemble`: its arguments, and what it prints."""

import argparse
from pathlib import Path

from ser_core.bundle import is_file_name
from ser_core.emotions import to_label_set
from ser_core.lab.arguments import DATA_HELP
from ser_core.lab.build import spread
from ser_core.lab.corpora import CorpusError, read
from ser_core.lab.ensemble import EnsembleError, members_of, unheard, write_ensemble
from ser_core.lab.evaluation import log_nearest, log_skipped
from ser_core.lab.export import ExportError
from ser_core.lab.parts import part_of, usable
from ser_core.lab.transfer import TransferError

EXPECTED = (CorpusError, EnsembleError, ExportError, TransferError)
"""What the bundles or the data may be at fault for."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser ensemble MODEL MODEL... --data ... [--out FOLDER]`."""
    command.add_argument("models", nargs="+", metavar="MODEL", help="names or folders of bundles")
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        help="recordings by which the files that are written are compared with Keras, and on whose "
        f"test speakers it is judged: {DATA_HELP}",
    )
    command.add_argument(
        "--out", type=Path, default=Path("models/ensemble"), help="its folder (models/ensemble)"
    )
    command.add_argument("--name", help="its name (default: its folder's)")
    command.add_argument("--version", default="1.0.0", help="its version")
    command.add_argument("--note", default="", help="what its card is to say of it")


def main(options: argparse.Namespace) -> int:
    """Write the bundle, and say how well it hears."""
    out: Path = options.out
    name = options.name or out.resolve().name
    if not is_file_name(name) or not options.version.strip():
        raise EnsembleError("--name must be a name as of a file, and --version must not be empty")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EnsembleError(f"{out} is there already: name another folder with --out")
    bundles = members_of(options.models)
    emotions, rate = bundles[0].emotions, bundles[0].sampling_rate
    reading = read(options.data)
    log_skipped(reading)
    log_nearest(reading.utterances, emotions)
    known = [u for u in reading.utterances if to_label_set(u.emotion, emotions) is not None]
    test = part_of(known, "test", {}) if any(u.split for u in known) else known
    new = usable(unheard(bundles, test), emotions, rate)
    compared = new or usable(spread(known, 40), emotions, rate)
    if not compared:
        raise CorpusError(
            f"{options.data} has no recording that can be read with a label that they know: "
            f"{', '.join(emotions)}"
        )
    info = write_ensemble(
        bundles,
        out,
        name=name,
        version=options.version,
        note=options.note,
        command=options.command,
        compared=compared,
        test=new,
    )
    figures = info["metrics"].get("test")
    if figures is None:
        print(f"wrote {out}; not judged: there is no test speaker, named, whom no member knows")
    else:
        told = f"{figures['n']} clips ({figures['protocol']})"
        print(f"wrote {out}: UAR {figures['uar']:.3f} on {told}")
    return 0
