"""Why a recording cannot be judged."""

from typing import ClassVar

# The names say what is wrong with the audio; an Error behind each would only repeat the base.
# ruff: noqa: N818


class AudioError(ValueError):
    """Audio that cannot be judged; the message is for people, `code` for programs."""

    code: ClassVar[str] = "audio"


class NotAudio(AudioError):
    """Unreadable, of an unknown format, or damaged beyond use."""

    code = "not-audio"


class EmptyAudio(AudioError):
    """No bytes, or not one sample."""

    code = "empty"


class TooShort(AudioError):
    """Shorter than `Limits.min_seconds`."""

    code = "too-short"


class TooLong(AudioError):
    """Longer than `Limits.max_seconds`."""

    code = "too-long"


class TooManyChannels(AudioError):
    """More channels than `Limits.max_channels`."""

    code = "too-many-channels"


class UnsupportedRate(AudioError):
    """A sampling rate outside of `MIN_SAMPLING_RATE` to `Limits.max_sampling_rate`."""

    code = "sampling-rate"


class NotFinite(AudioError):
    """Samples that are NaN, infinite, or beyond `MAX_PEAK`."""

    code = "not-finite"


class Silent(AudioError):
    """Swings by less than `SILENCE`."""

    code = "silent"
