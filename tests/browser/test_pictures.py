"""Waveform, emotions over time, and the cursor that reads them."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, until
from tests.browser.made_up import EIGHT, Answers, answer
from tests.browser.test_files import upload
from tests.sounds import encode, voice

COLOURS = """(selector) => {
    const canvas = document.querySelector(selector);
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""


@pytest.fixture
def page(open_page: Open) -> Page:
    """The page with an answer of 10.5 s, each window with another emotion."""
    page = open_page()
    Answers(page, answer())
    upload(page, ("clip.wav", encode(voice(10.5))))
    expect(page.locator(".timeline")).to_be_visible()
    # Drawn once the browser has decoded the sound, later than it is shown.
    until(page, f"({COLOURS})('.waveform') >= 2")
    return page


def colours(page: Page, picture: str) -> int:
    """How many colours a picture has."""
    count: int = page.evaluate(COLOURS, picture)
    return count


def brightness(page: Page, picture: str, across: float, down: float) -> float:
    """Mean of red, green and blue at a place, which goes from 0 to 1."""
    mean: float = page.evaluate(
        """([selector, across, down]) => {
            const canvas = document.querySelector(selector);
            const place = [across * canvas.width, down * canvas.height].map(Math.floor);
            const [red, green, blue] = canvas.getContext("2d").getImageData(...place, 1, 1).data;
            return (red + green + blue) / 3;
        }""",
        [picture, across, down],
    )
    return mean


def point_at(page: Page, seconds: float) -> None:
    box = page.locator(".slider").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * seconds / 10.5, box["y"] + 20)


def test_the_pictures_are_drawn_and_told(page: Page) -> None:
    assert colours(page, ".waveform") >= 2
    assert colours(page, ".timeline") >= 8
    assert colours(page, ".spectrogram") >= 100
    assert brightness(page, ".spectrogram", 0.05, 0.9) < brightness(page, ".spectrogram", 0.9, 0.1)
    told = page.locator(".timeline").get_attribute("aria-label") or ""
    assert told.startswith("Emotions over time: 0.0 to 2.")
    assert [told.index(emotion) for emotion in EIGHT[:6]] == sorted(
        told.index(emotion) for emotion in EIGHT[:6]
    )
    told = page.locator(".spectrogram").get_attribute("aria-label") or ""
    assert told.startswith("Log-mel spectrogram from 50 Hz to 8.2 kHz")
    assert page.locator(".waveform").get_attribute("aria-label") == "Waveform of 10.5 s of sound."


def test_pointing_at_a_moment_reads_it(page: Page) -> None:
    heading = page.locator("[data-part=heading]")
    expect(heading).to_have_text("In the whole recording")
    point_at(page, 9.2)
    expect(heading).to_have_text("At 9.2 s: calm, 72%")
    expect(page.locator(".bars .best .name")).to_have_text("Calm")
    page.mouse.move(5, 5)
    expect(heading).to_have_text("In the whole recording")


def test_arrow_keys_read_moments_and_escape_leaves_them(page: Page) -> None:
    slider = page.get_by_role("slider", name="Moment of the recording")
    heading = page.locator("[data-part=heading]")
    slider.focus()
    page.keyboard.press("Home")
    expect(heading).to_have_text("At 0.0 s: angry, 72%")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", "0.3")
    expect(slider).to_have_attribute("aria-valuetext", "at 0.3 s: angry, 72%")
    page.keyboard.press("End")
    expect(heading).to_have_text("At 10.5 s: calm, 72%")
    page.keyboard.press("Escape")
    expect(heading).to_have_text("In the whole recording")
    expect(page.locator(".playhead")).to_be_hidden()


def test_playing_moves_the_cursor_over_all_pictures(page: Page) -> None:
    page.get_by_role("button", name="Play").click()
    playhead = page.locator(".playhead")
    expect(playhead).to_be_visible()
    until(page, "parseFloat(document.querySelector('.playhead').style.left) > 3")
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    stack, line = page.locator(".stack").bounding_box(), playhead.bounding_box()
    assert stack is not None
    assert line is not None
    assert line["height"] == pytest.approx(stack["height"], abs=1)
    at = page.locator(".slider").get_attribute("aria-valuenow")
    page.wait_for_timeout(300)
    assert page.locator(".slider").get_attribute("aria-valuenow") == at
    page.get_by_role("button", name="Whole recording").click()
    expect(page.locator("[data-part=heading]")).to_have_text("In the whole recording")


def test_a_click_moves_the_cursor_there(page: Page) -> None:
    point_at(page, 6.0)
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(5, 5)
    expect(page.locator("[data-part=heading]")).to_contain_text("At 6.0 s: happy")


def test_the_moments_are_a_table_as_well(page: Page) -> None:
    page.get_by_text("The moments as a table").click()
    rows = page.locator("[data-part=rows] tr")
    expect(rows).to_have_count(6)
    assert rows.nth(1).locator("td").all_inner_texts()[:5] == [
        "1.5 s",
        "4.5 s",
        "disgust",
        "4%",
        "72%",
    ]


def test_moments_without_a_voice_say_so(open_page: Open) -> None:
    page = open_page()
    said = answer(windows=3)
    for segment in said["segments"][1:]:
        segment |= {"speech": False, "emotion": None, "confidence": None, "probabilities": None}
    Answers(page, said)
    upload(page, ("clip.wav", encode(voice(6.0))))
    expect(page.locator(".timeline")).to_have_attribute(
        "aria-label",
        "Emotions over time: 0.0 to 3.0 seconds angry, 3.0 to 6.0 seconds nobody speaks",
    )
    page.get_by_text("The moments as a table").click()
    assert page.locator("[data-part=rows] tr").nth(2).locator("td").all_inner_texts()[:4] == [
        *("3.0 s", "6.0 s", "no voice", ""),
    ]


def test_a_sound_that_the_browser_cannot_read_is_judged_without_its_waveform(
    open_page: Open,
) -> None:
    page = open_page()
    Answers(page, answer())
    upload(page, ("old.amr", b"#!AMR\n" + bytes(np.arange(200, dtype=np.uint8))))
    expect(page.locator(".emotion")).to_be_visible()
    expect(page.get_by_text("This browser cannot play this format.")).to_be_visible()
    expect(page.get_by_role("button", name="Play")).to_be_disabled()
    expect(page.locator(".timeline")).to_be_visible()
    expect(page.locator(".waveform")).to_be_hidden()
