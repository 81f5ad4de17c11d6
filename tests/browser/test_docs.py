"""The page of the contract, in a real browser and under its policy."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.api.live import Server
from tests.browser.conftest import DESKTOP, PHONE

Read = Callable[..., Page]


@pytest.fixture
def read(browser: Browser, service: Server, contexts: list[BrowserContext]) -> Iterator[Read]:
    """Opens the page; at the end it has loaded nothing from elsewhere, and nothing complained."""
    home = f"http://127.0.0.1:{service.port}/"
    complaints: list[str] = []
    loaded: list[str] = []

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(f"{home}docs")
        return page

    yield opened
    assert complaints == []
    assert len(loaded) > 1
    assert [url for url in loaded if not url.startswith(home)] == []


def colour(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_page_is_dressed_in_light_and_in_dark(
    read: Read, shoot: Callable[[Page, str], None]
) -> None:
    light, dark = read(color_scheme="light"), read(color_scheme="dark")
    assert (colour(light), colour(dark)) == ("rgb(245, 245, 248)", "rgb(19, 18, 25)")
    shoot(light, "docs-light")
    shoot(dark, "docs-dark")


def test_nothing_hangs_over_the_edge_of_a_phone(
    read: Read, shoot: Callable[[Page, str], None]
) -> None:
    page = read(viewport=PHONE)
    for example in page.query_selector_all("details:not([open]) > summary"):
        example.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, "docs-phone")


def test_examples_open_by_keyboard(read: Read) -> None:
    page = read()
    closed = page.locator("#predict details").nth(1)
    assert not closed.locator("pre").first.is_visible()
    closed.locator("summary").focus()
    page.keyboard.press("Enter")
    assert closed.locator("pre").first.is_visible()


def test_links_lead_to_their_sections(read: Read) -> None:
    page = read()
    page.click("nav a[href='#problems']")
    assert page.evaluate("location.hash") == "#problems"
    assert page.locator("#problems h2").is_visible()
