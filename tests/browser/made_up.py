"""Answers that a test makes up, for what the service at hand does not say."""

import base64
import json
from typing import Any

from playwright.sync_api import Page, Route

EIGHT = ("angry", "disgust", "fear", "happy", "neutral", "calm", "sad", "surprise")


def answer(emotions: tuple[str, ...] = EIGHT, windows: int = 6, **members: Any) -> dict[str, Any]:
    """An answer in which each window has another emotion on top."""
    segments = []
    for i in range(windows):
        shares = [0.04] * len(emotions)
        shares[i % len(emotions)] = 1 - 0.04 * (len(emotions) - 1)
        segments.append(
            {
                "start": 1.5 * i,
                "end": 1.5 * i + 3,
                **_named(dict(zip(emotions, shares, strict=True))),
            }
        )
    shares = [sum(each["probabilities"][e] for each in segments) / windows for e in emotions]
    return {
        **_named(dict(zip(emotions, shares, strict=True))),
        "uncertain": False,
        "duration": 1.5 * (windows - 1) + 3,
        "segments": segments,
        "explanation": explanation(),
        "model": {"name": "default", "version": "9.9.9"},
        **members,
    }


def explanation(bands: int = 64, frames: int = 300) -> dict[str, Any]:
    """A spectrogram that gets louder with time and with pitch."""
    levels = [
        255 * (band + frame) // (bands + frames) for band in range(bands) for frame in range(frames)
    ]
    return {
        "log_mel": base64.b64encode(bytes(levels)).decode("ascii"),
        "shape": [bands, frames],
        "decibels": [-60.0, 20.0],
        "start": 0.0,
        "hop": 10.5 / frames,
        "edges": [50.0 + 125 * i for i in range(bands + 2)],
    }


def _named(probabilities: dict[str, float]) -> dict[str, Any]:
    emotion = max(probabilities, key=probabilities.__getitem__)
    return {
        "emotion": emotion,
        "confidence": probabilities[emotion],
        "probabilities": probabilities,
    }


def problem(status: int, name: str, title: str, detail: str) -> dict[str, Any]:
    return {"type": f"/problems/{name}", "title": title, "status": status, "detail": detail}


class Answers:
    """Stands in for /predict: gives its answers one after the other, the last one for ever."""

    def __init__(self, page: Page, *bodies: dict[str, Any], **headers: str) -> None:
        self.bodies = list(bodies)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.asked: list[tuple[dict[str, str], bytes]] = []
        page.route("**/predict", self._fulfil)

    def _fulfil(self, route: Route) -> None:
        self.asked.append((route.request.headers, route.request.post_data_buffer or b""))
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        route.fulfill(
            status=body.get("status", 200),
            headers={"Content-Type": "application/json", **self.headers},
            body=json.dumps(body),
        )
