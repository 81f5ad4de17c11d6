"""What can go wrong is said in words, where it happened; what is hostile stays text."""

import hashlib
import json
import re
import shutil
import time

import pytest
from playwright.sync_api import Page, expect

from ser_core.bundle import find_bundle
from tests.api.live import serve
from tests.browser.conftest import Open
from tests.browser.made_up import Answers, answer, problem
from tests.browser.test_files import upload
from tests.sounds import encode, voice

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}</script><svg onload=alert(2)>.wav"
CLIP = encode(voice(2.0))


def no_markup(page: Page) -> None:
    assert page.locator("img[src=x], svg[onload]").count() == 0
    assert page.locator("script").count() == 1


def test_a_hostile_file_name_stays_text(open_page: Open) -> None:
    page = open_page()
    upload(page, (HOSTILE, CLIP), (HOSTILE + "2", b"no sound"))
    expect(page.locator("#answer h2")).to_have_text(HOSTILE)
    expect(page.locator(".emotion")).to_be_visible()
    page.get_by_text("The same from your own code").click()
    expect(page.locator("[data-part=json]")).to_contain_text("onerror=alert(1)")
    page.locator("#clips .clip").nth(1).click()
    expect(page.locator("#answer .what")).to_have_text("Not audio that can be read")
    no_markup(page)


def test_a_hostile_answer_stays_text(open_page: Open) -> None:
    page = open_page()
    emotions = ("<b>bold</b>", HOSTILE, "__proto__", "calm")
    Answers(page, answer(emotions), problem(422, "<i>", HOSTILE, "<script>alert(3)</script>"))
    upload(page, ("a.wav", CLIP), ("b.wav", CLIP))
    expect(page.locator(".bars .name").first).to_have_text("<b>bold</b>")
    page.get_by_text("The moments as a table").click()
    expect(page.locator("[data-part=head] th").nth(3)).to_have_text("<b>bold</b>")
    page.locator("#clips .clip").nth(1).click()
    expect(page.locator("#answer .what")).to_have_text(HOSTILE)
    expect(page.locator("#answer")).to_contain_text("<script>alert(3)</script>")
    no_markup(page)


def test_the_models_card_is_one_click_away_and_stays_text(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name=re.compile("^Model: default")).click()
    dialog = page.get_by_role("dialog", name="Model card")
    expect(dialog).to_contain_text("What it cannot do")
    expect(dialog.locator("table").first).to_be_visible()
    limits = dialog.get_by_role("heading", name="What it cannot do")
    expect(limits).not_to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="What it cannot do").click()
    expect(limits).to_be_in_viewport()
    page.keyboard.press("Escape")
    card = f"# {HOSTILE}\n\n**<b>x</b>** and `<i>`\n\n| <u>a</u> | b |\n|---|---|\n| 1 | 2 |"
    page.route(
        "**/models",
        lambda route: route.fulfill(json={"models": [{"name": "default", "card": card}]}),
    )
    page.get_by_role("button", name="What it cannot do").click()
    expect(dialog.locator("strong")).to_have_text("<b>x</b>")
    expect(dialog.locator("th").first).to_have_text("<u>a</u>")
    no_markup(page)


def test_a_service_that_is_down_is_said_and_can_be_asked_again(
    open_page: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serve(tmp_path_factory.mktemp("stopped")) as server:
        page = open_page(server)
    upload(page, ("clip.wav", CLIP))
    expect(page.locator("#answer .what")).to_have_text("No answer")
    expect(page.locator("#answer")).to_contain_text("The service cannot be reached.")
    Answers(page, answer())
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#answer .emotion")).to_be_visible()


def test_a_busy_service_is_asked_again_when_it_says(open_page: Open) -> None:
    page = open_page()
    busy = problem(503, "overloaded", "Overloaded", "The service is full.")
    answers = Answers(page, busy, answer(), Retry_After="2")
    before = time.monotonic()
    upload(page, ("clip.wav", CLIP))
    expect(page.locator("#answer")).to_contain_text(
        "The service is busy. Trying again in 2 s (1 of 5)."
    )
    expect(page.locator("#answer .emotion")).to_be_visible()
    assert time.monotonic() - before > 1.9
    assert len(answers.asked) == 2


def test_waiting_can_be_cut_short_or_given_up(open_page: Open) -> None:
    page = open_page()
    busy = problem(429, "too-many", "Too many requests", "Wait.")
    answers = Answers(page, busy, busy, answer(), Retry_After="50")
    upload(page, ("clip.wav", CLIP))
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#answer")).to_contain_text("(2 of 5)")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#answer .what")).to_have_text("Cancelled")
    assert len(answers.asked) == 2


def test_an_answer_from_something_else_is_no_riddle(open_page: Open) -> None:
    page = open_page()
    page.route("**/predict", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    upload(page, ("clip.wav", CLIP))
    expect(page.locator("#answer .what")).to_have_text("An answer that cannot be read")
    expect(page.locator("#answer")).to_contain_text("answered with status 502")


def test_a_protected_service_asks_for_its_key(
    open_page: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = hashlib.sha256(b"sesame").hexdigest()
    with serve(tmp_path_factory.mktemp("protected"), SER_API_KEYS=keys) as server:
        page = open_page(server)
        where = "Send any recording under Files: you are then asked for it."
        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start live").click()
        expect(page.get_by_role("alert")).to_contain_text(where)
        page.get_by_role("button", name=re.compile("^Model: default")).click()
        expect(page.get_by_role("dialog")).to_contain_text(where)
        page.keyboard.press("Escape")
        page.get_by_role("tab", name="Files").click()
        upload(page, ("a.wav", CLIP), ("b.wav", CLIP))
        expect(page.locator("#answer .what")).to_have_text("This service wants an API key")
        key = page.get_by_label("API key")
        key.fill("wrong")
        key.press("Enter")
        expect(page.locator("#answer")).to_contain_text("This key is not known here.")
        key.fill("sesame")
        key.press("Enter")
        expect(page.locator("#answer .emotion")).to_be_visible()
        expect(page.locator("#clips .clip-state").nth(1)).to_contain_text("%")
        page.get_by_role("button", name=re.compile("^Model: default")).click()
        expect(page.get_by_role("dialog")).to_contain_text("What it cannot do")


def test_a_browser_that_stores_nothing_is_no_trouble(open_page: Open) -> None:
    page = open_page()
    page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"]) {
            Object.defineProperty(window, name, {
              get() { throw new DOMException("denied", "SecurityError"); },
            });
        }"""
    )
    page.reload()
    page.wait_for_selector("html[data-ready]")
    upload(page, ("clip.wav", CLIP))
    expect(page.locator("#answer .emotion")).to_be_visible()


def test_another_model_judges_again(
    open_page: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    default = find_bundle("default")
    second = shutil.copytree(default, tmp_path_factory.mktemp("models") / "second")
    info = json.loads((default / "bundle.json").read_text("utf-8"))
    (second / "bundle.json").write_text(json.dumps({**info, "name": "second", "version": "2.0"}))
    with serve(tmp_path_factory.mktemp("two"), SER_MODEL=f"default,{second}") as server:
        page = open_page(server)
        upload(page, ("clip.wav", CLIP))
        expect(page.locator("#answer .facts")).to_contain_text(
            f"judged by default {info['version']}"
        )
        page.get_by_label("Model", exact=True).select_option("second")
        expect(page.locator("#answer .facts")).to_contain_text("judged by second 2.0")
        page.get_by_role("button", name="About second").click()
        expect(page.get_by_role("dialog")).to_contain_text("What it cannot do")
