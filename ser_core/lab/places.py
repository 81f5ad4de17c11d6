"""What the recordings that a bundle was trained on are like, corpus by corpus.

One clip does not tell a strange microphone from a mood, but some twenty of various speakers and
moods do: their mean lies where that of a corpus lies, or further from all of them than speakers of
one corpus are apart. All of one mood, or of one speaker, may lie far off though it was heard.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_core.bundle import Bundle, BundleError
from ser_core.lab.relative import Described

UNLIKE = 1.1
"""Deviations from the nearest corpus above which clips are from elsewhere. 50 clips of several
speakers lay at .4 to 1.0 where others of their corpus were heard, and from 1.2 on where none were;
small corpora and single words, which say less of where they lie, at up to 1.5
(`benchmarks/experiments.md`)."""


@dataclass(frozen=True)
class Places:
    """Where each corpus lies, and how far its speakers are from there."""

    means: dict[str, NDArray[np.float32]]
    """Corpus -> mean functionals of its speakers, `(k,)`."""
    spread: NDArray[np.float32]
    """Standard deviation of speakers' means around that of their corpus, `(k,)`."""

    @classmethod
    def of(cls, data: Described) -> "Places | None":
        """The places of what a model is fitted to; None if no corpus has two speakers.

        Recordings that name no speaker say where a corpus lies only if none of it do.
        """
        clean = data.functionals[0]
        voices: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        nameless: dict[str, NDArray[np.float32]] = {}
        for speaker, rows in data.by_speaker().items():
            mean = clean[rows].mean(axis=0)
            if speaker in data.nobody:
                nameless[data.corpora[rows[0]]] = mean
            else:
                voices[data.corpora[rows[0]]].append(mean)
        # Each corpus counts the same: of one there may be a hundred times as many as of another.
        variances = [np.var(found, axis=0, ddof=1) for found in voices.values() if len(found) > 1]
        if not variances:
            return None
        spread = np.sqrt(np.mean(variances, axis=0)) + 1e-3
        named = {name: np.mean(found, axis=0) for name, found in voices.items()}
        return cls({**nameless, **named}, spread)

    @classmethod
    def from_info(cls, info: Mapping[str, Any], most: int) -> "Places | None":
        """From a `bundle.json`; None if it has none. Profiles hold `most` numbers.

        Raises:
            ValueError: `places` is damaged (KeyError, AttributeError, TypeError: likewise).
        """
        if (known := info.get("places")) is None:
            return None
        spread = np.asarray(known["spread"], np.float32)
        means = {name: np.asarray(mean, np.float32) for name, mean in known["means"].items()}
        same = all(mean.shape == spread.shape for mean in means.values())
        if spread.ndim != 1 or not 0 < spread.size <= most or not means or not same:
            raise ValueError(f"means and spread must be lists of the same length, at most {most}")
        if not (np.isfinite([spread, *means.values()]).all() and (spread > 0).all()):
            raise ValueError("means and spread must be finite, and spread above 0")
        return cls(means, spread)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "Places | None":
        """From a bundle; None if it does not say, or knows no profiles.

        Raises:
            BundleError: what it says is damaged.
        """
        norm = bundle.norm()
        if norm is None:
            return None
        try:
            return cls.from_info(bundle.info, len(norm.mean))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            what = "the places in its bundle.json are damaged"
            raise BundleError(f"{bundle.path}: {what}: {e}") from e

    def to_info(self) -> dict[str, Any]:
        """What `bundle.json` says of them."""
        means = {name: _short(mean) for name, mean in sorted(self.means.items())}
        return {"spread": _short(self.spread), "means": means}

    def nearest(self, mean: NDArray[np.float32]) -> tuple[str, float]:
        """The corpus nearest to the mean functionals of some clips, and how far they are from it.

        The distance is the root of the mean square over all functionals, in deviations of a
        speaker: a new speaker of that corpus alone lies at about 1, several together nearer. Of
        `mean` as many are looked at as there are, from the first on.
        """
        here = mean[: len(self.spread)]
        distances = {
            name: float(np.sqrt(np.mean(((here - there) / self.spread) ** 2)))
            for name, there in self.means.items()
        }
        name = min(distances, key=distances.__getitem__)
        return name, distances[name]


def _short(values: NDArray[np.float32]) -> list[float]:
    """Five digits: more than a distance needs."""
    return [float(f"{value:.5g}") for value in values]
