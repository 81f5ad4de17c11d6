"""What `ser evaluate --report` writes: one page that says how well a model hears, and where not."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_core import audio
from ser_core.audio import AudioError
from ser_core.bundle import Bundle
from ser_core.lab import plots
from ser_core.lab import report_page as html
from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import Outcome, figures, speaker_key
from ser_core.lab.risk import reliability, risk_coverage

logger = logging.getLogger(__name__)

NAME = "evaluation.html"
HARDEST = 12
"""Clips to listen to."""
LONGEST = 8.0
"""Seconds of a clip that the page holds."""
FEW = 50
"""Recordings under which a figure says little."""
HABIT = 5
"""How often a mistake has to be made to be told as what the model does."""

CURVES_READ = (
    "Left: the loss, how far its answers are from what it is to say of the clips it trains on, "
    "epoch by epoch. It need not come near 0: where that was softened (smoothed labels, mixtures "
    "of two clips, or the opinions of teachers, who are never wholly sure), 0 is out of reach. "
    "In the last epochs, from the upright dashed line on where one is drawn, many designs hear "
    "whole windows and no mixtures, which is easier: the loss falls there by itself. Right: how "
    "well it heard the recordings held out to choose by (UAR, by corpus). This is of the network "
    "alone, one window a clip: heads that are fitted on it afterwards and the calibration are not "
    "in it, so it need not end at the figures above. Where the right curves fall while the left "
    "one still does, it begins to learn its recordings by heart."
)
"""Under the learning curves, which older bundles have without the dashed line."""

Probabilities = NDArray[np.float64]


def write_report(
    folder: Path, bundle: Bundle, outcome: Outcome, *, data: str, flattered: int = 0
) -> Path:
    """Write the page into `folder`; `data` says what was judged and how.

    `flattered` is the number of speakers that the model was trained on, or chosen by.

    Raises:
        OSError: the folder cannot be written.
    """
    probabilities = outcome.probabilities(bundle.temperature, bundle.bias)
    with plots.style():
        parts = list(_parts(bundle, outcome, probabilities, flattered))
    lead = (
        f"Model <b>{html.escape(bundle.name)} {html.escape(bundle.version)}</b>, judged on "
        f"{html.escape(data)}: recordings in, the exported model's answers out."
    )
    title = f"How well does \u201c{bundle.name}\u201d hear?"
    return html.write(folder, NAME, html.page(title, lead, parts))


def _parts(
    bundle: Bundle, outcome: Outcome, probabilities: Probabilities, flattered: int
) -> Iterator[str]:
    labels, predicted = outcome.labels, probabilities.argmax(axis=1)
    confidence, right = probabilities.max(axis=1), predicted == labels
    overall = figures(outcome.emotions, labels, predicted)
    bins, curve = reliability(confidence, right), risk_coverage(confidence, right)
    coverage, risk = curve.at(bundle.threshold)
    speakers = len({speaker_key(u) for u in outcome.utterances})
    yield html.tiles(
        [
            (f"{overall['uar']:.1%}", "UAR: mean of the emotions' recalls"),
            (f"{overall['accuracy']:.1%}", "accuracy: answers that are right"),
            (f"{1 / len(overall['recall']):.1%}", "UAR of guessing"),
            (f"{coverage:.0%}", "of the answers are not called uncertain"),
            ("-" if risk is None else f"{1 - risk:.0%}", "of those are right"),
            (f"{overall['n']:,}", f"recordings of {speakers} speakers"),
        ]
    )
    if flattered:
        yield html.section(
            "These figures flatter the model",
            f"It was trained on, or chosen by, {flattered} of these {speakers} speakers. What it "
            "knows of their voices does not help it with anybody else's.",
        )
    yield html.section("What it takes for what", *_confusions(outcome.emotions, overall))
    yield html.section("Emotion by emotion", *_recalls(overall))
    yield html.section("Who, and from where", *_groups(outcome, predicted))
    yield html.section(
        "Does it know when it is wrong?",
        "A confidence of 70 % should mean that 7 of 10 such answers are right. The first picture "
        "shows whether it does: each bar is a group of answers of similar confidence, the dashed "
        "line is where it should end. The second shows what is gained by answering only when "
        "sure.",
        '<div class="side">',
        html.figure(
            plots.reliability_diagram(bins),
            f"Expected calibration error (ECE): <b>{bins.error:.3f}</b>, the mean distance of bar "
            f"and line; 0 is best. Pale bars are of fewer than {plots.THIN} answers.",
        ),
        html.figure(
            plots.risk_curve(curve, bundle.threshold),
            f"Area under the curve (AURC): <b>{curve.area:.3f}</b>, lower is better. An answer "
            f"with a confidence under {bundle.threshold:g} is called uncertain: without these, "
            + (
                "none is left."
                if risk is None
                else f"at the dot, {coverage:.0%} are answered, {risk:.0%} of them wrongly."
            ),
        ),
        "</div>",
    )
    yield _hardest(outcome, probabilities)
    yield _learning(bundle)
    yield _left_out(outcome)


def _confusions(emotions: Sequence[str], overall: dict[str, Any]) -> Iterator[str]:
    mistakes = sorted(
        (
            (count / sum(row.values()), true, said, count, sum(row.values()))
            for true, row in overall["confusion"].items()
            for said, count in row.items()
            if said != true and count
        ),
        reverse=True,
    )
    habits = "; ".join(
        f"<b>{html.escape(true)}</b> for {html.escape(said)} ({count} of {n})"
        for _, true, said, count, n in [each for each in mistakes if each[3] >= HABIT][:3]
    )
    if habits:
        told = f"Most often it takes {habits}."
    elif mistakes:
        told = f"No mistake was made {HABIT} times: too few to say which it is prone to."
    else:
        told = "No mistakes."
    yield (
        "A row for each emotion that was acted, a column for each that was answered; the diagonal "
        f"is what is right. {told}"
    )
    rows = []
    for true, answers in overall["confusion"].items():
        total = sum(answers.values())
        cells = [
            (answers[e] / total, f"{answers[e] / total:.0%}", str(answers[e])) for e in emotions
        ]
        rows.append((true, cells))
    yield html.heat_table("acted ↓  answered →", emotions, rows)


def _recalls(overall: dict[str, Any]) -> Iterator[str]:
    yield (
        "Recall: how many of the recordings of an emotion are recognised. Precision: how many of "
        "the answers with that name are right. F1 is their harmonic mean."
    )
    said = Counter[str]()
    for answers in overall["confusion"].values():
        said.update(answers)
    rows = []
    for emotion, recall in overall["recall"].items():
        answers = overall["confusion"][emotion]
        precision = answers[emotion] / said[emotion] if said[emotion] else 0.0
        both = precision + recall
        rows.append(
            (
                html.dot(emotion),
                str(sum(answers.values())),
                html.barred(recall, f"{recall:.0%}", plots.colour(emotion)),
                f"{precision:.0%}",
                f"{2 * precision * recall / both if both else 0:.2f}",
            )
        )
    yield html.table(("emotion", "recordings", "recall", "precision", "F1"), rows)


Key = Callable[[Utterance], str]

GROUPS: tuple[tuple[str, Key], ...] = (
    ("Corpus", lambda u: u.corpus),
    ("Sex of the speaker", lambda u: {"F": "women", "M": "men"}.get(u.sex, "")),
    ("Intensity", lambda u: f"{u.corpus}: {u.intensity}" if u.intensity else ""),
    ("Split", lambda u: u.split),
)


def _groups(outcome: Outcome, predicted: NDArray[np.int64]) -> Iterator[str]:
    yield (
        "A model that hears well on the average may fail for some. UAR is the mean over the "
        "emotions that occur in a group, so groups with fewer emotions are easier. Under "
        f"{FEW} recordings, or of one or two speakers, a figure says little."
    )
    for title, key in GROUPS:
        names = np.array([key(u) for u in outcome.utterances])
        if len(set(names.tolist()) - {""}) == 0 or (title == "Split" and len(set(names)) == 1):
            continue
        rows = []
        for name in sorted(set(names.tolist())):
            chosen = names == name
            found = figures(outcome.emotions, outcome.labels[chosen], predicted[chosen])
            speakers = {
                speaker_key(u)
                for u, inside in zip(outcome.utterances, chosen, strict=True)
                if inside
            }
            few = ' <span class="note">(few)</span>' if found["n"] < FEW else ""
            rows.append(
                (
                    html.escape(name or "not stated"),
                    f"{found['n']:,}{few}",
                    str(len(speakers)),
                    str(len(found["recall"])),
                    f"{found['accuracy']:.0%}",
                    html.barred(found["uar"], f"{found['uar']:.0%}"),
                )
            )
        yield f"<h3>{title}</h3>"
        yield html.table(("", "recordings", "speakers", "emotions", "accuracy", "UAR"), rows)


def _hardest(outcome: Outcome, probabilities: Probabilities) -> str:
    """The wrong answers that it was surest of."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != outcome.labels)
    order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    clips: list[str] = []
    for row in order:
        if len(clips) == HARDEST:
            break
        clip = _clip(outcome, probabilities, int(row))
        if clip:
            clips.append(clip)
    return html.section(
        "The hardest to hear",
        "Wrong answers that it was surest of. Listen: some are mistakes anybody would make, some "
        "are labels that one can argue about."
        if clips
        else "There is no wrong answer.",
        f'<div class="clips">{"".join(clips)}</div>',
        '<p class="note">These recordings keep their publishers\' terms; mind them before you pass '
        "this page on.</p>"
        if clips
        else "",
    )


