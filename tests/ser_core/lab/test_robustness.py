"""The same recordings under other conditions."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core import audio
from ser_core.cli import main
from ser_core.lab import robustness
from ser_core.lab.corpora import Utterance
from ser_core.lab.robustness import (
    CLEAN,
    POOL,
    babble,
    choose,
    conditions,
    encoded,
    judge,
    level,
    mixed,
    rows,
    small_room,
    talkers_of,
    telephone,
)
from ser_core.lab.robustness_command import markdown
from tests.acting import read_rows, write_corpus, write_manifest
from tests.api import fakes
from tests.sounds import encode, noise, silence, tone, voice


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 clips of 8 speakers and two corpora."""
    return write_corpus(tmp_path_factory.mktemp("acted"))


def utterances(manifest: Path) -> list[Utterance]:
    return [
        Utterance(manifest.parent / row["path"], row["label"], row["speaker"], corpus=row["corpus"])
        for row in read_rows(manifest)
    ]


def decibels(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(signal, dtype=np.float64))))


@pytest.mark.parametrize(
    ("hertz", "kept"), [(150, False), (1000, True), (3000, True), (6000, False)]
)
def test_a_telephone_lets_300_to_3400_hz_through(hertz: float, kept: bool) -> None:
    sound = tone(1.0, hertz)
    through = telephone(sound)
    assert len(through) == len(sound)
    middle = slice(2000, -2000)
    lost = decibels(sound[middle]) - decibels(through[middle])
    assert lost == pytest.approx(0, abs=0.3) if kept else lost > 40


@pytest.mark.parametrize(
    ("container", "codec", "kilobits", "magic"),
    [("ogg", "libopus", 16, b"OggS"), ("mp3", "libmp3lame", 32, b"ID3")],
)
def test_a_codec_s_file_is_small_and_sounds_the_same(
    container: str, codec: str, kilobits: int, magic: bytes
) -> None:
    sound = voice(3.0)
    file = encoded(sound, container, codec, kilobits)
    assert file.startswith(magic)
    assert len(file) < 1.5 * 3.0 * kilobits * 1000 / 8
    heard = audio.load(file)
    assert len(heard) / 16_000 == pytest.approx(3.0, abs=0.15)
    assert decibels(heard) == pytest.approx(decibels(sound), abs=2)


@pytest.mark.parametrize("wanted", [20, 10])
def test_noise_is_so_many_decibels_under_the_voice_and_pauses_do_not_count(wanted: float) -> None:
    sound = np.concatenate([silence(2.0), tone(2.0), silence(2.0)])
    added = mixed(sound, noise(6.0), wanted) - sound
    assert decibels(tone(2.0)) - decibels(added) == pytest.approx(wanted, abs=0.2)
    assert level(sound) == pytest.approx(level(tone(2.0)), rel=0.02)


def test_babble_is_several_voices_as_loud_as_each_other() -> None:
    talkers = [tone(1.0, 200.0 * (index + 1), level=1.0) for index in range(8)]
    mixture = babble(talkers, 40_000, np.random.default_rng(0))
    assert len(mixture) == 40_000
    spectrum = np.abs(np.fft.rfft(mixture[:16_000]))
    loud = np.flatnonzero(spectrum > spectrum.max() / 3)
    assert len({round(hertz / 200) for hertz in loud.tolist()}) == 5


def test_a_small_room_adds_a_tail_that_decays() -> None:
    click = np.zeros(8000, np.float32)
    click[100] = 1.0
    wet = small_room(click, np.random.default_rng(0))
    assert np.abs(wet).argmax() == 100
    early, late = wet[101:1301], wet[3701:4901]
    # 225 ms later, at 60 dB in 300 ms.
    assert decibels(early) - decibels(late) == pytest.approx(45, abs=3)
    straight, walls = wet[100] ** 2, np.sum(np.square(wet[101:]))
    assert straight / walls == pytest.approx(1, rel=0.15)


