"""My normal voice: recorded once, kept in the browser, sent along with everything later."""

import json
import re
from html import escape, unescape

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.made_up import EIGHT, Answers, answer
from tests.browser.test_files import upload
from tests.sounds import encode, voice

TOKEN = "QUJDRA_this-is-a-token"


def with_profiles(page: Page) -> None:
    """Has the page believe that the model knows profiles, whether this one does or not."""

    def served(route: Route) -> None:
        response = route.fetch()
        text = response.text()
        given = re.search(r'data-models="([^"]*)"', text)
        assert given is not None
        models = [{**each, "profiles": True} for each in json.loads(unescape(given[1]))]
        text = text.replace(given[1], escape(json.dumps(models)))
        route.fulfill(response=response, body=text)

    page.route(re.compile(r":\d+/$"), served)
    page.reload()
    page.wait_for_selector("html[data-ready]")


def test_a_normal_voice_is_made_kept_used_and_forgotten(open_page: Open) -> None:
    page = open_page()
    with_profiles(page)
    first = answer(windows=1)
    made = answer(windows=1, profile=TOKEN)
    heard = answer(EIGHT[3:], windows=1)
    answers = Answers(page, first, made, heard, first)
    upload(page, ("clip.wav", encode(voice(2.0))))
    expect(page.locator(".emotion")).to_have_text("Angry")
    section = page.get_by_role("region", name="My normal voice")
    section.get_by_role("button", name="Record 10 seconds").click()
    expect(section).to_contain_text("s to go")
    expect(section).to_contain_text("Saved in this browser")
    assert b'name="profile"\r\n\r\ntrue\r\n' in answers.asked[1][1]
    # The clip is heard anew, with the voice and without, and both are shown.
    expect(page.locator(".emotion")).to_have_text("Happy")
    expect(page.locator(".with-voice")).to_contain_text("Without it: angry, 72% sure")
    expect(page.locator(".bars .mark").first).to_be_visible()
    assert TOKEN.encode() in answers.asked[2][1]
    assert b'name="profile"' not in answers.asked[3][1]

    page.reload()  # it outlives the page
    page.wait_for_selector("html[data-ready]")
    upload(page, ("clip.wav", encode(voice(2.0))))
    expect(page.locator(".with-voice")).to_be_visible()
    assert TOKEN.encode() in answers.asked[4][1]
    section.get_by_label("Hear me against it").uncheck()
    expect(page.locator(".with-voice")).to_be_hidden()
    assert TOKEN.encode() not in answers.asked[-1][1]
    section.get_by_role("button", name="Forget it").click()
    assert page.evaluate("localStorage.length") == 0
