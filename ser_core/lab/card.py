"""The model card: what a bundle is, heard, can and cannot do."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ser_core.bundle import Bundle
from ser_core.emotions import NEAREST
from ser_core.lab.acquaintance import NEVER_HEARD
from ser_core.lab.home import TAKEN_OFF, UNLABELLED
from ser_core.lab.schemes import ACTED

LICENCES = {
    "ravdess": "CC BY-NC-SA 4.0",
    "cremad": "ODbL 1.0",
    "tess": "CC BY-NC-ND 4.0",
    "emodb": "free, cite the authors",
    "nemo": "CC BY-NC-SA 4.0",
    "urdu": "research only",
    "turev": "CC BY-NC-ND 4.0",
    "savee": "research only",
}
"""Terms of the public corpora, as their publishers state them."""

LIMITS = """\
- It knows only the emotions listed. Laughter, singing, music or noise get an answer too.
- Do not use it to decide about people. **Inferring emotions of people at work and in education is
  prohibited in the European Union** (Regulation (EU) 2024/1689, the AI Act, Article 5(1)(f)),
  medical and safety reasons apart.
"""
"""What no bundle can do, whatever it was trained on."""


def model_card(bundle: Bundle) -> str:
    """The card as Markdown, from `bundle.json` alone."""
    info = bundle.info
    corpora = "\n".join(
        f"| {name or '(unnamed)'} | {count} | {LICENCES.get(name, 'yours to state')} |"
        for name, count in info["corpora"].items()
    )
    parts = [
        f"# {bundle.name} {bundle.version}",
        f"Hears {', '.join(bundle.emotions)} in {bundle.window:g} s windows of speech at "
        f"{bundle.sampling_rate} Hz. Preset `{info['preset']}`, {info['parameters']:,} parameters, "
        f"served as `{info['serve']}` ({bundle.model.stat().st_size / 1e6:.2f} MB).",
        f"## Trained on\n\n| corpus | utterances | terms |\n|---|---|---|\n{corpora}",
        *_nearest(bundle.emotions),
        f"{len(info['speakers'])} speakers, listed in `bundle.json`{_of_heads(info)}. The terms of "
        f"this data are the model's. Made by `{info['command']}`"
        + ("." if info.get("members") else f" with seed {info['seed']}."),
        *([_lineage(info["init"])] if info.get("init") else []),
        *([_members(info["members"])] if info.get("members") else []),
        *([str(info["note"])] if info.get("note") else []),
        *(_figures(name, figures) for name, figures in info["metrics"].items()),
        f"An answer whose confidence is under {bundle.threshold:g} is called uncertain; "
        + _chosen(info),
        *([_calibration(info["calibration"])] if "calibration" in info else []),
        *([_home(info["home"])] if "home" in info else []),
        _limits(info),
    ]
    return "\n\n".join(parts)


def _nearest(emotions: Sequence[str]) -> list[str]:
    """Which labels were not left out but counted as another."""
    return [
        f"The label {label} counts as {nearest}, in training as in figures."
        for label, nearest in NEAREST.items()
        if label not in emotions and nearest in emotions
    ]


def _of_heads(info: Mapping[str, Any]) -> str:
    """How many of its speakers the network was not fitted to, by whom it was chosen."""
    chose = {*info["speakers"]}.intersection(info.get("judged_by", {}).get("valid", ()))
    # Those whom another bundle heard, which it began with or is made of, cannot be told apart.
    if not chose or info.get("init") or info.get("members"):
        return ""
    return f", {len(chose)} of them heard by its heads alone: they chose its network"


def _lineage(init: dict[str, Any]) -> str:
    """Which bundle it began with, and what that one was trained on."""
    corpora = ", ".join(
        f"{name or '(unnamed)'} ({LICENCES.get(name, 'terms not stated')})"
        for name in init["corpora"]
    )
    return (
        f"Its network began with that of `{init['name']}` {init['version']}, which was trained on "
        f"{corpora}: these terms are this model's as well, and those speakers were heard too."
    )


def _members(members: Sequence[str]) -> str:
    """Which bundles an ensemble is made of."""
    return (
        f"It is made of {len(members)} bundles, {', '.join(members)}: its answer is the mean of "
        "their log-probabilities, each at the temperature and the bias that it had."
    )


def _chosen(info: Mapping[str, Any]) -> str:
    """How threshold and temperature came about."""
    if info.get("calibration", {}).get("choice") not in {None, UNLABELLED, TAKEN_OFF}:
        return "how that came about is said below."
    if info.get("members"):
        return (
            "this threshold is the mean of its members'. Where these disagree it is less sure than "
            "they are; `ser calibrate` fits that to clips that none of them heard."
        )
    return "this threshold and the temperature were chosen on the validation speakers."


def _calibration(made: dict[str, Any]) -> str:
    """What `ser calibrate` did."""
    if made["choice"] in {UNLABELLED, TAKEN_OFF}:
        then = "" if made["choice"] == UNLABELLED else ": the home that it had is taken off"
        return (
            f"## Calibrated afterwards\n\nTo {made['n']} recordings without labels, which lie "
            f"{made['distance']:.2f} deviations of a speaker from the nearest corpus that it was "
            f"trained on ({made['nearest'] or 'unnamed'}){then}. How right it is there was not "
            "measured; the figures above are those of before."
        )
    names = {"before": "as it was", "after": "as it is"}
    rows = "\n".join(
        f"| {title} | {row['accuracy']:.3f} | {row['uar']:.3f} | {row['ece']:.3f} | "
        f"{row['log_loss']:.3f} | {row['coverage']:.0%} | "
        f"{'-' if (right := row['accuracy_when_certain']) is None else format(right, '.0%')} |"
        for key, title in names.items()
        for row in [made[key]]
    )
    return (
        f"## Calibrated afterwards\n\nOn {made['n']} clips"
        + (f" of {made['speakers']} speakers" if made["speakers"] > 1 else "")
        + f" ({made['data']}); kept: {made['choice']}. The figures above are those of before. "
        f"These are of clips that were not fitted to: {made['protocol']}.\n\n"
        "| | accuracy | UAR | ECE | log-loss | certain | right of these |\n"
        f"|---|---|---|---|---|---|---|\n{rows}"
    )


def _home(made: dict[str, Any]) -> str:
    """That a bundle hears relative to clips that it was calibrated with."""
    whose = (
        f"what clips of {made['speakers']} speakers have in common, such as microphone and room"
        if made["speakers"] > 1
        else "what clips of one voice, or of voices without names, have. It may describe a voice: "
        "then it is personal data"
    )
    return f"What it takes for normal (`home` in `bundle.json`) is half of the way to {whose}."


def _figures(split: str, figures: dict[str, Any]) -> str:
    title = {"valid": "Validation speakers", "test": "Test speakers"}.get(split, split)
    rows = {**figures["corpora"], "all": figures}
    tables = [_table("corpus", rows)]
    # Older bundles do not have them, nor those whose data does not tell.
    if sexes := figures.get("sexes"):
        tables.append(_table("sex", sexes))
    table = "\n\n".join(tables)
    recall = ", ".join(f"{emotion} {value:.2f}" for emotion, value in figures["recall"].items())
    certain = figures["accuracy_when_certain"]
    sure = "" if certain is None else f", of which {certain:.0%} are right"
    return (
        f"## {title}\n\n{figures['protocol'].capitalize()}.\n\n"
        f"{table}\n\n"
        f"Recall: {recall}. Expected calibration error {figures['ece']:.3f}. "
        f"{figures['coverage']:.0%} of the answers are not called uncertain{sure}."
    )


def _table(group: str, rows: Mapping[str, dict[str, Any]]) -> str:
    return f"| {group} | n | accuracy | UAR |\n|---|---|---|---|\n" + "\n".join(
        f"| {name or '(unnamed)'} | {row['n']} | {row['accuracy']:.3f} | {row['uar']:.3f} |"
        for name, row in rows.items()
    )


def _limits(info: Mapping[str, Any]) -> str:
    """What it cannot do: as far as that depends on what it heard and who judged it, first."""
    heard = {*info["corpora"], *(info.get("init") or {"corpora": ()})["corpora"]}
    points = [_acted(heard), _beyond(info["metrics"], heard)]
    told = [
        textwrap.fill(each, 100, initial_indent="- ", subsequent_indent="  ") for each in points
    ]
    return "## What it cannot do\n\n" + "\n".join([*told, LIMITS])


def _acted(heard: Collection[str]) -> str:
    """What its answers mean, by how the recordings of the corpora that it heard came about."""
    meaning = "an answer says what a voice sounds like to people, not what a person feels."
    acted = sorted(ACTED.intersection(heard))
    if not acted:
        return (
            f"How its recordings came about, acted or felt, decides what it is good for: {meaning}"
        )
    part, which = ("", "") if len(acted) == len(heard) else (", in part,", f" ({', '.join(acted)})")
    return (
        f"It was trained{part} on actors who were asked to sound an emotion{which}. "
        f"**Acted speech is not felt emotion**: {meaning}"
    )


def _beyond(metrics: Mapping[str, dict[str, Any]], heard: Collection[str]) -> str:
    """What the figures say of voices unlike those that it heard."""
    judged = {corpus for figures in metrics.values() for corpus in figures["corpora"]}
    if not metrics:
        return "A voice, a language or a microphone unlike those it heard lowers its accuracy."
    if not all(NEVER_HEARD in figures["protocol"] for figures in metrics.values()):
        whose = "of speakers of whom some were heard before, or may have been: that flatters it"
    elif judged.issubset(heard):
        whose = "for speakers never heard but of the same corpora"
    else:
        whose = "for speakers never heard"
    return (
        "A voice, a language or a microphone unlike those it heard lowers its accuracy; the "
        f"figures above are {whose}."
    )
