"""The example, end to end: a WAV in, a live service, a stand-in for the language model."""

import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ser_client import Client, Prediction, ServiceError

from examples.companion import (
    INSTRUCTIONS,
    SAMPLING_RATE,
    Companion,
    Scripted,
    describe,
    frames_of_file,
    main,
    to_wav,
    utterances,
)
from tests.api.live import Server
from tests.sounds import Signal, encode, noise, voice


def talk(*parts: Signal) -> Signal:
    """The parts with a second of a quiet room before, between and after them."""
    room = [noise(1.0, level=0.001, seed=i) for i in range(len(parts) + 1)]
    mixed = [room[0]]
    for part, after in zip(parts, room[1:], strict=True):
        mixed += [part, after]
    return np.concatenate(mixed)


def cut(path: Path, signal: Signal) -> list[float]:
    """Seconds of the utterances in a signal."""
    path.write_bytes(encode(signal))
    return [len(each) / SAMPLING_RATE for each in utterances(frames_of_file(path))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "talk.wav"


def test_sound_is_cut_at_its_pauses(path: Path) -> None:
    found = cut(path, talk(voice(2.0), voice(1.2, pitch=220), voice(3.0)))
    # With 0.3 s before and 0.7 s of the pause that ends it.
    assert found == pytest.approx([3.0, 2.2, 4.0], abs=0.2)


def test_a_start_in_the_middle_of_a_word_and_an_end_without_a_pause_are_kept(path: Path) -> None:
    assert cut(path, voice(2.0)) == pytest.approx([2.0], abs=0.1)


def test_steady_noise_silence_and_clicks_are_no_utterances(path: Path) -> None:
    assert cut(path, noise(5.0, level=0.01)) == []
    assert cut(path, np.zeros(SAMPLING_RATE, np.float32)) == []
    assert cut(path, talk(voice(0.05))) == []


def test_who_never_pauses_is_answered_all_the_same(path: Path) -> None:
    found = cut(path, voice(45.0))
    assert found == pytest.approx([20.0, 20.0, 5.0], abs=0.5)


def test_an_utterance_becomes_a_wav_again(path: Path) -> None:
    samples = array("h", [0, 1, -2, 32_767, -32_768])
    path.write_bytes(to_wav(samples))
    assert array("h", b"".join(each.tobytes() for each in frames_of_file(path))) == samples


def prediction(emotion: str, uncertain: bool = False, profile: str | None = None) -> Prediction:
    return Prediction(emotion, 0.8, uncertain, {emotion: 0.8}, 2.0, (), profile, {})


def test_the_prompt_says_how_it_sounded_unless_that_is_unclear() -> None:
    assert describe(prediction("sad")) == "(The voice sounds sad, 80% sure.)"
    unclear = "(The voice gives no clear impression.)"
    assert describe(prediction("sad", uncertain=True)) == describe(None) == unclear


class Service:
    """In place of a client: gives what the test says, and keeps what it was asked with."""

    def __init__(self, *answers: Prediction | ServiceError) -> None:
        self.answers = list(answers)
        self.profiles: list[str | bool] = []

    def predict(self, recording: bytes, *, profile: str | bool) -> Prediction:
        self.profiles.append(profile)
        answer = self.answers.pop(0)
        if isinstance(answer, ServiceError):
            raise answer
        return answer


def converse(*answers: Prediction | ServiceError) -> tuple[Companion, Service]:
    """A companion that has taken in utterances until the service has nothing more to say."""
    service = Service(*answers)
    companion = Companion(service, Scripted())  # type: ignore[arg-type]
    while service.answers:
        companion.answer(b"an utterance")
    return companion, service


def refusal(kind: str, **members: Any) -> ServiceError:
    return ServiceError(422, {"type": f"/problems/{kind}", **members})


def test_the_profile_is_sent_back_and_replaced_by_its_update() -> None:
    _, service = converse(
        prediction("sad", profile="one"),
        prediction("sad", profile="two"),
        prediction("sad", profile="three"),
    )
    assert service.profiles == [True, "one", "two"]


def test_a_model_without_profiles_is_asked_without_them() -> None:
    refused = refusal("profile")
    companion, service = converse(refused, prediction("happy"), prediction("happy"))
    assert service.profiles == [True, False, False]
    assert len(companion.messages) == 1 + 2 * 2


def test_a_profile_of_another_model_is_given_up_for_a_new_one() -> None:
    other = refusal("profile")
    _, service = converse(
        prediction("sad", profile="old"), other, prediction("sad", profile="new"), prediction("sad")
    )
    assert service.profiles == [True, "old", True, "new"]


def test_an_utterance_without_a_voice_is_answered_without_an_emotion() -> None:
    companion, _ = converse(refusal("silent"))
    assert companion.messages[-2]["content"].endswith("(The voice gives no clear impression.)")
    assert companion.messages[-1]["content"] == "I see. Go on."


def test_any_other_refusal_is_not_hidden() -> None:
    with pytest.raises(ServiceError):
        converse(refusal("too-many-channels"))


def test_the_language_model_is_told_words_emotion_and_what_to_make_of_it() -> None:
    service: Any = Service(prediction("sad"))
    companion = Companion(service, Scripted(), transcribe=lambda wav: "I am fine.")
    assert companion.answer(b"an utterance") == "I am sorry. Do you want to talk about it?"
    assert companion.messages == [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": '"I am fine." (The voice sounds sad, 80% sure.)'},
        {"role": "assistant", "content": "I am sorry. Do you want to talk about it?"},
    ]


def test_a_wav_is_talked_about_with_a_live_service(
    live: Server, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(encode(talk(voice(2.0), voice(1.5, pitch=220, level=0.9))))
    url = f"http://127.0.0.1:{live.port}"
    main([str(path), "--url", url])
    lines = capsys.readouterr().out.splitlines()
    with Client(url) as client:
        companion = Companion(client, Scripted())
        heard = [companion.listen(to_wav(each)) for each in utterances(frames_of_file(path))]
    assert len(heard) == 2
    assert lines[0::2] == [f'"..." {describe(each)}' for each in heard]
    assert set(lines[1::2]) <= {f"  {line}" for line in (*Scripted.LINES.values(), "I see. Go on.")}


def test_the_profile_grows_with_a_live_service(live: Server) -> None:
    with Client(f"http://127.0.0.1:{live.port}") as client:
        companion = Companion(client, Scripted())
        profiles = []
        for pitch in (150, 160, 170):
            companion.answer(encode(voice(2.0, pitch=pitch)))
            profiles.append(companion.profile)
        assert all(isinstance(each, str) for each in profiles)
        assert len(set(profiles)) == 3
        # As after the service got another model: the old one is of no use there.
        companion.profile = "of-another-model"
        assert companion.listen(encode(voice(2.0, pitch=150))) is not None
        assert companion.profile == profiles[0]  # begun anew


def test_what_cannot_work_is_one_clear_line(live: Server, path: Path) -> None:
    url = f"http://127.0.0.1:{live.port}"
    path.write_bytes(encode(voice(1.0, sampling_rate=44_100), sampling_rate=44_100))
    with pytest.raises(SystemExit, match="is not a WAV of 16 bit, 16 kHz, one channel"):
        main([str(path), "--url", url])
    path.write_bytes(b"no sound")
    with pytest.raises(SystemExit, match=r"^companion: "):
        main([str(path), "--url", url])
    with pytest.raises(SystemExit):
        main([])


def test_a_microphone_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SystemExit, match="pip install sounddevice"):
        main(["--microphone"])


def test_a_microphone_is_read_until_it_is_interrupted(
    live: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = (talk(voice(2.0)) * 32_767).astype(np.int16)

    class Stream:
        def __init__(self, rate: int, size: int, channels: int, dtype: str) -> None:
            assert (rate, channels, dtype) == (SAMPLING_RATE, 1, "int16")
            self.blocks = [sound[i : i + size].tobytes() for i in range(0, len(sound), size)]

        def __enter__(self) -> "Stream":
            return self

        def __exit__(self, *error: object) -> None:
            self.blocks.clear()

        def read(self, size: int) -> tuple[bytes, bool]:
            if not self.blocks:
                raise KeyboardInterrupt
            return self.blocks.pop(0), False

    package = type("sounddevice", (), {"RawInputStream": Stream})
    monkeypatch.setitem(sys.modules, "sounddevice", package)
    main(["--microphone", "--url", f"http://127.0.0.1:{live.port}"])
    assert capsys.readouterr().out.startswith('"..." (The voice ')
