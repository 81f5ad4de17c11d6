import errno
import io
import os
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ser_core import audio
from ser_core.audio import Limits, as_signal, check_signal, decode_blocks, load
from ser_core.decode import SoundFileDecoder
from tests import sounds

LOSSLESS = {
    "wav8": 1 / 128,
    "wav16": 2**-15,
    "wav24": 2**-23,
    "wav32": 2**-23,
    "wav-float": 0,
    "wav-double": 0,
    "aiff": 2**-15,
    "flac": 2**-15,
}
"""Format -> the largest error its samples may have."""

LOSSY = ("vorbis", "opus", "mp3")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("format_name", LOSSLESS)
def test_lossless_formats_give_back_the_samples(format_name):
    signal = sounds.voice()
    loaded = load(sounds.encode(signal, format_name))
    assert loaded.dtype == np.float32
    assert loaded.shape == signal.shape
    np.testing.assert_allclose(loaded, signal, rtol=0, atol=LOSSLESS[format_name])


@pytest.mark.parametrize("format_name", LOSSY)
def test_lossy_formats_give_back_the_sound(format_name):
    signal = sounds.voice()
    loaded = load(sounds.encode(signal, format_name))
    assert loaded.shape == signal.shape
    assert correlation(loaded, signal) > 0.99


@pytest.mark.parametrize("sampling_rate", [8_000, 12_000, 16_000, 24_000, 48_000])
def test_opus_of_every_rate_sounds_the_same_at_16_khz(sampling_rate):
    loaded = load(
        sounds.encode(sounds.voice(2, sampling_rate=sampling_rate), "opus", sampling_rate)
    )
    expected = soxr.resample(sounds.voice(2, sampling_rate=sampling_rate), sampling_rate, 16_000)
    assert abs(loaded.size - 32_000) <= 2
    # libsndfile's Opus is one sample of 24 kHz early, nobody hears that.
    shifts = [loaded[k : k + 31_900] for k in range(3)]
    assert max(correlation(shifted, expected[1:31_901]) for shifted in shifts) > 0.98


