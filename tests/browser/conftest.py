"""The page in a real browser, served by a real gunicorn."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.api.live import Server, serve
from tests.sounds import encode, silence, voice

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 320, "height": 640}

HARMLESS = (
    "Failed to load resource",  # answers of 4xx and 5xx; the page shows them
    "The Cross-Origin-Opener-Policy header has been ignored",  # on http, as it should be
)

PATIENCE = 45_000
"""Milliseconds after which what is waited for has failed; a busy machine needs some."""

expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def microphone_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's microphone hears, over and over: a voice, then a moment of silence."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    heard = np.concatenate([voice(8.0, sampling_rate=48_000), silence(0.2, 48_000)])
    path.write_bytes(encode(heard, "wav16", 48_000))
    return path


@pytest.fixture(scope="package")
def browser(playwright: Playwright, microphone_sound: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium: install it (apt-get install chromium) or name it in CHROMIUM")
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=[
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone_sound}",
            "--host-resolver-rules=MAP voice.test 127.0.0.1",  # a page that is not localhost
        ],
    )
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("page"), SER_WORKERS="1", SER_MAX_BYTES="3000000") as server:
        yield server


@pytest.fixture
def contexts() -> Iterator[list[BrowserContext]]:
    opened: list[BrowserContext] = []
    yield opened
    for context in opened:
        context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: errors of scripts, breaches of the policy."""
    return []


@pytest.fixture
def open_page(
    browser: Browser, service: Server, contexts: list[BrowserContext], complaints: list[str]
) -> Iterator[Open]:
    """Opens the page; at the end nothing of it may have complained."""

    def opened(server: Server = service, host: str = "127.0.0.1", **options: Any) -> Page:
        settings = {
            "viewport": DESKTOP,
            "permissions": ["microphone", "clipboard-write"],
            **options,
        }
        context = browser.new_context(**settings)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: _note(message.type, message.text, complaints))
        page.goto(f"http://{host}:{server.port}/")
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    assert complaints == []


def _note(kind: str, text: str, complaints: list[str]) -> None:
    if kind == "error" and not text.startswith(HARMLESS):
        complaints.append(text)


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Takes a picture of the page into the folder that SCREENSHOTS names, where it names one."""
    folder = os.environ.get("SCREENSHOTS")

    def shot(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.wait_for_timeout(400)
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return shot


def until(page: Page, expression: str) -> None:
    """Wait until a script says so; the page's policy forbids Playwright's own way."""
    for _ in range(PATIENCE // 100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never: {expression}")
