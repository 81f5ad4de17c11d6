"""Speaking: recorded and judged, or live. The browser's microphone hears a file."""

import re
import wave
from io import BytesIO

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.live import Server
from tests.browser.conftest import Open, until
from tests.browser.made_up import Answers, answer, problem

LATELY = re.compile(r"Emotions over the last 10 seconds, lately \w+")


def recorded(body: bytes) -> wave.Wave_read:
    """The WAV in a form's field."""
    return wave.open(BytesIO(body[body.index(b"RIFF") :]))


# The service that it is tested with takes 3 MB, which are 31 s as a browser records.
def start_recording(page: Page, seconds: int = 2) -> None:
    page.get_by_role("tab", name="Microphone").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#record-clock")).to_have_text(f"0:0{seconds} / 0:31")


def test_what_is_spoken_is_recorded_and_judged(open_page: Open) -> None:
    page = open_page()
    start_recording(page)
    page.get_by_role("button", name="Stop and judge").click()
    expect(page.locator("#answer h2")).to_have_text("Recording 1.wav")
    expect(page.locator(".confidence")).to_contain_text("sure")
    expect(page.locator(".waveform")).to_be_visible()
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_focused()
    page.get_by_role("button", name="Play").click()  # listen again
    until(page, "parseFloat(document.querySelector('.playhead').style.left) > 10")


def test_a_recording_holds_what_the_microphone_heard_and_no_pauses(open_page: Open) -> None:
    page = open_page()
    answers = Answers(page, answer())
    start_recording(page, 1)
    until(
        page, "parseFloat(document.querySelector('#record-meter').style.transform.slice(7)) > 0.5"
    )
    page.get_by_role("button", name="Pause").click()
    paused = page.locator("#record-clock").inner_text()
    page.wait_for_timeout(1500)
    assert page.locator("#record-clock").inner_text() == paused
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#record-clock")).to_have_text("0:02 / 0:31")
    page.get_by_role("button", name="Stop and judge").click()
    expect(page.locator("#answer .emotion")).to_be_visible()
    with recorded(answers.asked[0][1]) as sound:
        assert sound.getnchannels() == 1
        assert sound.getsampwidth() == 2
        rate = sound.getframerate()
        assert 2 <= sound.getnframes() / rate < 3.4
        samples = np.frombuffer(sound.readframes(sound.getnframes())[: 4 * rate], np.int16)
    spectrum = np.abs(np.fft.rfft(samples / 32768.0))
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    assert 0.2 < np.abs(samples).max() / 32768 < 0.6  # the fake voice peaks at 0.5
    assert 140 < hertz[np.argmax(spectrum * (hertz < 200))] < 160  # and has a pitch of 150 Hz


def test_a_discarded_recording_is_not_sent(open_page: Open) -> None:
    page = open_page()
    answers = Answers(page, answer())
    start_recording(page, 1)
    page.get_by_role("button", name="Discard").click()
    expect(page.locator("#record-clock")).to_have_text("0:00 / 0:31")
    expect(page.locator("#session")).to_be_hidden()
    assert answers.asked == []


def test_what_was_recorded_is_kept_when_the_tab_is_left(open_page: Open) -> None:
    page = open_page()
    Answers(page, answer())
    start_recording(page, 1)
    page.get_by_role("tab", name="Microphone").press("ArrowLeft")
    expect(page.get_by_role("tab", name="Files")).to_be_focused()
    expect(page.locator("#answer h2")).to_have_text("Recording 1.wav")
    expect(page.locator("#answer .emotion")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("tab", name="Files")).to_be_focused()