def test_levels_and_silence_are_what_they_say() -> None:
    changes = conditions([])
    sound, rng = voice(1.0, level=0.2), np.random.default_rng(0)
    heard = {name: np.asarray(changes[name](sound, rng)) for name in changes if "20 dB " in name}
    assert heard["20 dB louder"].max() == pytest.approx(10 * sound.max())
    assert np.abs(heard["20 dB louder, clipped"]).max() == 1.0
    assert decibels(sound) - decibels(heard["20 dB quieter"]) == pytest.approx(20, abs=0.01)
    around = np.asarray(changes["1 s of silence around"](sound, rng))
    assert len(around) == 48_000
    np.testing.assert_array_equal(around[16_000:32_000], sound)
    assert not around[:16_000].any()
    assert changes[CLEAN](sound, rng) is sound


def test_a_choice_has_as_many_of_each_kind_as_there_can_be(manifest: Path) -> None:
    everyone = utterances(manifest)
    chosen = choose(everyone, 13)
    kinds = [(utterance.corpus, utterance.emotion) for utterance in chosen]
    assert sorted(kinds.count(kind) for kind in set(kinds)) == [2, 2, 2, 2, 2, 3]
    assert choose(everyone, 13) == chosen
    assert choose(everyone, 13, seed=1) != chosen
    assert choose(everyone, 48) == choose(everyone, None) == everyone
    rare = [*[u for u in everyone if u.emotion != "sad"][:20], everyone[5]]
    assert everyone[5].emotion == "sad"
    assert everyone[5] in choose(rare, 6)


