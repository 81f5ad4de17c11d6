"""Feature tables, from Python and from the command line."""

import argparse
import csv
from pathlib import Path

import librosa
import numpy as np
import pytest

from ser_core import audio
from ser_core.lab.extract import KINDS, Extractor, Settings, add_arguments, extract, write
from ser_core.lab.features import MFCC, MeanOverTime
from tests import sounds


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A second of voice, and two of noise."""
    paths = [tmp_path / "voice.wav", tmp_path / "noise.flac"]
    paths[0].write_bytes(sounds.encode(sounds.voice(1.0)))
    paths[1].write_bytes(sounds.encode(sounds.noise(2.0), "flac"))
    return [str(path) for path in paths]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def test_means_and_frames_are_those_of_librosa_and_of_the_layers(files: list[str]) -> None:
    table = extract(files, ["mfcc", "rms"], frames=True)
    assert table.files == tuple(files)
    assert table.columns == (*(f"mfcc_{i}" for i in range(13)), "rms")
    assert table.hop_seconds == 0.016
    assert table.frames is not None
    assert [frames.shape for frames in table.frames] == [(63, 14), (126, 14)]
    for path, frames, means in zip(files, table.frames, table.means, strict=True):
        signal = audio.load(path)
        mfcc = librosa.feature.mfcc(y=signal, sr=16_000, n_mfcc=13, n_fft=1024, hop_length=256)
        np.testing.assert_allclose(frames[:, :13], mfcc.T, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(means, frames.mean(axis=0), rtol=1e-4)
        in_graph = MeanOverTime()(MFCC()(signal[None]))
        np.testing.assert_allclose(means[:13], in_graph[0], rtol=1e-4)


def test_every_kind_has_a_column_for_each_number(files: list[str]) -> None:
    table = extract(files[0], KINDS, Settings(n_mels=40, n_mfcc=20, n_chroma=24))
    widths = dict.fromkeys(KINDS, 0)
    for column in table.columns:
        widths[column if column in KINDS else column.rpartition("_")[0]] += 1
    assert widths == {
        "mfcc": 20, "mel": 40, "log_mel": 40, "chroma": 24, "zcr": 1, "rms": 1,
        "centroid": 1, "bandwidth": 1, "rolloff": 1, "contrast": 7,
    }  # fmt: skip
    assert table.means.shape == (1, 136)
    assert table.frames is None


def test_recordings_are_resampled_and_framed_as_the_settings_say(files: list[str]) -> None:
    settings = Settings(sampling_rate=8_000, n_fft=400, hop=160, n_mels=32)
    table = extract(files[0], "mel", settings, frames=True)
    signal = audio.load(files[0], 8_000)
    mel = librosa.feature.melspectrogram(y=signal, sr=8_000, n_fft=400, hop_length=160, n_mels=32)
    assert table.frames is not None
    np.testing.assert_allclose(table.frames[0], mel.T, rtol=1e-4, atol=1e-5 * mel.max())
    assert table.hop_seconds == 0.02


def test_csv_gives_the_means_back_exactly(files: list[str], tmp_path: Path) -> None:
    table = extract(files, ["chroma", "centroid"])
    write(table, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["file", *table.columns]
    assert [line[0] for line in lines] == files
    np.testing.assert_array_equal(np.array([line[1:] for line in lines], np.float32), table.means)


def test_npz_gives_each_recording_its_frames_back(files: list[str], tmp_path: Path) -> None:
    table = extract(files, ["rms", "zcr"], frames=True)
    write(table, tmp_path / "table.npz")
    with np.load(tmp_path / "table.npz", allow_pickle=False) as archive:
        assert archive["files"].tolist() == files
        assert archive["columns"].tolist() == ["rms", "zcr"]
        assert archive["hop_seconds"] == 0.016
        np.testing.assert_array_equal(archive["means"], table.means)
        parts = np.split(archive["frames"], np.cumsum(archive["frame_counts"])[:-1])
    assert table.frames is not None
    for part, frames in zip(parts, table.frames, strict=True):
        np.testing.assert_array_equal(part, frames)


def test_a_bad_recording_raises_and_is_named(files: list[str], tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not a sound")
    with pytest.raises(audio.NotAudio) as caught:
        extract([*files, text])
    assert caught.value.__notes__ == [f"while reading {text}"]


def test_a_bad_recording_is_left_out_where_errors_are_handled(
    files: list[str], tmp_path: Path
) -> None:
    heard: list[tuple[str, type]] = []
    missing = str(tmp_path / "missing.wav")
    table = extract(
        [files[0], missing, files[1]],
        on_error=lambda path, error: heard.append((path, type(error))),
    )
    assert table.files == tuple(files)
    assert len(table.means) == 2
    assert heard == [(missing, FileNotFoundError)]


def test_a_recording_shorter_than_half_a_mirrored_frame_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    path.write_bytes(sounds.encode(sounds.voice(0.11)))
    settings = Settings(n_fft=4096)
    with pytest.raises(audio.TooShort, match="1760 samples"):
        extract(path, "log_mel", settings)
    assert extract(path, "mfcc", settings).means.shape == (1, 13)


@pytest.mark.parametrize(
    ("kinds", "settings", "message"),
    [
        (["mfcc", "pitch"], {}, r"\['pitch'\].*mfcc, mel, log_mel"),
        ([], {}, "mfcc, mel"),
        (["mfcc"], {"n_mfcc": 200}, "n_mfcc=200"),
        (["mfcc"], {"hop": 0}, "hop=0"),
        (["rms"], {"frame_length": 2047}, "frame_length=2047 must be even"),
        (["contrast"], {"sampling_rate": 8_000}, "past half the rate"),
    ],
)
def test_what_cannot_be_extracted_is_refused_by_name(
    kinds: list[str], settings: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Extractor(kinds, Settings(**settings))


def test_command_writes_the_table_and_names_what_it_left_out(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.npz"
    missing = str(tmp_path / "missing.wav")
    assert run(*files, missing, "--kind", "zcr,mfcc", "--n-mfcc", "5", "--out", str(out)) == 1
    assert capsys.readouterr().err == f"{missing}: No such file or directory\n"
    with np.load(out, allow_pickle=False) as archive:
        assert archive["columns"].tolist() == ["zcr", *(f"mfcc_{i}" for i in range(5))]
        assert archive["files"].tolist() == files
        assert "frames" not in archive
    assert run(*files, "--out", str(out), "--frames") == 0
    with np.load(out, allow_pickle=False) as archive:
        assert archive["frame_counts"].tolist() == [63, 126]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "table.xlsx"], "table.xlsx: the name must end in .csv or .npz"),
        (["--out", "table.csv", "--frames"], "frames go into an .npz"),
        (["--out", "nowhere/table.csv"], "nowhere is not a folder"),
        (["--out", "table.csv", "--kind", "mfcc,pitch"], "no feature is called ['pitch']"),
    ],
)
def test_command_refuses_before_it_reads_anything(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("missing.wav", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "missing.wav" not in error
    assert list(tmp_path.iterdir()) == []


def test_command_writes_nothing_when_no_recording_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(tmp_path / "missing.wav"), "--out", str(tmp_path / "table.csv")) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
