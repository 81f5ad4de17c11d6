"""`ser batch`."""

import argparse
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Iterator
from itertools import compress

import pyarrow as pa
from tqdm import tqdm

from ser_core.audio import DEFAULT_LIMITS, Limits
from ser_core.batch import BatchError
from ser_core.batch.inputs import Listing, gather, unreadable
from ser_core.batch.output import Output
from ser_core.batch.setup import Setup, pack
from ser_core.batch.signals import Interrupted, interrupting
from ser_core.batch.storage import Place, Stores, printable
from ser_core.batch.table import made_by
from ser_core.bundle import Bundle

logger = logging.getLogger(__name__)

for name in ("ray", "psutil"):  # imported only when there is work: Ray takes seconds
    if importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def add_batch(command: argparse.ArgumentParser) -> None:
    """`ser batch INPUT... --out FILE`."""
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a file, a folder, a pattern ('calls/**/*.wav'), a manifest (.csv with a column path "
        "or file, .txt with a path a line); here, or as s3://, gs:// or any URI that fsspec knows",
    )
    command.add_argument(
        "--out", required=True, metavar="FILE", help=".parquet or .csv: one row a recording"
    )
    command.add_argument("--model", help="name or folder of a bundle (default: the one shipped)")
    again = command.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="judge only what FILE does not have yet, and add it"
    )
    again.add_argument("--overwrite", action="store_true", help="begin anew where FILE exists")
    command.add_argument(
        "--retry-errors", action="store_true", help="with --resume: judge failed ones once more"
    )
    command.add_argument(
        "--workers", type=_count, metavar="N", help="processes that judge (default: one a CPU)"
    )
    command.add_argument(
        "--max-seconds",
        type=_above_zero,
        default=DEFAULT_LIMITS.max_seconds,
        metavar="S",
        help="longer recordings are refused (default: %(default)g)",
    )
    command.add_argument(
        "--timeout",
        type=_above_zero,
        default=600.0,
        metavar="S",
        help="judging one recording longer than this is a hang (default: %(default)g)",
    )
    command.add_argument(
        "--checkpoint",
        type=_not_negative,
        default=30.0,
        metavar="S",
        help="an interrupted run loses no more than the last S seconds (default: %(default)g)",
    )
    command.epilog = (
        "Ray is started for the run; with RAY_ADDRESS=auto or HOST:PORT the cluster there does "
        "the work. Recordings that cannot be judged have their error in their row."
    )
    command.set_defaults(run=main)


def main(options: argparse.Namespace) -> int:
    """0 if the table is whole, 1 if it is not, 2 if nothing was begun, 128 and more if a signal
    ended it."""
    if options.retry_errors and not options.resume:
        print("ser: --retry-errors goes with --resume", file=sys.stderr)
        return 2
    try:
        with interrupting():
            return _run(options)
    except BatchError as e:
        print(f"ser: {e}", file=sys.stderr)
        return 1
    except Interrupted as e:
        print("ser: interrupted", file=sys.stderr)
        return e.status


def _run(options: argparse.Namespace) -> int:
    bundle = Bundle.load(options.model)
    limits = Limits(max_seconds=options.max_seconds)
    stores = Stores()
    place = Place.of(options.out, stores)
    output = Output(place, made_by(bundle, limits), options.checkpoint)
    setup = Setup(pack(bundle), stores, limits, options.timeout)
    try:
        work = _begin(options, stores, output)
        begun = time.monotonic()
        failed = _judge(work, output, setup, options.workers) if work.num_rows else 0
        output.finish()
    finally:
        output.leave()
    _sum_up(options.out, work.num_rows, failed, time.monotonic() - begun)
    return 0


def _begin(options: argparse.Namespace, stores: Stores, output: Output) -> pa.Table:
    """What is to be judged: the `location` of each recording.

    It is held for the whole run, so it is a table: as strings it would take four times as much.
    """
    listing = gather(options.inputs, stores)
    read = [*options.inputs, *([options.out] if options.out in listing else [])]
    output.refuse_inputs(Place.of(each, stores) for each in read)
    done = output.begin(
        resume=options.resume, overwrite=options.overwrite, retry_errors=options.retry_errors
    )
    work = [where for where in listing.locations if printable(where) not in done]
    _tell(listing, len(work))
    # They are bytes, since names on Linux need not be UTF-8.
    locations = [where.encode("utf-8", "surrogateescape") for where in work]
    return pa.table({"location": pa.array(locations, pa.large_binary())})


def _judge(locations: pa.Table, output: Output, setup: Setup, workers: int | None) -> int:
    """Have everything judged; returns how many recordings have an error."""
    from ser_core.batch import engine  # noqa: PLC0415 (Ray takes seconds)

    address = os.environ.get("RAY_ADDRESS", "local")
    errors = 0
    with (
        engine.running(
            None if address in ("", "local") else address, workers, locations.nbytes
        ) as ready,
        tqdm(total=locations.num_rows, unit="file", disable=None, smoothing=0.05) as progress,
    ):
        where = _many(ready.nodes, "node") if ready.is_cluster else "this machine"
        logger.info("Judging on %s with %s.", where, _many(ready.workers, "worker"))
        for rows in each_once(engine.score(locations, setup, ready), locations.num_rows):
            places = locations["location"].take(rows["index"]).to_pylist()
            files = [printable(place.decode("utf-8", "surrogateescape")) for place in places]
            output.add(rows.set_column(0, "file", pa.array(files, pa.string())))
            errors += rows.num_rows - rows["error"].null_count
            progress.update(rows.num_rows)
            if errors:
                progress.set_postfix(errors=errors, refresh=False)
    return errors


def each_once(tables: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    """The rows, each index from 0 to `count` once, whatever comes.

    Raises:
        BatchError: one never came.
    """
    missing = bytearray(b"\x01") * count
    for table in tables:
        new = []
        for index in table["index"].to_pylist():
            new.append(bool(missing[index]))
            missing[index] = 0
        yield table if all(new) else table.filter(pa.array(new))
    lost = sum(missing)
    if lost:
        first = next(compress(range(count), missing))
        raise BatchError(f"{lost} recordings have no row, number {first} first; --resume goes on")


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s'[: count != 1]}"


def _tell(listing: Listing, left: int) -> None:
    count = len(listing.locations)
    known = count - left
    notes = [f"{known:,} of them judged before"] if known else []
    if listing.left_out:
        notes.append(f"{_many(listing.left_out, 'other file')} left out")
    detail = f" ({', '.join(notes)})" if notes else ""
    logger.info("%s%s.", _many(count, "recording"), detail)
    for line in unreadable(listing.unreadable):
        logger.warning("%s.", line)


def _sum_up(out: str, count: int, failed: int, seconds: float) -> None:
    if not count:
        logger.info("%s has them all.", out)
        return
    pace = f"{_many(count, 'recording')} in {seconds:.1f} s ({count / max(seconds, 1e-9):.0f}/s)"
    trouble = f", {failed:,} of them with an error" if failed else ""
    logger.info("%s%s: %s", pace, trouble, out)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number
