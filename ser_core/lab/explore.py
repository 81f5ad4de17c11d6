"""`ser explore`: one page to look into labelled recordings before anything is trained on them."""

import argparse
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from ser_core.emotions import EMOTIONS_8
from ser_core.lab import explore_sounds, plots
from ser_core.lab import report_page as html
from ser_core.lab.arguments import DATA_HELP, folder
from ser_core.lab.corpora import CorpusError, Reading, Utterance, read
from ser_core.lab.evaluation import log_skipped, speaker_key

logger = logging.getLogger(__name__)

EXPECTED = (CorpusError,)
NAME = "explore.html"
MOST_LENGTHS = 4000
"""Recordings whose length is looked up; of more, so many evenly chosen ones."""
SPEAKERS_SHOWN = 12


def add_arguments(command: argparse.ArgumentParser) -> None:
    """`ser explore MANIFEST --report FOLDER`."""
    command.add_argument("data", type=Path, metavar="MANIFEST", help=DATA_HELP)
    command.add_argument(
        "--report", type=folder, required=True, metavar="FOLDER", help="where the page is written"
    )


def main(options: argparse.Namespace) -> int:
    """Write the page."""
    reading = read(options.data)
    log_skipped(reading)
    print(f"wrote {write_report(options.report, reading, str(options.data))}")
    return 0


def write_report(folder: Path, reading: Reading, data: str) -> Path:
    """Write the page about the utterances of `reading`, which came from `data`.

    Raises:
        CorpusError: there are none.
    """
    utterances = reading.utterances
    if not utterances:
        raise CorpusError(f"{data} has no utterances to look at")
    emotions = order_of(utterances)
    with plots.style():
        parts = [
            *_balance(utterances, emotions),
            *_speakers(utterances, emotions),
            *_lengths(utterances, emotions),
            *explore_sounds.sections(utterances, emotions),
            *_left_out(reading),
        ]
    lead = f"Read from {html.escape(data)}. Nothing here has been trained on or judged."
    return html.write(folder, NAME, html.page("A look at the recordings", lead, parts))


def order_of(utterances: Sequence[Utterance]) -> list[str]:
    """The emotions that occur: the known ones in their usual order, then others by name."""
    found = {u.emotion for u in utterances}
    return [e for e in EMOTIONS_8 if e in found] + sorted(found - {*EMOTIONS_8})


def _balance(utterances: Sequence[Utterance], emotions: Sequence[str]) -> Iterator[str]:
    counts = Counter(u.emotion for u in utterances)
    speakers = {speaker_key(u) for u in utterances if u.speaker}
    corpora = sorted({u.corpus for u in utterances})
    yield html.tiles(
        [
            (f"{len(utterances):,}", "recordings"),
            (f"{len(speakers):,}", "speakers that are named"),
            (f"{len(corpora)}", "corpora"),
            (f"{len(emotions)}", "emotions"),
        ]
    )
    most, least = counts.most_common()[0], counts.most_common()[-1]
    ratio = most[1] / least[1]
    told = (
        f"There are {ratio:.1f} times as many of {html.escape(most[0])} as of "
        f"{html.escape(least[0])}. "
        if ratio >= 1.5
        else "The emotions are well balanced. "
    )
    advice = (
        "A model left to itself answers what it met most often, and accuracy then flatters it: "
        "training draws the classes evenly, and UAR counts each of them the same."
    )
    rows = []
    for corpus in corpora:
        own = Counter(u.emotion for u in utterances if u.corpus == corpus)
        total = sum(own.values())
        cells = [(own[e] / total, f"{own[e]:,}" if own[e] else "", "") for e in emotions]
        rows.append((f"{corpus or 'unnamed'} ({total:,})", cells))
    if len(corpora) > 1:
        n = len(utterances)
        totals = [(counts[e] / n, f"{counts[e]:,}", f"{counts[e] / n:.0%}") for e in emotions]
        rows.append((f"all ({n:,})", totals))
    yield html.section(
        "How many of which emotion", told + advice, html.heat_table("", emotions, rows)
    )


