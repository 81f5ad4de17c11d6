"""My normal voice: recorded once, kept in the browser, sent along with everything later."""

import re

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.made_up import Answers, answer, problem
from tests.browser.test_files import upload
from tests.sounds import encode, voice

KEPT = "localStorage.getItem(Object.keys(localStorage)[0])"


def watch(page: Page) -> list[bytes]:
    """What is sent to /predict, as it is sent."""
    sent: list[bytes] = []

    def note(route: Route) -> None:
        sent.append(route.request.post_data_buffer or b"")
        route.continue_()

    page.route("**/predict", note)
    return sent


def normal_voice(page: Page) -> Locator:
    return page.get_by_role("region", name="My normal voice")


def test_a_normal_voice_is_made_kept_used_and_forgotten(open_page: Open) -> None:
    page = open_page()
    sent = watch(page)
    clip = ("clip.wav", encode(voice(2.0, pitch=240.0)))
    upload(page, clip)
    expect(page.locator(".emotion")).to_be_visible()
    without = f"{page.locator('.emotion').inner_text()}, {page.locator('.confidence').inner_text()}"
    section = normal_voice(page)
    section.get_by_role("button", name="Record 10 seconds").click()
    expect(section).to_contain_text("s to go")
    section.get_by_role("button", name="That is enough").click()
    expect(section).to_contain_text("Saved in this browser")
    assert b'name="profile"\r\n\r\ntrue\r\n' in sent[1]
    # The clip is heard anew, with the voice and without, and both are shown.
    expect(page.locator(".with-voice")).to_contain_text(f"Without it: {without.lower()}")
    expect(page.locator(".bars .mark").first).to_be_visible()
    token = page.evaluate(KEPT).encode()
    assert len(token) > 100
    assert b'name="profile"\r\n\r\n' + token + b"\r\n" in sent[2]
    assert b'name="profile"' not in sent[3]

    page.reload()  # it outlives the page
    page.wait_for_selector("html[data-ready]")
    upload(page, clip)
    expect(page.locator(".with-voice")).to_be_visible()
    assert token in sent[4]
    section.get_by_label("Hear me against it").uncheck()
    expect(page.locator(".with-voice")).to_be_hidden()
    assert token not in sent[-1]
    section.get_by_role("button", name="Forget it").click()
    expect(section.get_by_label("Hear me against it")).to_be_hidden()
    expect(section.get_by_role("button", name="Record 10 seconds")).to_be_focused()
    assert page.evaluate("localStorage.length") == 0


def test_a_voice_that_cannot_be_heard_is_not_kept(open_page: Open) -> None:
    page = open_page()
    Answers(page, problem(422, "silent", "Silent recording", "There is nothing to hear."))
    section = normal_voice(page)
    section.get_by_role("button", name="Record 10 seconds").click()
    section.get_by_role("button", name="That is enough").click()
    expect(section.get_by_role("alert")).to_have_text("Silent recording. There is nothing to hear.")
    expect(section.get_by_role("button", name="Record 10 seconds")).to_be_focused()
    assert page.evaluate("localStorage.length") == 0


def test_a_voice_that_the_browser_cannot_keep_is_said_to_be_lost(open_page: Open) -> None:
    page = open_page()
    Answers(page, answer(profile="a-token-of-a-voice"))
    page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new Error('The storage is full'); }; }"
    )
    section = normal_voice(page)
    section.get_by_role("button", name="Record 10 seconds").click()
    section.get_by_role("button", name="That is enough").click()
    expect(section.get_by_role("alert")).to_have_text("The storage is full")


def test_a_token_that_is_refused_is_explained(open_page: Open) -> None:
    page = open_page()
    key = page.evaluate(
        """() => {
            const { name, version } = JSON.parse(document.body.dataset.models)[0];
            localStorage.setItem(`normal-voice ${name} ${version}`, "bm90IGEgcHJvZmlsZQ");
            return `normal-voice ${name} ${version}`;
        }"""
    )
    assert re.fullmatch(r"normal-voice default \d+\.\d+\.\d+", key)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    upload(page, ("clip.wav", encode(voice(2.0))))
    expect(page.locator("#answer")).to_contain_text("The profile token is damaged")
    expect(page.locator("#answer")).to_contain_text("Forget your normal voice, or record it anew.")
    normal_voice(page).get_by_role("button", name="Forget it").click()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".emotion")).to_be_visible()


def test_a_model_that_knows_no_profiles_offers_none(open_page: Open) -> None:
    page = open_page()
    expect(normal_voice(page)).to_be_visible()

    def without_profiles(route: Route) -> None:
        response = route.fetch()
        text = response.text()
        assert "&#34;profiles&#34;: true" in text
        body = text.replace("&#34;profiles&#34;: true", "&#34;profiles&#34;: false")
        route.fulfill(response=response, body=body)

    page.route(re.compile(r":\d+/$"), without_profiles)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(normal_voice(page)).to_be_hidden()
    answers = Answers(page, answer())
    upload(page, ("clip.wav", encode(voice(2.0))))
    expect(page.locator(".emotion")).to_be_visible()
    assert b'name="profile"' not in answers.asked[0][1]
