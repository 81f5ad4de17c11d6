"""How the public corpora name their files, and what their codes mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ser_core.emotions import EMOTIONS_7, normalise_label


@dataclass(frozen=True)
class Scheme:
    """How a corpus names its files."""

    title: str
    example: str
    pattern: re.Pattern[str]
    """Searched in `folder/name`, without the ending; a group for each part of the name."""
    codes: Mapping[str, Mapping[str, str]]
    """Group -> its codes and what they mean; codes of other groups stand for themselves."""
    sexes: Mapping[str, str] = field(default_factory=dict)
    """Speakers as published; empty where a corpus does not say."""


def _table(text: str) -> dict[str, str]:
    return dict(entry.split() for entry in text.split(", "))


SCHEMES = {
    # Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391
    "ravdess": Scheme(
        "RAVDESS",
        "Actor_12/03-01-06-01-02-01-12.wav",
        re.compile(
            r"/(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
            r"-(?P<sentence>\d\d)-(?P<repetition>\d\d)-(?P<speaker>\d\d)$"
        ),
        {
            "modality": {"03": "audio only"},
            "channel": {"01": "speech"},
            "emotion": _table(
                "01 neutral, 02 calm, 03 happy, 04 sad, 05 angry, 06 fear, 07 disgust, 08 surprise"
            ),
            "intensity": {"01": "normal", "02": "strong"},
            "sentence": {"01": "01", "02": "02"},
            "repetition": {"01": "01", "02": "02"},
        },
        {f"{actor:02}": "M" if actor % 2 else "F" for actor in range(1, 25)},
    ),
    # Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244
    "cremad": Scheme(
        "CREMA-D",
        "AudioWAV/1001_DFA_ANG_XX.wav",
        re.compile(
            r"/(?P<speaker>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})"
            r"_(?P<intensity>[A-Z]{1,2})$"
        ),
        {
            "emotion": _table("ANG angry, DIS disgust, FEA fear, HAP happy, NEU neutral, SAD sad"),
            # The release names one file 1040_ITH_SAD_X.
            "intensity": {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""},
        },
    ),
    # Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF; ps is pleasant surprise
    "tess": Scheme(
        "TESS",
        "OAF_angry/OAF_back_angry.wav",
        re.compile(r"/(?P<speaker>OAF?|YAF)_(?P<sentence>[a-z]+)_(?P<emotion>[a-z]+)$"),
        {
            # The release names one file OA_bite_neutral.
            "speaker": {"OAF": "OAF", "OA": "OAF", "YAF": "YAF"},
            "emotion": {"ps": "surprise"}
            | {emotion: emotion for emotion in EMOTIONS_7 if emotion != "surprise"},
        },
        {"OAF": "F", "YAF": "F"},
    ),
    # Haq & Jackson 2010, "Multimodal Emotion Recognition", in Machine Audition
    "savee": Scheme(
        "SAVEE",
        "AudioData/DC/a01.wav or DC_a01.wav",
        re.compile(
            r"(?:^|/)(?P<speaker>DC|JE|JK|KL)[/_](?P<sentence>(?P<emotion>sa|su|[adfhn])\d\d)$"
        ),
        {"emotion": _table("a angry, d disgust, f fear, h happy, n neutral, sa sad, su surprise")},
        dict.fromkeys(("DC", "JE", "JK", "KL"), "M"),
    ),
    # Burkhardt et al. 2005, doi:10.21437/Interspeech.2005-446; the letters are German words'
    "emodb": Scheme(
        "EmoDB",
        "wav/03a01Fa.wav",
        re.compile(
            r"/(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z]?)$"
        ),
        {"emotion": _table("W angry, L boredom, E disgust, A fear, F happy, T sad, N neutral")},
        dict.fromkeys(("03", "10", "11", "12", "15"), "M")
        | dict.fromkeys(("08", "09", "13", "14", "16"), "F"),
    ),
    # Christop 2024, arXiv:2404.06292; sexes from its data.tsv
    "nemo": Scheme(
        "nEMO",
        "samples/EB0_anger_1.wav",
        re.compile(r"/(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<sentence>\d+)$"),
        {
            "emotion": {
                word: normalise_label(word)
                for word in ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
            }
        },
        dict.fromkeys(("EB0", "IC0", "KD0", "MK0"), "F")
        | dict.fromkeys(("KS0", "MP0", "SM0", "TP0", "WR0"), "M"),
    ),
}
"""The corpora whose public folder layouts and file names are understood."""

ACTED = frozenset({"ravdess", "cremad", "tess", "savee", "emodb", "nemo", "turev"})
"""Corpora, whoever reads them, whose speakers were asked to sound an emotion.

The Urdu one (Latif et al. 2018, arXiv:1812.10411) is not among them: it is of talk shows.
"""
