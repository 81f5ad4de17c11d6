"""Whose recordings train, choose and test a model, and whether they can be used for that."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_core.audio import AudioError
from ser_core.emotions import to_label_set
from ser_core.lab.acquaintance import heard_before
from ser_core.lab.corpora import Utterance, read
from ser_core.lab.dataset import voiced
from ser_core.lab.evaluation import log_nearest, log_skipped, speaker_key
from ser_core.lab.splits import Split, SplitError, by_speaker, from_manifest

logger = logging.getLogger(__name__)

Speakers = Mapping[str, Sequence[str]]
"""Part (`valid`, `test`) -> keys of its speakers."""


def split_of(
    data: Path,
    emotions: Sequence[str],
    *,
    corpora: Collection[str] = (),
    seed: int = 0,
    needed: Sequence[str] = (),
) -> Split:
    """Train, validation and test speakers: the manifest's, or drawn by `seed`.

    Of these `corpora` alone, if any are named. What has none of the labels `emotions` is counted
    and left out, so that it has no part in the division; those `needed` must be there.

    Raises:
        CorpusError: nothing can be read there.
        SplitError: there are too few speakers, or none of such a corpus or emotion.
    """
    reading = read(data)
    log_skipped(reading)
    present = {utterance.corpus for utterance in reading.utterances}
    if missing := sorted(set(corpora) - present):
        raise SplitError(f"no corpus {', '.join(missing)} here; there {_named(present - {''})}")
    utterances = [u for u in reading.utterances if not corpora or u.corpus in corpora]
    _check_needed([u for u in utterances if u.split in ("", "train")], emotions, needed)
    log_nearest(utterances, emotions)
    known = _known(utterances, emotions)
    if not known:
        raise SplitError(
            f"no recording is {' or '.join(emotions)}; the labels there are {_labels(utterances)}"
        )
    if not any(utterance.split for utterance in known):
        return by_speaker(known, seed=seed)
    split = from_manifest(known)
    if not split.test and (test := [u for u in utterances if u.split == "test"]):
        raise SplitError(
            f"no recording to test on is {' or '.join(emotions)}; the labels there are "
            f"{_labels(test)}"
        )
    return split


def usable(
    utterances: Sequence[Utterance], emotions: Sequence[str], sampling_rate: int
) -> list[Utterance]:
    """Those to test on that can be: with a label of the model, readable and not silent.

    The others are named and counted.
    """
    found = []
    for utterance in _known(utterances, emotions):
        try:
            voiced(utterance.path, sampling_rate)
        except (AudioError, OSError) as e:
            logger.warning("skipped %s: %s", utterance.path, e)
            continue
        found.append(utterance)
    if len(found) < len(utterances):
        lost = len(utterances) - len(found)
        logger.warning("testing does without %d of %d recordings", lost, len(utterances))
    return found


def judged_by(split: Split) -> Speakers:
    """The speakers who chose a model and those who tested it.

    Nothing where not all speakers are named, or where somebody is in more than one part.
    """
    apart = (
        heard_before(split.valid, split.train) == set()
        and heard_before(split.test, [*split.train, *split.valid]) == set()
    )
    if not apart:
        return {}
    return {"valid": _speakers(split.valid), "test": _speakers(split.test)}


def part_of(
    utterances: Sequence[Utterance], part: str | None, info: Mapping[str, Any]
) -> list[Utterance]:
    """Those of a part, all if it is None.

    Where none of the data names its part, the speakers decide whom `info`, a `bundle.json`, lists.
    """
    if part is None or any(utterance.split for utterance in utterances):
        return [u for u in utterances if part in (None, u.split)]
    judged: Speakers = info.get("judged_by", {})
    speakers = {*judged.get(part, ())}
    if part == "train":  # heads may have heard those who validate as well
        speakers = {*info.get("speakers", ())}.difference(judged.get("valid", ()))
    found = [u for u in utterances if u.speaker and speaker_key(u) in speakers]
    if found:
        logger.info("No row names a split: the model's own list of %s speakers is taken.", part)
    return found


def known_by(info: Mapping[str, Any], utterances: Sequence[Utterance]) -> dict[str, set[str]]:
    """What a model did with speakers of `utterances` -> these: figures on them flatter it."""
    speakers = {*_speakers(utterances)}
    trained_on = speakers & {*info.get("speakers", ())}
    chose = speakers & {*info.get("judged_by", {}).get("valid", ())} - trained_on
    known = {"was trained on": trained_on, "was chosen and calibrated by": chose}
    return {how: those for how, those in known.items() if those}


def in_words(known: Mapping[str, set[str]]) -> str:
    """What `known_by` says, in words."""
    return " and ".join(
        f"{how} {len(speakers)} of these speakers ({', '.join(sorted(speakers)[:5])})"
        for how, speakers in known.items()
    )


def _check_needed(
    utterances: Sequence[Utterance], emotions: Sequence[str], needed: Sequence[str]
) -> None:
    present = {to_label_set(u.emotion, emotions) for u in utterances}
    if absent := [emotion for emotion in needed if emotion not in present]:
        raise SplitError(
            f"no recording to train on is {' or '.join(absent)}; the labels there are "
            f"{_labels(utterances)}"
        )


def _known(utterances: Sequence[Utterance], emotions: Sequence[str]) -> list[Utterance]:
    known = [u for u in utterances if to_label_set(u.emotion, emotions) is not None]
    unknown = Counter(u.emotion for u in utterances) - Counter(u.emotion for u in known)
    for emotion, count in sorted(unknown.items()):
        logger.warning("left out %d x %r, no label of the model", count, emotion)
    return known


def _named(corpora: Collection[str]) -> str:
    return f"are {', '.join(sorted(corpora))}" if corpora else "is none that has a name"


def _labels(utterances: Sequence[Utterance]) -> str:
    return ", ".join(sorted({utterance.emotion for utterance in utterances})) or "none"


def _speakers(utterances: Sequence[Utterance]) -> list[str]:
    return sorted({speaker_key(utterance) for utterance in utterances if utterance.speaker})
