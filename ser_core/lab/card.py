"""The model card: what a bundle is, heard, can and cannot do."""

from typing import Any

from ser_core.bundle import Bundle

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
## What it cannot do

- It was trained on actors who were asked to sound an emotion. **Acted speech is not felt emotion**:
  an answer says what a voice sounds like to people, not what a person feels.
- A voice, a language or a microphone unlike those it heard lowers its accuracy; the figures above
  are for speakers never heard but of the same corpora.
- It knows only the emotions listed. Laughter, singing, music or noise get an answer too.
- Do not use it to decide about people. **Inferring emotions of people at work and in education is
  prohibited in the European Union** (Regulation (EU) 2024/1689, the AI Act, Article 5(1)(f)),
  medical and safety reasons apart.
"""


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
        f"{len(info['speakers'])} speakers, listed in `bundle.json`. The terms of this data "
        f"are the model's. Made by `{info['command']}` with seed {info['seed']}.",
        *([_lineage(info["init"])] if info.get("init") else []),
        *([str(info["note"])] if info.get("note") else []),
        *(_figures(name, figures) for name, figures in info["metrics"].items()),
        f"An answer whose confidence is under {bundle.threshold:g} is called uncertain; "
        + (
            "this threshold and the temperature were chosen on the validation speakers."
            if "calibration" not in info
            else "how that came about is said below."
        ),
        *([_calibration(info["calibration"])] if "calibration" in info else []),
        LIMITS,
    ]
    return "\n\n".join(parts)


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


def _calibration(made: dict[str, Any]) -> str:
    """What `ser calibrate` did."""
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


def _figures(split: str, figures: dict[str, Any]) -> str:
    title = {"valid": "Validation speakers", "test": "Test speakers"}.get(split, split)
    rows = {**figures["corpora"], "all": figures}
    table = "\n".join(
        f"| {name or '(unnamed)'} | {row['n']} | {row['accuracy']:.3f} | {row['uar']:.3f} |"
        for name, row in rows.items()
    )
    recall = ", ".join(f"{emotion} {value:.2f}" for emotion, value in figures["recall"].items())
    certain = figures["accuracy_when_certain"]
    sure = "" if certain is None else f", of which {certain:.0%} are right"
    return (
        f"## {title}\n\n{figures['protocol'].capitalize()}.\n\n"
        f"| corpus | n | accuracy | UAR |\n|---|---|---|---|\n{table}\n\n"
        f"Recall: {recall}. Expected calibration error {figures['ece']:.3f}. "
        f"{figures['coverage']:.0%} of the answers are not called uncertain{sure}."
    )