@pytest.mark.parametrize("sampling_rate", [1_000, 8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_any_rate_is_resampled_as_soxr_would_in_one_piece(sampling_rate):
    signal = sounds.voice(2, sampling_rate=sampling_rate)
    loaded = load(sounds.encode(signal, "wav-float", sampling_rate))
    expected = soxr.resample(signal, sampling_rate, 16_000)
    assert loaded.size == 32_000
    np.testing.assert_allclose(loaded, expected, rtol=0, atol=1e-6)


def test_a_tone_keeps_its_pitch_and_level_at_another_rate():
    loaded = load(sounds.encode(sounds.tone(1, 1000, 0.5, 44_100), "wav24", 44_100), 22_050)
    spectrum = np.abs(np.fft.rfft(loaded[:22_050]))
    assert loaded.size == 22_050
    assert spectrum.argmax() == 1000
    assert np.abs(loaded[500:-500]).max() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("channels", [2, 8])
def test_channels_are_averaged(channels):
    voices = np.stack([sounds.voice(1, 100 + 20 * c) for c in range(channels)], axis=1)
    np.testing.assert_allclose(
        load(sounds.encode(voices, "wav-float")), voices.mean(axis=1), atol=1e-6
    )


def test_path_bytes_and_file_object_give_the_same(tmp_path):
    wav = sounds.encode(sounds.voice())
    path = tmp_path / "voice.wav"
    path.write_bytes(wav)
    expected = load(wav)
    with path.open("rb") as file:
        file.seek(100)
        np.testing.assert_array_equal(load(file), expected)
        assert not file.closed
    with path.open("rb", buffering=0) as unbuffered:
        np.testing.assert_array_equal(load(unbuffered), expected)
    for source in (path, str(path), bytearray(wav), memoryview(wav), io.BytesIO(wav)):
        np.testing.assert_array_equal(load(source), expected)


@pytest.mark.parametrize("format_name", ["wav16", "flac", "mp3", "opus"])
def test_the_type_is_told_by_content_not_by_name(tmp_path, format_name):
    encoded = sounds.encode(sounds.voice(), format_name)
    path = tmp_path / "voice.raw"
    path.write_bytes(encoded)
    np.testing.assert_array_equal(load(path), load(encoded))


def test_a_pipe_that_cannot_seek_is_read(tmp_path):
    (tmp_path / "voice.wav").write_bytes(sounds.encode(sounds.voice()))
    code = "import sys; from ser_core.audio import load; print(load(sys.stdin.buffer).size)"
    with subprocess.Popen(["cat", tmp_path / "voice.wav"], stdout=subprocess.PIPE) as cat:
        answer = subprocess.check_output(
            [sys.executable, "-c", code], stdin=cat.stdout, cwd=Path(audio.__file__).parents[1]
        )
    assert int(answer) == 48_000


@pytest.mark.parametrize("format_name", ["wav16", "flac", "mp3", "vorbis", "opus"])
@pytest.mark.parametrize("sampling_rate", [16_000, 48_000])
def test_blocks_concatenate_to_what_load_gives(format_name, sampling_rate):
    encoded = sounds.encode(
        sounds.voice(20, sampling_rate=sampling_rate), format_name, sampling_rate
    )
    blocks = list(decode_blocks(encoded))
    assert len(blocks) > 3
    assert max(block.size for block in blocks) <= 2 * audio.BLOCK
    np.testing.assert_array_equal(np.concatenate(blocks), load(encoded))


def test_blocks_of_a_long_recording_take_constant_memory():
    minute = sounds.tone(60, sampling_rate=8_000)
    encoded = sounds.encode_blocks((minute for _ in range(9)), "flac", 8_000)
    tracemalloc.start()
    samples = sum(block.size for block in decode_blocks(encoded))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 9 * 60 * 16_000
    assert peak < 2_000_000


def test_threads_do_not_disturb_each_other():
    files = [sounds.encode(sounds.voice(1, 100 + i), f) for i, f in enumerate(sounds.FORMATS)]
    expected = [load(file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        for signal, alone in zip(pool.map(load, files * 10), expected * 10, strict=True):
            np.testing.assert_array_equal(signal, alone)


def test_real_ogg_opus_decodes_at_its_own_rate_and_length(ser_data):
    paths = sorted((ser_data / "ravdess").rglob("*.opus"))[::150]
    assert len(paths) >= 5
    for path in paths:
        expected, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        np.testing.assert_array_equal(load(path), expected)


# What is refused


@pytest.mark.parametrize(
    "content",
    [
        b"Dear all, this is a text that somebody named .wav. " * 100,
        "a text of another encoding ".encode("utf-16") * 100,
        bytes(10_000),
        b"\xff" * 10_000,
        b"RIFF\x10\x00\x00\x00WAVEfmt ",
        b"OggS" + bytes(500),
        b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(500),
        b"fLaC",
        b"R",
    ],
    ids=["text", "utf-16", "zeros", "ones", "wav", "ogg", "id3", "flac", "one byte"],
)
def test_what_is_no_audio_is_refused(content):
    with pytest.raises(audio.NotAudio) as caught:
        load(content)
    assert caught.value.code == "not-audio"


def test_random_bytes_are_refused_whatever_they_start_with():
    junk = np.random.default_rng(1).integers(0, 256, 50_000, np.uint8).tobytes()
    for head in (b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb\x90\x00"):
        with pytest.raises(audio.NotAudio):
            load(head + junk)


@pytest.mark.parametrize("start", [b"RIFF", b"OggS", b"\0\0\0\x18ftypM4A "])
def test_what_begins_like_audio_and_is_none_is_told_what_is_read(start):
    with pytest.raises(audio.NotAudio) as caught:
        load(start + bytes(500))
    words = str(caught.value)
    assert words.startswith("The audio cannot be read: ")
    assert words.endswith(f". What is read: {audio.READABLE}.")
    assert ".." not in words


def test_an_ogg_of_another_codec_is_told_so():
    head = b"Speex   " + b"1.2".ljust(20, b"\0")
    head += struct.pack("<13i", 1, 80, 16_000, 1, 4, 1, -1, 320, 0, 1, 0, 0, 0)
    page = b"OggS\0\2" + struct.pack("<qIII", 0, 1, 0, 0) + bytes([1, len(head)]) + head
    page = page[:22] + struct.pack("<I", _crc(page)) + page[26:]
    with pytest.raises(audio.NotAudio, match=r"^The audio cannot be read: .* unknown codec\. What"):
        load(page)


def _crc(page: bytes) -> int:
    """Of Ogg (RFC 3533): like that of POSIX, from 0 and not inverted."""
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x104C11DB7 if remainder & 0x80000000 else 0)
    return remainder


def test_the_decoders_own_words_are_kept():
    with pytest.raises(audio.NotAudio, match="No 'data' chunk marker") as caught:
        load(b"RIFF\x10\x00\x00\x00WAVEfmt ")
    assert isinstance(caught.value.__cause__, soundfile.LibsndfileError)


@pytest.mark.parametrize("content", [b"", sounds.encode(sounds.silence(0))], ids=["bytes", "wav"])
def test_nothing_at_all_is_refused_as_empty(content):
    with pytest.raises(audio.EmptyAudio) as caught:
        load(content)
    assert caught.value.code == "empty"


def test_less_than_a_tenth_of_a_second_is_too_short():
    assert load(sounds.encode(sounds.tone(0.1))).size == 1_600
    with pytest.raises(audio.TooShort, match=r"0\.050 s") as caught:
        load(sounds.encode(sounds.tone(0.05)))
    assert caught.value.code == "too-short"


@pytest.mark.parametrize("format_name", ["wav16", "flac", "vorbis", "opus", "mp3"])
def test_too_long_is_refused_from_the_header_before_decoding(format_name, monkeypatch):
    encoded = sounds.encode(sounds.tone(3), format_name)
    assert load(encoded, limits=Limits(max_seconds=3)).size == 48_000
    monkeypatch.setattr(SoundFileDecoder, "read", lambda self: pytest.fail("decoded"))
    with pytest.raises(audio.TooLong) as caught:
        load(encoded, limits=Limits(max_seconds=2.9))
    assert caught.value.code == "too-long"


def test_a_flac_of_unknown_length_is_decoded_and_stopped_at_the_limit():
    encoded = sounds.flac_of_unknown_length(sounds.encode(sounds.voice(), "flac"))
    assert soundfile.info(io.BytesIO(encoded)).frames == 2**63 - 1
    assert load(encoded).size == 48_000
    with pytest.raises(audio.TooLong):
        load(encoded, limits=Limits(max_seconds=2))


def test_a_small_flac_that_holds_more_than_an_hour_is_stopped_at_the_limit():
    minute = np.full(60 * 8_000, 0.5, np.float32)
    encoded = sounds.encode_blocks((minute for _ in range(61)), "flac", 8_000)
    assert len(encoded) < 700_000
    unknown = sounds.flac_of_unknown_length(encoded)
    for source in (encoded, unknown):
        with pytest.raises(audio.TooLong):
            load(source)
    blocks: list[np.ndarray] = []
    with pytest.raises(audio.TooLong):
        blocks.extend(decode_blocks(unknown))
    assert 599 * 16_000 < sum(block.size for block in blocks) <= 600 * 16_000


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 3_000_000_000, 96_002])
def test_a_wav_that_claims_more_than_came_gives_what_it_holds(size):
    # ffmpeg writes the first into a pipe, as it cannot go back to the header; sox the second.
    wav = sounds.wav_with_data_size(sounds.encode(sounds.voice()), size)
    assert load(wav).size == 48_000


def test_a_wav_whose_header_claims_no_samples_is_empty():
    with pytest.raises(audio.EmptyAudio):
        load(sounds.wav_with_data_size(sounds.encode(sounds.voice()), 0))


def test_too_many_channels_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(SoundFileDecoder, "read", lambda self: pytest.fail("decoded"))
    for channels in (9, 1024):
        with pytest.raises(audio.TooManyChannels, match=str(channels)) as caught:
            load(sounds.encode(np.zeros((2_000, channels), np.float32)))
    assert caught.value.code == "too-many-channels"


@pytest.mark.parametrize("sampling_rate", [1, 999, 192_001, 2**31 - 1])
def test_rates_of_no_microphone_are_refused_before_decoding(sampling_rate, monkeypatch):
    monkeypatch.setattr(SoundFileDecoder, "read", lambda self: pytest.fail("decoded"))
    with pytest.raises(audio.UnsupportedRate) as caught:
        load(sounds.encode(sounds.tone(), sampling_rate=sampling_rate))
    assert caught.value.code == "sampling-rate"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_finite_are_refused(value, channels):
    signal = np.repeat(sounds.voice()[:, None], channels, axis=1)
    signal[30_000] = value
    with pytest.raises(audio.NotFinite) as caught:
        load(sounds.encode(signal, "wav-float"))
    assert caught.value.code == "not-finite"


def test_samples_beyond_full_scale_are_kept():
    signal = sounds.voice() * 32_768
    np.testing.assert_array_equal(load(sounds.encode(signal, "wav-float")), signal)


@pytest.mark.parametrize("sampling_rate", [16_000, 44_100])
@pytest.mark.parametrize(
    "signal",
    [
        sounds.silence(),
        sounds.silence() + 0.5,
        sounds.tone(level=5e-5),
        np.stack([sounds.tone(), -sounds.tone()], axis=1),
    ],
    ids=["zeros", "constant", "below the threshold", "channels that cancel out"],
)
def test_silence_is_refused(signal, sampling_rate):
    with pytest.raises(audio.Silent) as caught:
        load(sounds.encode(signal, "wav24", sampling_rate))
    assert caught.value.code == "silent"


@pytest.mark.parametrize("sampling_rate", [16_000, 44_100])
def test_channels_that_cancel_each_other_out_are_told_from_silence(sampling_rate):
    sound = sounds.voice(5.0, sampling_rate=sampling_rate)
    opposed = sounds.encode(np.stack([sound, -sound], axis=1), sampling_rate=sampling_rate)
    with pytest.raises(audio.Silent, match="cancel each other out"):
        load(opposed)
    with pytest.raises(audio.Silent, match=r"^The audio is silent\.$"):
        load(sounds.encode(np.zeros((16_000, 2), np.float32)))


def test_sound_that_the_asked_rate_cannot_carry_is_silent():
    tone = sounds.tone(1, 20_000, 0.5, 48_000) * np.hanning(48_000).astype(np.float32)
    with pytest.raises(audio.Silent):
        load(sounds.encode(tone, "wav24", 48_000))


@pytest.mark.parametrize("format_name", ["wav16", "wav24", "flac", "vorbis", "opus", "mp3"])
def test_quiet_speech_at_minus_50_dbfs_is_heard(format_name):
    signal = sounds.voice(level=10 ** (-50 / 20))
    assert load(sounds.encode(signal, format_name)).size == 48_000


# What is damaged


@pytest.mark.parametrize("format_name", ["wav16", "wav24", "flac", "vorbis", "opus", "mp3"])
def test_a_file_cut_off_gives_what_can_be_decoded_of_it(format_name):
    encoded = sounds.encode(sounds.voice(5), format_name)
    whole = load(encoded)
    cut = load(encoded[: len(encoded) * 2 // 3])
    assert 0.25 * whole.size < cut.size < 0.8 * whole.size
    assert correlation(cut, whole[: cut.size]) > 0.99


@pytest.mark.parametrize("format_name", ["wav16", "flac", "mp3", "vorbis", "opus"])
@pytest.mark.parametrize("length", [1, 3, 4, 12, 30, 43, 44, 60, 100, 200])
def test_a_file_cut_off_at_its_beginning_is_refused(format_name, length):
    with pytest.raises((audio.NotAudio, audio.EmptyAudio, audio.TooShort)):
        load(sounds.encode(sounds.voice(), format_name)[:length])


def test_a_flac_damaged_in_its_middle_is_refused_in_the_decoders_words():
    encoded = bytearray(sounds.encode(sounds.noise(20), "flac"))
    encoded[200_000:200_500] = bytes(500)
    with pytest.raises(audio.NotAudio, match=r"damaged after \d+\.\d+ s: .*sync") as caught:
        load(bytes(encoded))
    assert isinstance(caught.value.__cause__, soundfile.LibsndfileError)


def test_a_tag_after_the_last_sample_costs_nothing():
    encoded = sounds.encode(sounds.voice(), "flac") + b"TAG".ljust(128)
    assert load(encoded).size == 48_000


@pytest.mark.parametrize("format_name", sounds.FORMATS)
def test_any_damage_gives_samples_or_a_named_error(format_name):
    rng = np.random.default_rng(3)
    encoded = np.frombuffer(sounds.encode(sounds.voice(), format_name), np.uint8)
    for _ in range(100):
        damaged = encoded.copy()
        at = rng.integers(0, min(200, damaged.size) if rng.random() < 0.5 else damaged.size, 4)
        damaged[at] = rng.integers(0, 256, at.size)
        try:
            signal = load(damaged.tobytes())
        except audio.AudioError:
            continue
        assert signal.dtype == np.float32
        assert np.isfinite(signal).all()


# What the storage does


def test_a_missing_file_and_a_folder_stay_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.wav")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_a_pipe_by_its_name_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(OSError, match="not a regular file") as caught:
        load(tmp_path / "pipe.wav")
    assert caught.value.errno == errno.ESPIPE


class BreakingFile(io.BytesIO):
    """A file whose connection breaks after so many bytes."""

    def __init__(self, content: bytes, good_for: int) -> None:
        super().__init__(content)
        self.good_for = good_for

    def read(self, count: int | None = -1, /) -> bytes:
        if self.tell() >= self.good_for:
            raise ConnectionResetError("the other side went away")
        return super().read(count)


@pytest.mark.parametrize("good_for", [0, 20, 50_000])
@pytest.mark.parametrize("format_name", ["wav16", "flac"])
def test_an_exception_of_the_file_object_comes_through(format_name, good_for):
    file = BreakingFile(sounds.encode(sounds.voice(5), format_name), good_for)
    with pytest.raises(ConnectionResetError, match="went away"):
        load(file)


def test_a_text_file_object_is_a_type_error():
    with pytest.raises(TypeError):
        load(io.StringIO("RIFF"))


# What a caller's array needs


@pytest.mark.parametrize("sampling_rate", [8_000, 16_000, 44_100])
def test_an_array_gives_the_same_as_its_file(sampling_rate):
    signal = np.stack([sounds.voice(2, p, sampling_rate=sampling_rate) for p in (120, 200)], axis=1)
    loaded = load(sounds.encode(signal, "wav-float", sampling_rate))
    np.testing.assert_allclose(as_signal(signal, sampling_rate), loaded, rtol=0, atol=1e-6)
    assert as_signal(signal.astype(np.float64), sampling_rate).dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "scale", "offset"), [("int16", 2**15, 0), ("int32", 2**31, 0), ("uint8", 2**7, 2**7)]
)
def test_pcm_arrays_are_scaled_to_full_scale(kind, scale, offset):
    signal = sounds.voice()
    pcm = np.round(signal.astype(np.float64) * scale + offset).astype(kind)
    np.testing.assert_allclose(as_signal(pcm, 16_000), signal, rtol=0, atol=0.51 / scale + 1e-7)


@pytest.mark.parametrize(
    ("signal", "sampling_rate", "code"),
    [
        (sounds.tone().astype(np.int64), 16_000, "not-audio"),
        (sounds.tone().astype(complex), 16_000, "not-audio"),
        (["loud", "louder"], 16_000, "not-audio"),
        ([[0.1], [0.1, 0.2]], 16_000, "not-audio"),
        (0.5, 16_000, "not-audio"),
        (np.ones((2, 3, 4)), 16_000, "not-audio"),
        ([], 16_000, "empty"),
        (np.ones((100, 0)), 16_000, "empty"),
        (sounds.tone(0.09), 16_000, "too-short"),
        (np.ones(601 * 1_000), 1_000, "too-long"),
        (np.ones((2_000, 9)), 16_000, "too-many-channels"),
        (sounds.tone(), 0, "sampling-rate"),
        (sounds.tone(), np.nan, "sampling-rate"),
        (sounds.tone() * np.nan, 16_000, "not-finite"),
        (sounds.tone().astype(np.float64) * 1e300, 16_000, "not-finite"),
        (sounds.silence(), 16_000, "silent"),
    ],
)
def test_arrays_that_hold_no_speech_are_refused(signal, sampling_rate, code):
    with pytest.raises(audio.AudioError) as caught:
        as_signal(signal, sampling_rate)
    assert caught.value.code == code


def test_channels_first_is_refused_with_the_remedy():
    with pytest.raises(audio.TooManyChannels, match="transpose"):
        as_signal(np.stack([sounds.voice(), sounds.voice()]), 16_000)


def test_check_signal_passes_speech_and_names_what_is_none():
    assert check_signal(sounds.voice(), 16_000) is None
    with pytest.raises(audio.Silent):
        check_signal(sounds.silence(), 16_000)
    with pytest.raises(audio.TooLong):
        check_signal(sounds.voice(), 16_000, Limits(max_seconds=2))


def test_every_error_has_its_own_code():
    codes = [kind.code for kind in audio.AudioError.__subclasses__()]
    assert len(codes) == len(set(codes)) == 8