def _clip(outcome: Outcome, probabilities: Probabilities, row: int) -> str:
    utterance, shares = outcome.utterances[row], probabilities[row]
    try:
        signal = audio.load(utterance.path)
    except (AudioError, OSError) as e:
        logger.warning("%s is not on the page: %s", utterance.path, e)
        return ""
    true, said = outcome.emotions[outcome.labels[row]], outcome.emotions[int(shares.argmax())]
    name = f"{utterance.corpus} {utterance.speaker} {utterance.path.stem}".strip()
    best = sorted(zip(shares.tolist(), outcome.emotions, strict=True), reverse=True)[:4]
    bars = "".join(
        f"<dt>{html.dot(emotion)}</dt>{html.bar(share, plots.colour(emotion))}<dd>{share:.0%}</dd>"
        for share, emotion in best
    )
    player = html.sound(
        signal[: round(LONGEST * audio.SAMPLING_RATE)],
        audio.SAMPLING_RATE,
        f"{name}: acted {true}, answered {said}",
    )
    return (
        f'<div class="clip">acted <b>{html.dot(true)}</b>, answered <b>{html.dot(said)}</b> '
        f"({shares.max():.0%})<br><code>{html.escape(name)}</code>{player}<dl>{bars}</dl></div>"
    )


def _learning(bundle: Bundle) -> str:
    curves = bundle.path / "training.png"
    command, note = bundle.info.get("command", ""), bundle.info.get("note", "")
    trained = ", ".join(
        f"{html.escape(name or 'unnamed')} {count:,}"
        for name, count in bundle.info.get("corpora", {}).items()
    )
    told = (
        f"Preset <code>{html.escape(bundle.info.get('preset', 'unknown'))}</code>, "
        f"{bundle.info.get('parameters', 0):,} parameters, trained on {trained or 'unknown data'}"
        + (f" by <code>{html.escape(command)}</code>." if command else ".")
        # The command alone may not make it again: the note says what else was done.
        + (f" {html.escape(note)}" if note else "")
    )
    if not curves.is_file():
        return html.section("How it learnt", f"{told} The bundle keeps no learning curves.")
    shown = plots.image(curves.read_bytes(), "image/png", "Loss and validation UAR of every epoch")
    return html.section("How it learnt", told, html.figure(shown, CURVES_READ))


def _left_out(outcome: Outcome) -> str:
    reasons = Counter(reason for _, reason in outcome.skipped)
    listed = "".join(f"<li>{n:,}: {html.escape(why)}</li>" for why, n in reasons.most_common())
    told = f"Recordings that were not judged:<ul>{listed}</ul>" if listed else ""
    return html.section(
        "Reading this page",
        f"{told}The recordings are of actors, mostly, who were asked to sound an emotion: this "
        "says how well the model hears acted emotions, and nothing of what anybody feels. Chance "
        "matters: other speakers would give other figures, by several points where there "
        "are few of them.",
    )
