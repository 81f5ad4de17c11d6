"""What a voice assistant does with the service: it hears how something is said, not only what.

    python examples/companion.py hello.wav            # or --microphone
    (beforehand: pip install ./client, and for a microphone: pip install sounddevice)

Sound is cut into utterances at its pauses. Each goes to /predict, with what is normal for this
voice so far (the profile, which comes back updated and is all that is kept of it), and how it
sounded goes into the prompt of a language model beside the words. Two parts are stand-ins here,
each one function to replace: the language model and the speech recogniser.
"""

import argparse
import io
import sys
import wave
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from operator import mul
from pathlib import Path
from typing import Protocol, TypeAlias

from ser_client import Client, Prediction, ServiceError

SAMPLING_RATE = 16_000
FRAME = 0.03
"""Seconds of sound that are called loud or quiet at once."""
PAUSE = 0.7
"""Seconds of quiet that end an utterance."""
LONGEST = 20.0
"""Seconds after which an utterance ends without a pause."""
BEFORE = 0.3
"""Seconds kept before the first loud frame: words begin softly."""

INSTRUCTIONS = """\
You are a companion who listens. Beside what the person says you are told how the voice sounded.
It is a guess about the voice, not about the person: never mention it, never argue from it, but let
it set the tone of your answer. Answer in one or two sentences."""

NOTHING_TO_JUDGE = {"silent", "empty", "too-short"}
"""Problems of an utterance that has words for the recogniser, perhaps, but no voice to judge."""

Message = Mapping[str, str]
"""`role` and `content`, as most language models take them."""
Samples: TypeAlias = "array[int]"
"""Of 16 bit, `SAMPLING_RATE` of them a second."""


class LanguageModel(Protocol):
    """Whatever writes the answers."""

    def reply(self, messages: list[Message]) -> str:
        """The answer to a conversation whose last message is the person's."""


class Scripted:
    """Stands in for a language model: the emotion in the prompt decides what it says."""

    LINES: Mapping[str, str] = {
        "angry": "That sounds unfair. What happened?",
        "disgust": "Ugh. What was the worst of it?",
        "fear": "I am here. Let us look at it step by step.",
        "happy": "How good to hear! Tell me more.",
        "sad": "I am sorry. Do you want to talk about it?",
        "surprise": "Really? I did not see that coming either.",
    }

    def reply(self, messages: list[Message]) -> str:
        """A line that fits how the person sounded."""
        prompt = messages[-1]["content"]
        return next((line for word, line in self.LINES.items() if word in prompt), "I see. Go on.")


def no_recogniser(wav: bytes) -> str:
    """Stands in for a speech recogniser, which would say the words of a recording."""
    return "..."


@dataclass
class Companion:
    """A conversation with one person."""

    client: Client
    language_model: LanguageModel
    transcribe: Callable[[bytes], str] = no_recogniser
    profile: str | bool = True
    """The person's; True before the service has given one, False if it knows none."""
    messages: list[Message] = field(
        default_factory=lambda: [{"role": "system", "content": INSTRUCTIONS}]
    )

    def answer(self, wav: bytes) -> str:
        """Take in an utterance and reply to it."""
        prompt = f'"{self.transcribe(wav)}" {describe(self.listen(wav))}'
        self.messages.append({"role": "user", "content": prompt})
        reply = self.language_model.reply(self.messages)
        self.messages.append({"role": "assistant", "content": reply})
        return reply

    def listen(self, wav: bytes) -> Prediction | None:
        """How an utterance sounds; None if there is no voice to judge."""
        try:
            prediction = self.client.predict(wav, profile=self.profile)
        except ServiceError as error:
            if error.kind in NOTHING_TO_JUDGE:
                return None
            if error.kind != "profile" or not self.profile:
                raise
            # Of another model by now: begin anew. Refused without one: the model knows none.
            self.profile = isinstance(self.profile, str)
            return self.listen(wav)
        self.profile = prediction.profile or False
        return prediction


