"""The page on every screen, for every user. SCREENSHOTS=folder keeps the pictures to look at."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Open
from tests.browser.made_up import EIGHT, Answers, answer, problem
from tests.browser.test_files import upload
from tests.sounds import encode, voice

SCREENS = {
    "phone": PHONE,
    "tablet": {"width": 768, "height": 1024},
    "desktop": DESKTOP,
    "4k": {"width": 3840, "height": 2160},
}
LONG = "a_very_long_name_without_any_space_" * 4 + "and its end.wav"
Shoot = Callable[[Page, str], None]


def full(page: Page) -> None:
    """The page with all that it can show at once: clips, a problem among them, an answer."""
    said = answer(EIGHT, uncertain=True)
    busy = problem(422, "silent", "Silent recording", "The recording is silent.")
    Answers(page, answer(windows=40), busy, said)
    clip = encode(voice(10.5))
    upload(page, (LONG, clip), ("quiet.wav", clip), ("clip.wav", clip))
    expect(page.locator("#clips .clip-state").nth(2)).to_contain_text("%")


def is_wide(page: Page) -> bool:
    wider: bool = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return wider


def serious(page: Page) -> list[Any]:
    """What axe-core finds, but for trifles. It is injected as a file, past the policy."""
    violations = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in violations
        if each["impact"] in {"moderate", "serious", "critical"}
    ]


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [
        ("phone", "light"),
        ("phone", "dark"),
        ("tablet", "light"),
        ("desktop", "light"),
        ("desktop", "dark"),
        ("4k", "dark"),
    ],
)
def test_nothing_sticks_out_and_axe_finds_nothing(
    open_page: Open, shoot: Shoot, screen: str, scheme: str
) -> None:
    # Only the test's own axe-core needs the policy out of its way.
    page = open_page(viewport=SCREENS[screen], color_scheme=scheme, bypass_csp=True)
    assert not is_wide(page)
    shoot(page, f"{screen}-{scheme}-empty")
    full(page)
    clips = page.locator("#clips .clip")
    for name, i in {"answer": 2, "long": 0, "problem": 1}.items():
        clips.nth(i).click()
        shoot(page, f"{screen}-{scheme}-{name}")
        assert not is_wide(page)
    clips.nth(2).click()
    for each in page.locator("summary").all():
        each.click()
    assert not is_wide(page)
    assert serious(page) == []
    shoot(page, f"{screen}-{scheme}-open")
    page.get_by_role("tab", name="Microphone").click()
    shoot(page, f"{screen}-{scheme}-microphone")
    page.get_by_role("button", name=re.compile("^Model:")).click()
    expect(page.get_by_role("dialog")).to_contain_text("What it cannot do")
    shoot(page, f"{screen}-{scheme}-card")
    assert not is_wide(page)
    assert serious(page) == []


def test_the_keyboard_alone_is_enough(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")  # the card
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Files")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Microphone")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the first sample
    expect(page.locator("#announcer")).to_contain_text("% sure")
    expect(page.locator(".emotion")).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "slider":
            break
    expect(page.get_by_role("slider")).to_be_focused()
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_nothing_moves_for_those_who_asked_for_stillness(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    upload(page, ("clip.wav", encode(voice(2.0))))
    expect(page.locator(".emotion")).to_be_visible()
    moving = page.evaluate(
        """[...document.querySelectorAll("*")].filter((each) => {
            const style = getComputedStyle(each);
            return style.animationName !== "none"
              || (style.transitionProperty !== "none" && parseFloat(style.transitionDuration) > 0);
        }).length"""
    )
    assert moving == 0


def test_only_the_service_itself_is_asked(open_page: Open) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    upload(page, ("clip.wav", encode(np.tile(voice(3.0), 2))))
    expect(page.locator(".waveform")).to_be_visible()
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".playhead")).to_be_visible()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith("blob:")}
    assert hosts == {urlsplit(page.url).netloc}
    assert len(asked) > 5


def test_what_was_heard_is_forgotten_when_the_page_is_left(open_page: Open) -> None:
    page = open_page()
    upload(page, ("clip.wav", encode(voice(2.0))))
    expect(page.locator(".emotion")).to_be_visible()
    expect(page.locator("#session")).to_contain_text("The service keeps nothing.")
    page.reload()
    expect(page.locator("#session")).to_be_hidden()
    kept = page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
    assert kept == []
