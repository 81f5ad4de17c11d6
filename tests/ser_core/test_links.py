"""Several recordings one after another in a file: all are heard."""

import io
import re
from typing import Any

import numpy as np
import pytest

from ser_core import links
from ser_core.audio import Limits, NotAudio, TooLong, load
from ser_core.decode import Stream
from tests import sounds

FORMATS = ("opus", "vorbis", "flac", "mp3")
FIRST, SECOND = sounds.voice(3), sounds.voice(2, pitch=220, seed=1)
ID3V1 = b"TAG".ljust(128, b" ")
ID3V2 = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(16 + 64)


def bytes_of(format_name: str, *signals: np.ndarray) -> bytes:
    return b"".join(sounds.encode(signal, format_name) for signal in signals)


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_follows_the_first_recording_is_heard(format_name: str) -> None:
    for signals in ((FIRST, SECOND), (SECOND, FIRST), (FIRST, SECOND, FIRST)):
        alone = [load(sounds.encode(signal, format_name)) for signal in signals]
        together = load(bytes_of(format_name, *signals))
        np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("between", [ID3V1, ID3V2, APE, ID3V1 + ID3V2, APE + ID3V1])
def test_tags_between_two_mp3s_are_no_end(between: bytes) -> None:
    first, second = (sounds.encode(signal, "mp3") for signal in (FIRST, SECOND))
    expected = np.concatenate([load(first), load(second)])
    np.testing.assert_array_equal(load(first + between + second), expected)


@pytest.mark.parametrize("behind", [ID3V1, ID3V2, APE, APE + ID3V1, bytes(5000), b"\xff\xfb" * 999])
def test_what_is_no_recording_adds_nothing(behind: bytes) -> None:
    first = sounds.encode(FIRST, "mp3")
    np.testing.assert_array_equal(load(first + behind), load(first))


def test_an_mp3_that_goes_on_after_what_its_header_counts_is_heard() -> None:
    whole = bytearray(sounds.encode(sounds.voice(5), "mp3"))
    at = re.search(rb"Xing|Info", whole)
    assert at is not None
    count = int.from_bytes(whole[at.end() + 4 : at.end() + 8], "big")
    whole[at.end() + 4 : at.end() + 8] = (count // 2).to_bytes(4, "big")
    assert load(bytes(whole)).size > 0.95 * 5 * 16_000


@pytest.mark.parametrize("format_name", FORMATS)
def test_two_parts_of_a_size_and_a_number_are_two(format_name: str) -> None:
    # As an encoder without chance writes them: the second has the serial number of the first.
    long, short = (sounds.encode(signal, format_name) for signal in (FIRST, SECOND))
    assert load(long + long + short).size == 2 * 48_000 + 32_000


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_longest_that_is_accepted_holds_for_the_sum(format_name: str) -> None:
    with pytest.raises(TooLong):
        load(bytes_of(format_name, FIRST, SECOND), limits=Limits(max_seconds=4))


@pytest.mark.parametrize("format_name", FORMATS)
def test_parts_of_other_rates_or_channels_are_refused(format_name: str) -> None:
    stereo = np.stack([SECOND, SECOND], axis=1)
    others = (
        sounds.encode(stereo, format_name),
        sounds.encode(sounds.voice(2, sampling_rate=24_000), format_name, 24_000),
    )
    for other in others:
        with pytest.raises(NotAudio, match="several recordings one after another"):
            load(sounds.encode(FIRST, format_name) + other)


def test_more_than_a_hundred_are_refused() -> None:
    short = sounds.encode(sounds.voice(0.05), "opus")
    assert load(short * links.MOST).size == links.MOST * 800
    with pytest.raises(NotAudio, match="more than 100 recordings one after another"):
        load(short * (links.MOST + 1))


def test_what_cannot_seek_is_heard_to_its_end_too() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert load(Pipe(bytes_of("opus", FIRST, SECOND))).size == 80_000


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_second_that_is_cut_off_costs_nothing_of_the_first(format_name: str) -> None:
    first, second = (sounds.encode(signal, format_name) for signal in (FIRST, SECOND))
    alone = load(first)
    for cut in (1, 30, 60, 200, 300, 500, 700, 1000, 2000, 3000, 4000, len(second) - 1):
        heard = load(first + second[:cut])
        np.testing.assert_array_equal(heard[: len(alone)], alone)


def test_a_file_is_searched_from_its_beginning_to_its_end() -> None:
    class Counted(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

        def readinto(self, buffer: Any, /) -> int:
            done = super().readinto(buffer)
            self.count += done
            return done

        back = 0

        def seek(self, offset: int, whence: int = 0, /) -> int:
            before = self.tell()
            after = super().seek(offset, whence)
            self.back += after < before
            return after

    content = bytes(1_000_000)
    file = Counted(content)
    stream = Stream(file)
    file.back = 0
    assert stream.find(re.compile(b"mark"), 10) is None
    assert file.count <= len(content)
    assert file.back <= 1  # else a buffer between is thrown away each time


@pytest.mark.parametrize("format_name", FORMATS)
def test_any_damage_to_the_second_gives_samples_or_a_named_error(format_name: str) -> None:
    rng = np.random.default_rng(5)
    first, second = (sounds.encode(signal, format_name) for signal in (FIRST, SECOND))
    for _ in range(40):
        damaged = bytearray(second)
        for place in rng.integers(0, min(200, len(damaged)), 3):
            damaged[place] = int(rng.integers(256))
        try:
            assert load(first + bytes(damaged)).size >= 48_000
        except NotAudio:
            continue


def test_a_mark_across_two_blocks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_core.decode.SEARCHED", 32)
    stream = Stream(io.BytesIO(bytes(29) + b"mark" + bytes(50)))
    assert stream.find(re.compile(b"mark"), 0) == 29
    assert stream.find(re.compile(b"mark"), 30) is None
    assert stream.tell() == 0