def _speakers(utterances: Sequence[Utterance], emotions: Sequence[str]) -> Iterator[str]:
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.speaker:
            by_speaker[speaker_key(utterance)].append(utterance)
    nameless = sum(not u.speaker for u in utterances)
    told = (
        "Speakers matter more than recordings: a model is to be judged on voices it never heard, "
        "so each speaker may be on one side of a split only."
    )
    if nameless:
        told += (
            f" <b>{nameless:,} recordings name no speaker</b>: whether a split keeps voices apart "
            "cannot be known for them."
        )
    groups: list[tuple[str, Callable[[Utterance], str]]] = [
        ("sex", lambda u: {"F": "women", "M": "men"}.get(u.sex, "not stated")),
        ("split", lambda u: u.split or "none given"),
        ("intensity", lambda u: u.intensity or "not stated"),
    ]
    tables = []
    for title, key in groups:
        names = Counter(key(u) for u in utterances)
        if title == "intensity" and [*names] == ["not stated"]:
            continue
        rows = []
        for name, count in names.most_common():
            own = {speaker_key(u) for u in utterances if u.speaker and key(u) == name}
            share = count / len(utterances)
            rows.append(
                (html.escape(name), f"{count:,}", html.barred(share, f"{share:.0%}"), str(len(own)))
            )
        tables.append("<div>" + html.table((title, "recordings", "", "speakers"), rows) + "</div>")
    shown = [f'<div class="side">{"".join(tables)}</div>']
    if by_speaker:
        shown.append("<h3>Those with the most and the fewest recordings</h3>")
        shown.append(_speaker_table(by_speaker, emotions))
    yield html.section("Who speaks", told, *shown)


def _speaker_table(by_speaker: dict[str, list[Utterance]], emotions: Sequence[str]) -> str:
    ordered = sorted(by_speaker, key=lambda name: (-len(by_speaker[name]), name))
    half = SPEAKERS_SHOWN // 2
    picked = ordered if len(ordered) <= SPEAKERS_SHOWN else [*ordered[:half], *ordered[-half:]]
    most = len(by_speaker[ordered[0]])
    rows = []
    for name in picked:
        own = Counter(u.emotion for u in by_speaker[name])
        total = sum(own.values())
        rows.append(
            (
                html.escape(name),
                html.barred(total / most, f"{total:,}"),
                *(str(own[e]) if own[e] else "" for e in emotions),
            )
        )
    return html.table(("speaker", "recordings", *emotions), rows)


def _lengths(utterances: Sequence[Utterance], emotions: Sequence[str]) -> Iterator[str]:
    step = max(1, -(-len(utterances) // MOST_LENGTHS))
    chosen = utterances[::step]
    with ThreadPoolExecutor(4) as pool:
        found = [
            (u, seconds)
            for u, seconds in zip(chosen, pool.map(_seconds, chosen), strict=True)
            if seconds is not None
        ]
    if not found:
        return
    whole = sum(seconds for _, seconds in found) / len(found) * len(utterances)
    told = (
        f"About {_duration(whole)} in all"
        + (f", by the lengths of {len(found):,} evenly chosen ones. " if step > 1 else ". ")
        + "A model hears windows of a few seconds: what is shorter is padded, what is longer is "
        "heard in several windows. If one emotion is spoken longer than another, a careless model "
        "learns the length."
    )
    by_emotion = defaultdict(list)
    for utterance, seconds in found:
        by_emotion[utterance.emotion].append(seconds)
    longest = max(sorted(each)[len(each) // 2] for each in by_emotion.values())
    rows = []
    for emotion in emotions:
        own = sorted(by_emotion[emotion])
        if own:
            middle = own[len(own) // 2]
            fill = plots.colour(emotion)
            rows.append(
                (
                    html.dot(emotion),
                    html.barred(middle / longest, f"{middle:.2f} s", fill),
                    f"{own[len(own) // 10]:.2f} s",
                    f"{own[len(own) * 9 // 10]:.2f} s",
                )
            )
    yield html.section(
        "How long they are",
        told,
        html.figure(plots.histogram([s for _, s in found], "s", "Lengths of the recordings")),
        html.table(("emotion", "median", "a tenth is under", "a tenth is over"), rows),
    )


def _duration(seconds: float) -> str:
    """In the unit in which it is a number of a few digits."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _seconds(utterance: Utterance) -> float | None:
    """From the header alone; None for what libsndfile does not read."""
    try:
        return float(soundfile.info(utterance.path).duration)
    except (RuntimeError, OSError):
        return None


def _left_out(reading: Reading) -> Iterator[str]:
    if reading.skip_counts:
        listed = "".join(
            f"<li>{count:,}: {html.escape(why)}</li>"
            for why, count in reading.skip_counts.most_common()
        )
        yield html.section("Left out", f"What was found but is not used:<ul>{listed}</ul>")
