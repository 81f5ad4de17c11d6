"""Ask a running service what a user would: `python3 scripts/smoke_test.py URL [RECORDING...]`.

With `--sagemaker` it asks as SageMaker does, `GET /ping` and `POST /invocations`, within its times.
Needs nothing but Python's own library. Exits with 1 at the first answer that is not right.
"""

import argparse
import array
import io
import json
import math
import random
import sys
import time
import urllib.error
import urllib.request
import wave
from pathlib import Path
from typing import Any

BOUNDARY = "smoke-test-boundary"


def voice_like_wav(seconds: float = 3.0, sampling_rate: int = 16_000) -> bytes:
    """Harmonics of a wavering 150 Hz in four syllables a second, as 16-bit mono WAV."""
    noise = random.Random(0)
    samples = array.array("h")
    for n in range(round(seconds * sampling_rate)):
        t = n / sampling_rate
        phase = 2 * math.pi * 150 * t + 0.9 * math.sin(2 * math.pi * 5 * t)
        tone = sum(math.sin(k * phase) / k for k in range(1, 12))
        level = 0.1 + math.sin(math.pi * 4 * t) ** 2
        samples.append(round(6_000 * level * tone + noise.gauss(0, 30)))
    if sys.byteorder == "big":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sampling_rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def ask(url: str, body: bytes | None = None, content_type: str = "audio/wav") -> tuple[int, Any]:
    """Status and decoded JSON; POST when there is a body."""
    headers = {"Content-Type": content_type} if body is not None else {}
    request = urllib.request.Request(url, body, headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def as_form(name: str, content: bytes) -> tuple[bytes, str]:
    """The body and content type of a form whose field `file` holds `content`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return (
        head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode(),
        f"multipart/form-data; boundary={BOUNDARY}",
    )


def expect_an_emotion(what: str, status: int, answer: Any) -> None:
    probabilities = answer.get("probabilities", {})
    right = (
        status == 200
        and probabilities[answer["emotion"]] == max(probabilities.values())
        and math.isclose(sum(probabilities.values()), 1, abs_tol=0.01)
    )
    if not right:
        raise SystemExit(f"{what}: {status} {answer}")
    print(f"{what}: {answer['emotion']}, {answer['confidence']:.2f}")


def expect_within(seconds: float, url: str, body: bytes | None = None) -> Any:
    """The answer to a request that has to be 200, and there in time."""
    started = time.monotonic()
    status, answer = ask(url, body)
    took = time.monotonic() - started
    if status != 200 or took > seconds:
        raise SystemExit(f"{url}: {status} after {took:.1f} s of {seconds:g} s allowed: {answer}")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a running service what a user would.")
    parser.add_argument("url")
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--sagemaker", action="store_true", help="ask as SageMaker does")
    given = parser.parse_args()
    url, ready, predict = given.url.rstrip("/"), "/ready", "/predict"
    wav = voice_like_wav()
    if given.sagemaker:
        ready, predict = "/ping", "/invocations"
        expect_within(2, url + ready)
        expect_within(60, url + predict, wav)
    status, answer = ask(url + ready)
    if status != 200:
        raise SystemExit(f"{ready}: {status} {answer}")
    expect_an_emotion("made-up voice, raw", *ask(url + predict, wav))
    expect_an_emotion("made-up voice, form", *ask(url + predict, *as_form("voice.wav", wav)))
    for path in given.recordings:
        form = as_form(path.name, path.read_bytes())
        expect_an_emotion(path.name, *ask(url + predict, *form))
    status, problem = ask(url + predict, *as_form("voice.wav", b"no sound, only words"))
    if status != 415:
        raise SystemExit(f"text named .wav: {status} {problem}, 415 expected")
    print(f"text named .wav: {status} {problem['title']}")


if __name__ == "__main__":
    main()