def describe(heard: Prediction | None) -> str:
    """How it sounded, in words for a prompt."""
    if heard is None or heard.uncertain:
        return "(The voice gives no clear impression.)"
    return f"(The voice sounds {heard.emotion}, {heard.confidence:.0%} sure.)"


def utterances(frames: Iterable[Samples]) -> Iterator[Samples]:
    """Cut sound, in frames of 30 ms, at its pauses.

    Loud is what is 12 dB above the quietest frame of the last 6 s, within bounds so that neither a
    perfect silence nor a start in the middle of a word misleads.
    """
    levels: deque[float] = deque(maxlen=round(6 / FRAME))
    before: deque[Samples] = deque(maxlen=round(BEFORE / FRAME))
    heard, quiet, loud = array("h"), 0, 0
    for frame in frames:
        level = sqrt(sum(map(mul, frame, frame)) / max(1, len(frame)))
        levels.append(level)
        if level > min(max(4 * min(levels), 100.0), 1_000.0):
            if not heard:
                for earlier in before:
                    heard.extend(earlier)
            quiet, loud = 0, loud + 1
        else:
            quiet += 1
        if loud:
            heard.extend(frame)
        before.append(frame)
        if loud and (quiet >= PAUSE / FRAME or len(heard) >= LONGEST * SAMPLING_RATE):
            if loud * FRAME >= 0.2:  # less is a click
                yield heard
            heard, quiet, loud = array("h"), 0, 0
            before.clear()
    if loud * FRAME >= 0.2:
        yield heard


def frames_of_file(path: Path) -> Iterator[Samples]:
    """A WAV of 16 bit, 16 kHz, one channel, in frames."""
    with wave.open(str(path), "rb") as file:
        kind = (file.getsampwidth(), file.getframerate(), file.getnchannels())
        if kind != (2, SAMPLING_RATE, 1):
            raise ValueError(f"{path} is not a WAV of 16 bit, 16 kHz, one channel")
        while block := file.readframes(round(FRAME * SAMPLING_RATE)):
            frame = array("h", block)
            if sys.byteorder == "big":
                frame.byteswap()
            yield frame


def frames_of_microphone() -> Iterator[Samples]:
    """What the microphone hears, until Ctrl-C."""
    try:
        import sounddevice  # noqa: PLC0415 (only who has a microphone needs it)
    except ImportError:
        raise SystemExit("the microphone needs: pip install sounddevice") from None
    samples = round(FRAME * SAMPLING_RATE)
    with sounddevice.RawInputStream(SAMPLING_RATE, samples, channels=1, dtype="int16") as stream:
        while True:
            block, _ = stream.read(samples)
            yield array("h", bytes(block))


def to_wav(samples: Samples) -> bytes:
    """A WAV file's bytes."""
    data = array("h", samples)
    if sys.byteorder == "big":
        data.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLING_RATE)
        out.writeframes(data.tobytes())
    return file.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Talk with the companion."""
    parser = argparse.ArgumentParser(description="A voice assistant that hears how you sound.")
    parser.add_argument("wav", nargs="*", type=Path, help="what one person says, one after another")
    parser.add_argument("--microphone", action="store_true")
    parser.add_argument("--url", default="http://localhost:8000", help="the service")
    parser.add_argument("--key", help="a key of the service, if it asks for one")
    given = parser.parse_args(arguments)
    if given.microphone == bool(given.wav):
        parser.error("name WAV files, or --microphone")
    sources = [frames_of_microphone()] if given.microphone else map(frames_of_file, given.wav)
    with Client(given.url, key=given.key) as client:
        companion = Companion(client, Scripted())
        try:
            for source in sources:
                for utterance in utterances(source):
                    reply = companion.answer(to_wav(utterance))
                    print(f"{companion.messages[-2]['content']}\n  {reply}", flush=True)
        except KeyboardInterrupt:
            pass
        except (ServiceError, OSError, ValueError, wave.Error) as error:
            raise SystemExit(f"companion: {error}") from error


if __name__ == "__main__":
    main()