def test_talkers_are_named_and_equally_loud(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_bytes(b"Dear Sir or Madam")
    odd = [Utterance(tmp_path / "letter.wav", "sad", "x"), Utterance(tmp_path / "none.wav", "sad")]
    talkers = talkers_of([*odd, *utterances(manifest)])
    assert len(talkers) == min(POOL, 48)
    assert {talker.speaker for talker in talkers} == {
        f"{name[0]}/{name}" for name in ("a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")
    }
    assert [level(talker.signal) for talker in talkers] == pytest.approx([1.0] * 48, rel=1e-3)


class Deaf(fakes.Network):
    """Hears happy, but angry where the spectrum is white."""

    def logits(self, windows: Any, lengths: Any) -> Any:
        sound = windows[0, : lengths[0]]
        spectrum = np.abs(np.fft.rfft(sound)) ** 2
        high = spectrum[len(spectrum) // 2 :].sum() / spectrum.sum()
        logits = super().logits(windows, lengths)
        logits[0, 0] += 400 * high
        return logits


def test_the_table_says_what_each_condition_costs(tmp_path: Path) -> None:
    """A model that hears the voices and, under noise, hears nothing but noise."""
    everyone = []
    for index in range(12):
        path = tmp_path / f"{index}.wav"
        path.write_bytes(encode(voice(0.6, pitch=110.0 + 10 * index, seed=index)))
        label = "happy" if index % 2 else "sad"
        everyone.append(Utterance(path, label, f"s{index}", corpus="x"))
    recognizer = fakes.recognizer(network=Deaf())
    unknown = [Utterance(everyone[0].path, "boredom", "s0", corpus="x")]
    judged = judge(recognizer, [*everyone, *unknown], talkers_of(everyone))
    assert len(judged.labels) == 12
    table = list(rows(judged, threshold=0.4))
    found = {row["condition"]: row for row in table if row["corpus"] == "all"}
    assert [*found] == [*conditions([voice(1.0)])]
    assert (found[CLEAN]["uar"], found[CLEAN]["lost"], found[CLEAN]["n"]) == (0.5, 0.0, 12)
    assert found["white noise, 10 dB"]["uar"] == 0
    assert found["white noise, 10 dB"]["lost"] == 50
    assert found["20 dB louder"]["uar"] == 0.5
    assert found["babble, 10 dB"]["uar"] == 0.5
    again = judge(recognizer, everyone, talkers_of(everyone))
    for name, probabilities in judged.probabilities.items():
        np.testing.assert_array_equal(again.probabilities[name], probabilities)


def test_a_refused_recording_counts_as_judged_wrongly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        robustness,
        "conditions",
        lambda talkers: {
            CLEAN: lambda signal, rng: signal,
            "cut": lambda signal, rng: 0 * signal,
        },
    )
    path = tmp_path / "x.wav"
    path.write_bytes(encode(voice(0.6)))
    everyone = [Utterance(path, "happy", "s"), Utterance(tmp_path / "none.wav", "happy", "s")]
    judged = judge(fakes.recognizer(), everyone, [])
    assert [reason for _, reason in judged.skipped] == ["cannot be read: FileNotFoundError"]
    table = [row for row in rows(judged, 0.4) if row["corpus"] == "all"]
    assert [(row["uar"], row["refused"], row["coverage"]) for row in table] == [
        (1.0, 0, 1.0),
        (0.0, 1, None),
    ]
    text = markdown(table)
    assert "| cut | 0.000 | 100.0 | - | - |" in text
    assert text.endswith("cut: 1 recordings refused, and counted as judged wrongly.")


def test_the_command_prints_markdown_and_writes_every_figure(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.csv"
    arguments = ["robustness", "default", "--data", str(manifest), "--limit", "6"]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "| 6 recordings | UAR | points lost | certain | right of these | a | b |"
    assert len(lines) == 2 + len(conditions([voice(1.0)]))
    table = [*csv.DictReader(io.StringIO(out.read_text("utf-8")))]
    assert len(table) == 3 * (len(lines) - 2)
    clean = next(row for row in table if (row["condition"], row["corpus"]) == (CLEAN, "all"))
    assert clean["lost"] == "0.0"
    assert lines[2].startswith(f"| clean | {float(clean['uar']):.3f} | 0.0 | ")
    assert main(arguments) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "test", "--data", "{one}"], "has no utterances of the split 'test'"),
        (["--data", "nowhere.csv"], "nowhere.csv: there is no such file or folder."),
        (["--data", "{one}", "--out", "{folder}"], "cannot be written: Is a directory"),
        (["--data", "{odd}"], "none of the recordings can be judged"),
    ],
)
def test_what_cannot_be_judged_is_told_in_one_line(
    manifest: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"path": str(manifest.parent / "a1_sad_0.wav"), "label": "sad", "split": "train"}
    places = {
        "one": write_manifest(tmp_path / "one.csv", [row]),
        "odd": write_manifest(tmp_path / "odd.csv", [row | {"label": "envy"}]),
        "folder": tmp_path,
    }
    given = [option.format(**places) for option in options]
    assert main(["robustness", "default", *given]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ser: ")
    assert message in last


def test_without_other_speakers_there_is_no_babble(
    manifest: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"path": str(manifest.parent / "a1_sad_0.wav"), "label": "sad", "speaker": "a1"}
    one = write_manifest(tmp_path / "one.csv", [row])
    assert main(["robustness", "default", "--data", str(one)]) == 0
    assert "babble" not in capsys.readouterr().out
    assert any(message.startswith("No babble: ") for message in caplog.messages)


def test_what_is_left_out_is_named_with_its_label(
    manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "letter.wav").write_bytes(b"Dear Sir or Madam")
    labels = {"a1_sad_0.wav": "sad", "a1_sad_1.wav": "envy", "a1_neutral_0.wav": "calm"}
    rows = [{"path": str(manifest.parent / name), "label": labels[name]} for name in labels]
    rows.append({"path": "letter.wav", "label": "sad"})
    assert (
        main(["robustness", "default", "--data", str(write_manifest(tmp_path / "x.csv", rows))])
        == 0
    )
    assert f"left out 1 (label 'envy' is not one of the model's): {rows[1]['path']}" in (
        caplog.messages
    )
    assert f"left out 1 (cannot be read: NotAudio): {tmp_path / 'letter.wav'}" in caplog.messages
    assert "counted 1 x 'calm' as 'neutral', the nearest of the model's emotions" in caplog.messages
