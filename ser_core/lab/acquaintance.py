"""Whether a model knows those by whom it is judged: voices heard before flatter its figures."""

from collections.abc import Collection, Sequence

from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import speaker_key

NEVER_HEARD = "speakers never heard"
PERHAPS_HEARD = "speakers not all named, perhaps heard before"


def heard_before(
    judged: Sequence[Utterance], before: Sequence[Utterance], known: Collection[str] = ()
) -> set[str] | None:
    """Keys of the speakers who are `judged` and among those `before`, or `known` by key.

    None if they are not all named. `before` is what the model was fitted to, and chosen and
    calibrated by; `known` are the speakers of a bundle that it began with.
    """
    if not all(utterance.speaker for utterance in (*judged, *before)):
        return None
    return {*map(speaker_key, judged)} & {*map(speaker_key, before), *known}


def acquaintance(
    judged: Sequence[Utterance], before: Sequence[Utterance], known: Collection[str] = ()
) -> str:
    """`heard_before` in words."""
    heard = heard_before(judged, before, known)
    if heard is None:
        return PERHAPS_HEARD
    if not heard:
        return NEVER_HEARD
    return f"{len(heard)} of {len({*map(speaker_key, judged)})} speakers heard in training"