@pytest.mark.parametrize(("tab", "button"), [("Microphone", "Record"), ("Live", "Start live")])
def test_leaving_while_the_browser_asks_leaves_the_microphone_off(
    open_page: Open, tab: str, button: str
) -> None:
    page = open_page()
    page.add_init_script(
        """{
            const media = navigator.mediaDevices;
            const really = media.getUserMedia.bind(media);
            window.tracks = [];
            media.getUserMedia = async (wanted) => {
                await new Promise((resolve) => { window.allow = resolve; });
                const stream = await really(wanted);
                window.tracks.push(...stream.getTracks());
                return stream;
            };
        }"""
    )
    page.reload()
    page.wait_for_selector("html[data-ready]")
    answers = Answers(page, answer(windows=1))
    page.get_by_role("tab", name=tab).click()
    start = page.get_by_role("button", name=button, exact=True)
    start.click()
    page.get_by_role("tab", name="Files").click()
    page.evaluate("allow(); window.allow = null")
    until(page, "tracks.length === 1 && tracks[0].readyState === 'ended'")
    assert answers.asked == []
    page.get_by_role("tab", name=tab).click()
    start.click()  # and another time it works
    until(page, "Boolean(window.allow)")
    page.evaluate("allow()")
    expect(start).to_be_hidden()
    assert page.evaluate("tracks[1].readyState") == "live"
    page.get_by_role("tab", name="Files").click()
    until(page, "tracks[1].readyState === 'ended'")


@pytest.mark.parametrize(("tab", "button"), [("Microphone", "Record"), ("Live", "Start live")])
def test_a_refused_microphone_is_explained(open_page: Open, tab: str, button: str) -> None:
    page = open_page(permissions=[])
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => {"
        " throw new DOMException('denied', 'NotAllowedError'); }"
    )
    page.reload()
    page.get_by_role("tab", name=tab).click()
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The microphone was refused. Allow it")
    expect(page.get_by_role("button", name=button, exact=True)).to_be_enabled()


def test_a_page_that_may_have_no_microphone_says_why(open_page: Open, service: Server) -> None:
    page = open_page(host="voice.test", permissions=[])
    page.get_by_role("tab", name="Microphone").click()
    expect(page.get_by_role("alert")).to_contain_text("only to pages on https or on localhost")
    expect(page.get_by_role("alert")).to_contain_text(f"http://voice.test:{service.port}")
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_disabled()


def test_live_the_curve_grows_while_one_speaks(open_page: Open) -> None:
    page = open_page()
    asked: list[bytes] = []

    def note(route: Route) -> None:
        asked.append(route.request.post_data_buffer or b"")
        route.continue_()

    page.route("**/predict", note)
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start live").click()
    expect(page.locator("#answer .facts")).to_have_text("Listening.")
    page.wait_for_timeout(5000)
    expect(page.locator("#answer .confidence")).to_contain_text("%")
    expect(page.locator("#answer .timeline")).to_have_attribute("aria-label", LATELY)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#answer .facts")).to_contain_text("Stopped after 0:0")
    assert 3 <= len(asked) <= 9
    with recorded(asked[-1]) as last:
        assert 2.5 < last.getnframes() / last.getframerate() <= 3.1
    sent = len(asked)
    page.wait_for_timeout(1500)
    assert len(asked) == sent


def test_live_waits_for_a_busy_service_and_goes_on(open_page: Open) -> None:
    page = open_page()
    busy = problem(503, "overloaded", "Overloaded", "The service is full.")
    Answers(page, busy, answer(windows=1), Retry_After="1")
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start live").click()
    expect(page.locator("#answer .facts")).to_have_text("The service is busy: trying again in 1 s.")
    expect(page.locator("#answer .emotion")).to_have_text("Angry")
    page.get_by_role("tab", name="Files").click()  # leaving stops it
    expect(page.locator("#answer .facts")).to_contain_text("Stopped")


def test_live_stops_where_the_service_is_gone(open_page: Open) -> None:
    page = open_page()
    page.route("**/predict", lambda route: route.abort())
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start live").click()
    expect(page.locator("#answer .facts")).to_contain_text(
        "No answer: trying again", timeout=20_000
    )
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_role("button", name="Start live")).to_be_visible()
