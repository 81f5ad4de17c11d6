"""What is normal for a voice: the functionals of a speaker's recordings, averaged.

A profile describes a person's voice. It is personal data: keep it with the care that a recording
would need, and never log it.
"""

import base64
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 50
"""Recordings that a profile counts at most: later ones then replace the earliest slowly."""
STEPS = 24.0
"""Steps of one standard deviation in a token; a value is kept within +-5 of them."""

ANOTHER = "The profile is of another model; make a new one with this."

_HEADER = struct.Struct("<4sBf")
_VERSION = 1


class ProfileError(ValueError):
    """A profile that is of another model, or whose token is damaged."""


@dataclass(frozen=True)
class Norm:
    """What is normal for the speakers that a bundle was trained on, and how far one may be off."""

    mean: NDArray[np.float32]
    """`(functionals,)`."""
    spread: NDArray[np.float32]
    """Standard deviation of utterances around their speaker's mean, `(functionals,)`."""

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> "Norm":
        """From `bundle.json`'s `profile`: lists `mean` and `spread` of the same length.

        Raises:
            ValueError: they are not that (KeyError: one is missing; TypeError: not of numbers).
        """
        mean = np.asarray(info["mean"], np.float32)
        spread = np.asarray(info["spread"], np.float32)
        if mean.ndim != 1 or not mean.size or mean.shape != spread.shape:
            raise ValueError("mean and spread must be lists of the same length")
        if not (np.isfinite(mean).all() and np.isfinite(spread).all() and (spread > 0).all()):
            raise ValueError("mean must be finite, and spread above 0")
        return cls(mean, spread)

    def to_info(self) -> dict[str, list[float]]:
        """What `bundle.json` says of it: enough digits for the float32 values that there are."""
        return {
            "mean": [float(f"{value:.9g}") for value in self.mean],
            "spread": [float(f"{value:.9g}") for value in self.spread],
        }

    @property
    def fingerprint(self) -> bytes:
        """Four bytes that tell the profiles of one bundle from those of another."""
        return zlib.crc32(self.mean.tobytes() + self.spread.tobytes()).to_bytes(4, "little")


@dataclass(frozen=True)
class Profile:
    """The mean functionals of some recordings of one speaker. Immutable: `update` gives another."""

    mean: NDArray[np.float32]
    """`(functionals,)`."""
    count: float
    """How many recordings it stands for; windows without speech count little."""
    origin: bytes = b""
    """The fingerprint of its bundle's norm; empty: nobody said."""

    @classmethod
    def from_info(cls, info: Mapping[str, Any], norm: Norm) -> "Profile":
        """From `bundle.json`'s `home`: a list `mean` as long as the norm's, and a `count`.

        Raises:
            ValueError: it is not that (KeyError: one is missing; TypeError: not of numbers).
        """
        mean, count = np.asarray(info["mean"], np.float32), float(info["count"])
        if mean.shape != norm.mean.shape or not np.isfinite(mean).all():
            raise ValueError(f"mean must be a list of {len(norm.mean)} finite numbers")
        if not 0 < count <= MOST:
            raise ValueError(f"count {count} is not above 0 and at most {MOST}")
        return cls(mean, count, norm.fingerprint)

    def check(self, norm: Norm) -> None:
        """Numbers that another bundle computed say nothing of a voice here.

        Raises:
            ProfileError: it is of a bundle with another norm than this one.
        """
        if self.origin not in {b"", norm.fingerprint} or self.mean.shape != norm.mean.shape:
            raise ProfileError(ANOTHER)

    def update(self, other: "Profile") -> "Profile":
        """The profile of both together.

        Raises:
            ProfileError: they are of different bundles.
        """
        origins = {self.origin, other.origin} - {b""}
        if len(origins) > 1 or self.mean.shape != other.mean.shape:
            raise ProfileError("The profiles are of different models: they cannot become one.")
        count = self.count + other.count
        if not count:
            return self
        share = np.float32(other.count / count)
        mean = self.mean + share * (other.mean - self.mean)
        return Profile(mean, min(count, float(MOST)), *origins)

    def to_token(self, norm: Norm) -> str:
        """A short text that holds this profile, for a client to keep and to send again.

        Raises:
            ProfileError: it is of a bundle with another norm than this one.
        """
        self.check(norm)
        scaled = (self.mean - norm.mean) / norm.spread * STEPS
        values = np.clip(np.rint(scaled), -127, 127).astype(np.int8).tobytes()
        body = _HEADER.pack(norm.fingerprint, _VERSION, self.count) + values
        return base64.urlsafe_b64encode(body + _checksum(body)).rstrip(b"=").decode()

    @classmethod
    def from_token(cls, token: str, norm: Norm) -> "Profile":
        """The profile that `to_token` wrote.

        Raises:
            ProfileError: the token is damaged, or of another bundle.
        """
        # The decoder would leave out what is none of its letters.
        if not re.fullmatch(r"[A-Za-z0-9_-]*", token) or len(token) % 4 == 1:
            raise ProfileError("The profile token is damaged: it is not base64.")
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        if len(raw) < _HEADER.size + 4 or _checksum(raw[:-4]) != raw[-4:]:
            raise ProfileError("The profile token is damaged: its checksum is wrong.")
        fingerprint, version, count = _HEADER.unpack_from(raw)
        values = np.frombuffer(raw[_HEADER.size : -4], np.int8)
        if (fingerprint, version, len(values)) != (norm.fingerprint, _VERSION, len(norm.mean)):
            raise ProfileError(ANOTHER)
        if not 0 < count <= MOST:
            raise ProfileError("The profile token is damaged: its count is out of range.")
        mean = (norm.mean + values / np.float32(STEPS) * norm.spread).astype(np.float32)
        return cls(mean, count, fingerprint)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "little")
