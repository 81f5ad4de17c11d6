import gc
import io
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ser_core import audio
from ser_core.audio import Limits, decode_blocks, load
from tests import sounds
from tests.sounds_av import AV_FORMATS, encode_av


def rate_of(name: str) -> int:
    return AV_FORMATS[name][2]


def alignment(heard: np.ndarray, expected: np.ndarray) -> float:
    """Highest correlation at any shift up to 0.1 s: encoders add a delay."""
    size = min(heard.size, expected.size) - 3_200
    a = heard[1_600 : 1_600 + size]
    return max(
        float(np.corrcoef(a, expected[1_600 + shift : 1_600 + shift + size])[0, 1])
        for shift in range(-1_600, 1_600, 2)
    )


def outcome(content: bytes, limits: Limits = audio.DEFAULT_LIMITS) -> tuple[str, int]:
    """Code of the refusal and samples that were read, one of which is nothing."""
    try:
        return "", load(content, limits=limits).size
    except audio.AudioError as error:
        return error.code, 0


@pytest.mark.parametrize("name", AV_FORMATS)
def test_what_phones_and_browsers_record_is_read(name):
    loaded = load(encode_av(sounds.voice(2, sampling_rate=rate_of(name)), name))
    assert loaded.dtype == np.float32
    assert abs(loaded.size - 32_000) <= 0.15 * 16_000
    assert alignment(loaded, load(sounds.encode(sounds.voice(2)))) > 0.75


@pytest.mark.parametrize("name", ["m4a-alac", "mov", "mkv"])
def test_lossless_formats_give_back_the_samples(name):
    signal = sounds.voice(2)
    np.testing.assert_allclose(load(encode_av(signal, name)), signal, rtol=0, atol=2**-15)


@pytest.mark.parametrize(
    ("subtype", "tolerance"), [("ULAW", 0.02), ("ALAW", 0.02), ("GSM610", 0.3)]
)
def test_the_telephones_8_khz_wav_is_read(tmp_path, subtype, tolerance):
    signal = sounds.voice(2, sampling_rate=8_000)
    soundfile.write(tmp_path / "call.wav", signal, 8_000, subtype=subtype)
    loaded = load(tmp_path / "call.wav")
    expected = soxr.resample(signal, 8_000, 16_000)
    np.testing.assert_allclose(loaded[: expected.size], expected, rtol=0, atol=tolerance)


def test_channels_are_averaged_or_kept_apart():
    left, right = sounds.voice(1, 120), sounds.voice(1, 220, seed=1)
    encoded = encode_av(np.stack([left, right], axis=1), "m4a-alac")
    np.testing.assert_allclose(load(encoded), (left + right) / 2, rtol=0, atol=2**-14)
    apart = np.concatenate(list(audio.decode_channels(encoded)))
    np.testing.assert_allclose(apart, np.stack([left, right], axis=1), rtol=0, atol=2**-14)


def test_the_sound_of_a_video_is_read_and_its_pictures_are_not():
    signal = sounds.voice(1)
    for video in ("mpeg4", "libx264"):
        encoded = encode_av(signal, "m4a-alac", video=video)
        assert b"vide" in encoded
        np.testing.assert_allclose(load(encoded), signal, rtol=0, atol=2**-15)


@pytest.mark.parametrize("name", ["mp4", "mov", "mkv"])
def test_a_video_that_is_longer_than_its_sound_is_as_long_as_that(name):
    signal = sounds.voice(2, sampling_rate=rate_of(name))
    encoded = encode_av(signal, name, video="mpeg4", pictures_last=8)
    assert abs(load(encoded, limits=Limits(max_seconds=3)).size - 32_000) < 0.15 * 16_000
    with pytest.raises(audio.TooLong):
        load(encoded, limits=Limits(max_seconds=1.5))


@pytest.mark.parametrize("tags", [1, 2])
def test_aac_behind_a_tag_is_read_as_hls_sends_it(tags):
    encoded = encode_av(sounds.voice(2), "aac")
    tag = b"ID3\x04\0\0\0\0\0\x3f" + b"PRIV\0\0\0\x35\0\0com.apple.streaming".ljust(63, b"\0")
    np.testing.assert_array_equal(load(tag * tags + encoded), load(encoded))


