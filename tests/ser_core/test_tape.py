"""A recording that is listened to twice, in constant memory."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ser_core.audio import Limits, NotAudio, decode_blocks
from ser_core.tape import KEPT, Tape
from tests import sounds

SPANS = [(0, 5), (3, 48_000), (3, 4), (20_000, 60_000), (200_000, 200_001), (299_000, 300_000)]


@pytest.mark.parametrize("block", [1_000, 16_384, 400_000])
def test_spans_are_cut_out_of_the_stream_as_out_of_an_array(block: int) -> None:
    signal = sounds.noise(300_000 / 16_000)
    tape = Tape(lambda: (signal[i : i + block] for i in range(0, len(signal), block)), 16_000)
    for (start, stop), piece in zip(SPANS, tape.cut(SPANS), strict=True):
        np.testing.assert_array_equal(piece, signal[start:stop])


def test_each_channel_is_cut_and_surveyed_for_itself() -> None:
    signal = np.stack([sounds.voice(2.0), sounds.noise(2.0)], axis=1)
    tape = Tape.of_signal(signal, 16_000)
    assert [survey.voiced().mean() > 0.5 for survey in tape.surveys] == [True, False]
    (piece,) = tape.cut([(100, 200)], channel=1)
    np.testing.assert_array_equal(piece, signal[100:200, 1])


def test_short_recordings_are_decoded_once_and_long_ones_twice() -> None:
    for samples, passes in ((KEPT, 1), (KEPT + 1, 2)):
        asked = 0

        def blocks(samples: int = samples):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            yield np.ones(samples, np.float32)

        tape = Tape(blocks, 16_000)
        assert [len(piece) for piece in tape.cut([(0, 10), (5, 20)])] == [10, 15]
        assert asked == passes


def test_a_file_that_changes_in_between_is_refused(tmp_path: Path) -> None:
    minutes = sounds.encode_blocks([sounds.noise(60)] * 2, "wav16")
    path = tmp_path / "growing.wav"
    path.write_bytes(minutes)
    tape = Tape(lambda: decode_blocks(path), 16_000)
    path.write_bytes(sounds.encode(sounds.voice(5)))
    with pytest.raises(NotAudio, match="changed"):
        list(tape.cut([(0, 48_000), (1_000_000, 1_048_000)]))


def test_twenty_minutes_take_constant_memory() -> None:
    minute = sounds.noise(60, 0.1)
    whole = sounds.encode_blocks((minute for _ in range(20)), "wav8")
    spans = [(start, start + 48_000) for start in range(0, 1_190 * 16_000, 480_000)]
    tracemalloc.start()
    tape = Tape(lambda: decode_blocks(io.BytesIO(whole), limits=Limits(1_200)), 16_000)
    cut = sum(len(piece) for piece in tape.cut(spans))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cut == 48_000 * len(spans)
    assert tape.surveys[0].samples == 1_200 * 16_000
    # io.BytesIO shares the file's bytes; everything else is held by the tape.
    assert peak < 14_000_000
