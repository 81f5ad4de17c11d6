"""Whether a model knows those by whom it is judged: voices heard before flatter its figures."""

from collections.abc import Collection, Sequence

from ser_core.lab.corpora import Utterance
from ser_core.lab.evaluation import speaker_key

NEVER_HEARD = "speakers never heard"


def acquaintance(
    judged: Sequence[Utterance], before: Sequence[Utterance], known: Collection[str] = ()
) -> str:
    """Whether speakers who are `judged` are among those `before` or `known` by key, in words.

    `before` is what the model was fitted to, and chosen and calibrated by; `known` are the
    speakers of a bundle that it began with.
    """
    if not all(utterance.speaker for utterance in (*judged, *before)):
        return "speakers not all named, perhaps heard before"
    speakers = {*map(speaker_key, judged)}
    if heard := speakers & {*map(speaker_key, before), *known}:
        return f"{len(heard)} of {len(speakers)} speakers heard in training"
    return NEVER_HEARD
