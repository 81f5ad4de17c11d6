"""Judging with reference recordings: what it gives to know the speaker."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_core.lab.evaluation import Outcome, speaker_key
from ser_core.profile import Profile


class NoReferences(ValueError):  # noqa: N818 (it says what is missing, not that something broke)
    """There is nothing to draw references from, or the model has no use for them."""


def draw_profiles(
    outcome: Outcome, count: int, seed: int = 0, *, of_others: bool = False
) -> list[Profile | None]:
    """For each utterance the profile of up to `count` others of its speaker, drawn at random.

    Nothing of their labels is used. `of_others` draws as many from other speakers of the same
    corpus: what is then gained is the microphone's, not the speaker's. None where there is no
    other utterance.

    Raises:
        NoReferences: an utterance has no speaker, nobody has another utterance, or the bundle
            knows no profiles.
    """
    if nameless := sum(not utterance.speaker for utterance in outcome.utterances):
        raise NoReferences(f"references need speakers, and {nameless} utterances name none")
    described = [heard.profile(1.0) for heard in outcome.heard]
    if described and not any(described):
        raise NoReferences("the model knows no profiles of speakers")
    rng = np.random.default_rng(seed)
    speakers = [speaker_key(utterance) for utterance in outcome.utterances]
    corpora = [utterance.corpus for utterance in outcome.utterances]
    groups: dict[str, list[int]] = defaultdict(list)
    keys = corpora if of_others else speakers
    for row, key in enumerate(keys):
        groups[key].append(row)
    profiles: list[Profile | None] = []
    for row, speaker in enumerate(speakers):
        candidates = [
            profile.mean
            for other in groups[keys[row]]
            if other != row
            and (speakers[other] == speaker) != of_others
            and (profile := described[other])
        ]
        drawn = rng.permutation(len(candidates))[:count].tolist()
        means = [candidates[index] for index in drawn]
        profiles.append(Profile(np.mean(means, axis=0), float(len(means))) if means else None)
    if profiles and not any(profiles):
        whose = "of another speaker in its corpus" if of_others else "of its speaker"
        raise NoReferences(f"no recording has another one {whose} to be judged relative to")
    return profiles


def drawn(
    profiles: Sequence[Profile | None], most: int, *, of_others: bool = False
) -> dict[str, Any]:
    """How many references there were, of the `most` that were asked for: `none` counts utterances.

    As `ser evaluate --json` prints it; `mean` is over all utterances, those without any too.
    """
    counts = [profile.count if profile else 0 for profile in profiles]
    return {
        "most": most,
        "of": "others" if of_others else "speaker",
        "mean": sum(counts) / max(1, len(counts)),
        "none": counts.count(0),
    }


def in_words(references: dict[str, Any]) -> str:
    """What `drawn` says, in words."""
    whose = "other speakers" if references["of"] == "others" else "the speaker"
    none = f", none for {references['none']} clips" if references["none"] else ""
    return f"up to {references['most']} of {whose}, {references['mean']:.1f} on average{none}"