def test_a_video_without_sound_is_refused():
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        pictures = container.add_stream("mpeg4", rate=5)
        pictures.width = pictures.height = 64
        for _ in range(5):
            container.mux(pictures.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(pictures.encode(None))
    with pytest.raises(audio.NotAudio, match="holds no audio"):
        load(file.getvalue())


def test_codecs_that_are_not_on_the_list_are_refused(monkeypatch):
    monkeypatch.setitem(AV_FORMATS, "mp4-ac3", ("mp4", "ac3", 48_000))
    with pytest.raises(audio.NotAudio, match="ac3"):
        load(encode_av(sounds.voice(1, sampling_rate=48_000), "mp4-ac3"))


@pytest.mark.parametrize("name", ["m4a", "webm", "wma", "caf", "mkv"])
def test_too_long_is_refused_from_the_header(name, monkeypatch):
    from ser_core.decode_av import AvDecoder

    encoded = encode_av(sounds.voice(3, sampling_rate=rate_of(name)), name)
    assert load(encoded, limits=Limits(max_seconds=3.2)).size > 45_000
    monkeypatch.setattr(AvDecoder, "read", lambda self: pytest.fail("decoded"))
    with pytest.raises(audio.TooLong):
        load(encoded, limits=Limits(max_seconds=2.5))


@pytest.mark.parametrize("name", AV_FORMATS)
def test_too_long_is_refused_at_the_latest_while_decoding(name):
    encoded = encode_av(sounds.voice(3, sampling_rate=rate_of(name)), name)
    with pytest.raises(audio.TooLong):
        load(encoded, limits=Limits(max_seconds=2))


def test_too_many_channels_and_too_high_rates_are_refused():
    six = encode_av(np.repeat(sounds.voice(1)[:, None], 6, axis=1), "m4a")
    with pytest.raises(audio.TooManyChannels, match="6"):
        load(six, limits=Limits(max_channels=2))
    with pytest.raises(audio.UnsupportedRate):
        load(six, limits=Limits(max_sampling_rate=8_000))


def test_eight_channels_are_read():
    # PyAV's own way to the samples of eight planes reads beyond them.
    signal = sounds.voice(1)
    eight = encode_av(np.repeat(signal[:, None], 8, axis=1), "m4a")
    apart = np.concatenate(list(audio.decode_channels(eight)))
    assert apart.shape[1] == 8
    assert alignment(apart[:, 0], signal) > 0.75


def test_more_channels_than_pyav_can_count_are_refused_whatever_the_limit(monkeypatch):
    from ser_core import decode_av

    monkeypatch.setattr(decode_av, "MOST_CHANNELS", 4)
    six = encode_av(np.repeat(sounds.voice(1)[:, None], 6, axis=1), "m4a")
    with pytest.raises(audio.TooManyChannels, match="6"):
        load(six, limits=Limits(max_channels=255))


def test_silence_is_refused():
    with pytest.raises(audio.Silent):
        load(encode_av(sounds.silence(1, 44_100), "mp4"))


@pytest.mark.parametrize("name", AV_FORMATS)
def test_a_file_cut_off_gives_what_came_or_is_refused(name):
    encoded = encode_av(sounds.voice(4, sampling_rate=rate_of(name)), name)
    for share in (0.02, 0.3, 0.7, 0.95):
        code, samples = outcome(encoded[: int(len(encoded) * share)])
        assert code in {"", "not-audio", "too-short", "empty"}
        assert samples < 4.2 * 16_000


@pytest.mark.parametrize("name", AV_FORMATS)
def test_damage_anywhere_gives_sound_or_a_named_error(name):
    encoded = encode_av(sounds.voice(1, sampling_rate=rate_of(name)), name)
    rng = np.random.default_rng(7)
    for _ in range(60):
        damaged = bytearray(encoded)
        for place in rng.integers(0, len(damaged), 8):
            damaged[place] = int(rng.integers(256))
        code, samples = outcome(bytes(damaged), Limits(max_seconds=20))
        assert bool(code) != bool(samples)
        assert samples <= 20 * 16_000


def test_an_mp4_whose_atoms_claim_gigabytes_is_refused_without_taking_them():
    import psutil

    encoded = encode_av(sounds.voice(1), "m4a-alac")
    load(encoded)
    before = psutil.Process().memory_info().rss
    for atom in (b"moov", b"mdat", b"stsz", b"stts", b"stsc", b"stco", b"trak"):
        place = re.search(re.escape(atom), encoded).start()
        damaged = bytearray(encoded)
        damaged[place - 4 : place] = b"\x7f\xff\xff\xff"
        if atom in {b"stsz", b"stts", b"stsc", b"stco"}:
            count = place + (12 if atom == b"stsz" else 8)
            damaged[count : count + 4] = b"\x0f\xff\xff\xff"
        code, samples = outcome(bytes(damaged))
        assert code in {"", "not-audio"}
        assert samples <= 17_000
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_no_other_file_is_opened_whatever_the_content_asks(tmp_path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sounds.encode(sounds.voice()))
    playlist = f"#EXTM3U\n#EXTINF:3,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {secret}\n".encode()
    for content in (playlist, concat, b"v=0\no=- 0 0 IN IP4 127.0.0.1\n", b"#!AMR" + playlist):
        with pytest.raises(audio.NotAudio):
            load(content)


def test_blocks_stay_small_even_if_a_packet_is_large():
    encoded = encode_av(sounds.voice(8), "mov")
    blocks = list(decode_blocks(encoded))
    assert max(block.size for block in blocks) <= audio.BLOCK
    assert sum(block.size for block in blocks) == 8 * 16_000


def test_errors_of_the_storage_stay_what_they_are():
    class Broken(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            if self.reads > 2:
                raise ConnectionResetError("gone")
            return super().read(size)

    with pytest.raises(ConnectionResetError, match="gone"):
        load(Broken(encode_av(sounds.voice(8), "mov")))


@pytest.mark.parametrize("name", ["wav", "mp3", "m4a", "webm"])
@pytest.mark.parametrize("seconds", [0.5, 5.0], ids=["too long", "too slow"])
def test_a_file_is_let_go_of_as_soon_as_it_is_read_or_refused(name, seconds):
    sound = sounds.voice(1, sampling_rate=rate_of(name) if name in AV_FORMATS else 16_000)
    encoded = {
        "wav": lambda: sounds.encode(sound),
        "mp3": lambda: sounds.encode(sound, "mp3"),
    }.get(name, lambda: encode_av(sound, name))()

    class Upload(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            if seconds > 1 and self.reads > 3:
                raise TimeoutError
            return super().read(min(size or 0, 500))

    upload = Upload(encoded)
    alive = weakref.ref(upload)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises((audio.TooLong, TimeoutError)):
            for _ in decode_blocks(upload, limits=Limits(max_seconds=seconds)):
                pass
        del upload
        assert alive() is None
    finally:
        gc.enable()


def test_plain_wav_loads_nothing_of_it():
    code = (
        "import sys; from ser_core.audio import load; from tests.sounds import encode, voice;"
        "load(encode(voice(1))); print('av' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    answer = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    assert answer.strip() == "False"


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_wrong_count_of_samples_in_an_mp4_takes_no_memory():
    # Ten million samples of one byte, at which FFmpeg would make an index of 240 MB.
    import psutil

    encoded = bytearray(encode_av(sounds.voice(1, sampling_rate=44_100), "mp4"))
    sizes = encoded.index(b"stsz")
    encoded[sizes + 8 : sizes + 16] = (1).to_bytes(4, "big") + (10_000_000).to_bytes(4, "big")
    chunks = encoded.index(b"stsc")
    encoded[chunks + 16 : chunks + 20] = (10_000_000).to_bytes(4, "big")
    load(encode_av(sounds.voice(1)))
    process = psutil.Process()
    Path("/proc/self/clear_refs").write_text("5")
    before = process.memory_info().rss
    outcome(bytes(encoded), Limits(max_seconds=20))
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    assert peak - before < 30_000_000
