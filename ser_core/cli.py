"""The `ser` command."""

import argparse
import errno
import importlib
import io
import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence

from ser_core import __version__
from ser_core.audio import AudioError
from ser_core.bundle import BundleError
from ser_core.extras import lacking
from ser_core.profile import Profile, ProfileError
from ser_core.recognizer import Prediction, Recognizer

LAB = {
    "train": "train a model on labelled recordings",
    "evaluate": "judge a model on labelled recordings",
    "benchmark": "train and judge designs under named protocols",
    "export": "write a model as another runtime wants it",
    "robustness": "judge a model under noise, codecs, lines, levels and rooms",
    "ensemble": "make one model of several, which answers what they say on average",
    "calibrate": "fit a model to where it is used, by some recordings of your own",
    "explore": "look at labelled recordings: balance, spectra, features",
    "features": "write acoustic features of recordings to a file",
}
"""Commands that need the [train] extra, from `ser_core.lab.commands`."""

BATCH = {"batch": "judge many recordings into one table"}
"""Commands that need the [batch] extra, from `ser_core.batch.command`."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Of a disk, a quota or a limit that is full; what wrote may not say which file it was."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ser_core").setLevel(logging.INFO)
    options = None
    try:
        options = _options(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
    except (BundleError, ProfileError) as e:
        print(f"ser: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ser: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads the output has had enough
        _write_nowhere()
        return 1
    except OSError as e:
        if options is None or (what := _failed(e, options)) is None:
            raise
        print(f"ser: {what}: {os.strerror(e.errno) if e.errno else _reason(e)}", file=sys.stderr)
        return 1
    return status


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """What was typed; what a command needs to understand it is imported here."""
    parser, commands = _parser()
    if arguments and arguments[0] in LAB:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        _complete(commands[arguments[0]], arguments[0], "ser_core.lab.commands", "train")
    elif arguments and arguments[0] in BATCH:
        _complete(commands[arguments[0]], arguments[0], "ser_core.batch.command", "batch")
    options = parser.parse_args(arguments)
    options.command = shlex.join(["ser", *arguments])
    return options


def _failed(error: OSError, options: argparse.Namespace) -> str | None:
    """What could not be read or written; None where it is no file of the user's."""
    if error.filename is not None:
        return str(error.filename)
    if options.run is predict:  # what it cannot read it says itself
        _write_nowhere()
        return "the output cannot be written"
    if error.errno not in NO_ROOM:
        return None
    try:
        sys.stdout.flush()
    except OSError:
        _write_nowhere()
        return "the output cannot be written"
    return "a file cannot be written"


def serve(options: argparse.Namespace) -> int:
    """Become gunicorn: one process less to pass signals through."""
    settings = {
        "HOST": options.host,
        "PORT": options.port,
        "SER_WORKERS": options.workers,
        "SER_THREADS": options.threads,
    }
    os.environ.update({name: str(value) for name, value in settings.items() if value is not None})
    command = [sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_config"]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, "api:create_app()"])  # noqa: S606 (no shell is wanted)


def _write_nowhere() -> None:
    """At its exit Python would flush the output once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def predict(options: argparse.Namespace) -> int:
    """Judge files; a bad one is named and does not stop the others."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names on Linux are bytes: they are printed as they came, whatever the locale holds of it.
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    recognizer = Recognizer.load(options.model)
    profile = _profile(recognizer, options.reference) if options.reference else None
    status = 0
    for file in options.files:
        try:
            prediction = recognizer.predict(file, profile=profile, adapt=options.adapt)
        except (AudioError, OSError) as e:
            status = 1
            if options.json:
                print(json.dumps({"file": file, "error": _reason(e)}))
            else:
                print(f"{file}: {_reason(e)}", file=sys.stderr)
            continue
        if options.json:
            print(json.dumps({"file": file, **prediction.to_dict(options.timeline)}))
        else:
            _show(file, prediction, options.timeline)
    return status


def _profile(recognizer: Recognizer, references: Sequence[str]) -> Profile:
    """What is normal for the speaker.

    Raises:
        ProfileError: the bundle knows no profiles, or a recording cannot be used.
    """
    profile: Profile | None = None
    for file in references:
        try:
            described = recognizer.profile(file)
        except (AudioError, OSError) as e:
            raise ProfileError(f"reference {file}: {_reason(e)}") from e
        profile = described if profile is None else profile.update(described)
    if profile is None:
        raise ProfileError("a profile needs at least one recording")
    return profile


def _reason(error: AudioError | OSError) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _show(file: str, prediction: Prediction, timeline: bool) -> None:
    doubt = "  (uncertain)" if prediction.uncertain else ""
    print(f"{file}: {prediction.emotion} {prediction.confidence:.0%}{doubt}")
    if timeline:
        for segment in prediction.segments:
            span = f"{segment.start:7.1f} - {segment.end:.1f} s"
            heard = f"{segment.emotion} {segment.confidence:.0%}" if segment.speech else "no speech"
            print(f"  {span:18} {heard}")


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(prog="ser", description="Which emotion does a voice carry?")
    parser.add_argument("--version", action="version", version=f"ser {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    command = subparsers.add_parser("serve", help="answer over HTTP")
    command.add_argument("--host", help="address to listen on (HOST; default 127.0.0.1)")
    command.add_argument("--port", type=int, help="port to listen on (PORT; default 8000)")
    command.add_argument("--workers", type=int, help="processes (SER_WORKERS)")
    command.add_argument("--threads", type=int, help="threads of each (SER_THREADS)")
    command.set_defaults(run=serve)

    # FILE first: what follows `--reference` are all references.
    command = subparsers.add_parser(
        "predict",
        help="judge recordings",
        usage="ser predict FILE [FILE ...] [--model MODEL] [--json] [--timeline] [--adapt]\n"
        "                   [--reference FILE [FILE ...]]",
    )
    command.add_argument("files", nargs="+", metavar="FILE")
    command.add_argument("--model", help="name or folder of a bundle (default: the one shipped)")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.add_argument("--timeline", action="store_true", help="every window, not only the whole")
    command.add_argument(
        "--reference",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="other recordings of the same speaker: what is normal for this voice",
    )
    command.add_argument(
        "--adapt",
        action="store_true",
        help="in a long recording of one speaker, let the earlier parts say what is normal",
    )
    command.set_defaults(run=predict)

    extra = {
        name: subparsers.add_parser(name, help=text, description=text)
        for name, text in (LAB | BATCH).items()
    }
    return parser, extra


def _complete(command: argparse.ArgumentParser, name: str, module: str, extra: str) -> None:
    """Add a command's arguments; what it needs is imported only when it is called."""
    try:
        commands = importlib.import_module(module)
        getattr(commands, f"add_{name}")(command)
    except ModuleNotFoundError as e:
        command.error(f"`ser {name}` needs {lacking(e.name, extra)}")


if __name__ == "__main__":
    sys.exit(main())
