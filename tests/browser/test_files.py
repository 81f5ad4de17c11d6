"""Files in, answers out."""

import csv
import json
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.api.live import Server, form
from tests.browser.conftest import Open, until
from tests.browser.made_up import Answers, answer
from tests.sounds import encode, silence, voice


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    page.set_input_files(
        "#file", [{"name": name, "mimeType": "", "buffer": content} for name, content in files]
    )


def drop(page: Page, name: str, content: bytes) -> None:
    page.evaluate(
        """([name, bytes]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
            for (const type of ["dragover", "drop"]) {
              document.body.dispatchEvent(
                new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
            }
        }""",
        [name, list(content)],
    )


def test_an_uploaded_recording_shows_its_emotion(
    open_page: Open, service: Server, ser_data: Path
) -> None:
    recording = ser_data / "ravdess" / "Actor_20" / "03-01-04-02-01-01-20.opus"
    heard = service.post("/predict", *form(("file", "a.opus", recording.read_bytes()))).json
    page = open_page()
    page.set_input_files("#file", recording)
    expect(page.locator(".emotion")).to_have_text(heard["emotion"].capitalize())
    expect(page.locator(".confidence")).to_have_text(f"{heard['confidence']:.0%} sure")
    expect(page.locator("#answer h2")).to_have_text(recording.name)
    bars = page.locator(".bars li")
    assert bars.locator(".name").all_inner_texts() == [
        emotion.capitalize() for emotion in heard["probabilities"]
    ]
    expect(page.locator(".uncertain")).to_be_visible(visible=heard["uncertain"])
    expect(page.locator(".waveform")).to_be_visible()


def test_each_of_several_files_gets_its_own_answer(open_page: Open) -> None:
    page = open_page()
    upload(
        page,
        ("one.wav", encode(voice(2.0))),
        ("notes.txt", b"no sound at all"),
        ("two.flac", encode(voice(2.0, pitch=220.0), "flac")),
    )
    clips = page.locator("#clips .clip")
    expect(clips).to_have_count(3)
    expect(clips.nth(0)).to_contain_text("%")
    expect(clips.nth(1)).to_contain_text("not audio that can be read")
    expect(clips.nth(2)).to_contain_text("%")
    expect(page.locator("#answer h2")).to_have_text("one.wav")
    clips.nth(1).click()
    expect(page.locator("#answer .what")).to_have_text("Not audio that can be read")
    clips.nth(2).click()
    expect(page.locator("#answer h2")).to_have_text("two.flac")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#session")).to_be_hidden()
    expect(page.locator("#empty")).to_be_visible()


def test_files_can_be_dropped_anywhere(open_page: Open) -> None:
    page = open_page()
    drop(page, "dropped.wav", encode(voice(2.0)))
    expect(page.locator("#answer h2")).to_have_text("dropped.wav")
    expect(page.locator(".confidence")).to_contain_text("sure")


def test_every_sample_is_judged_and_called_made_up(open_page: Open) -> None:
    page = open_page()
    samples = page.locator("#samples button")
    for i in range(samples.count()):
        samples.nth(i).click()
        name = f"{samples.nth(i).inner_text()} (made by formula).wav"
        expect(page.locator("#answer h2")).to_have_text(name)
        expect(page.locator("#answer .emotion")).to_be_visible()
        expect(page.get_by_text("This sound was made by formula")).to_be_visible()


def test_silence_is_explained_where_it_happened(open_page: Open) -> None:
    page = open_page()
    upload(page, ("quiet.wav", encode(silence(2.0))))
    expect(page.locator("#answer .what")).to_have_text("Silent recording")
    expect(page.locator("#answer")).to_contain_text("Is the microphone on")
    expect(page.locator("#announcer")).to_contain_text("quiet.wav: Silent recording")


def test_too_large_a_file_is_not_even_sent(open_page: Open) -> None:
    page = open_page()
    answers = Answers(page, answer())
    upload(page, ("large.wav", bytes(3_100_000)))
    expect(page.locator("#answer .what")).to_have_text("File too large")
    expect(page.locator("#answer")).to_contain_text("3.1 MB; up to 3 MB are taken")
    assert answers.asked == []


def test_a_slow_upload_shows_its_progress_and_can_be_cancelled(open_page: Open) -> None:
    page = open_page()
    network = page.context.new_cdp_session(page)
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000},
    )
    upload(page, ("long.wav", encode(np.tile(voice(10.0), 8))))
    progress = page.get_by_role("progressbar")
    expect(progress).to_be_visible()
    expect(page.locator("#answer")).to_contain_text("Sending 2.6 MB: ")
    until(page, "document.querySelector('progress').value > 0.02")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#answer .what")).to_have_text("Cancelled")
    page.unroute_all()
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#answer .emotion")).to_be_visible()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("name", ["clip.wav", """it's "odd"; $(id),a\\b `x` &.wav"""])
def test_the_curl_line_makes_the_same_request(open_page: Open, tmp_path: Path, name: str) -> None:
    page = open_page()
    (tmp_path / name).write_bytes(encode(voice(4.0)))
    page.set_input_files("#file", tmp_path / name)
    expect(page.locator("#answer .emotion")).to_be_visible()
    page.get_by_text("The same from your own code").click()
    line = page.locator("[data-part=curl]").inner_text()
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = json.loads(page.locator("[data-part=json]").inner_text())
    said = json.loads(done.stdout)
    assert said["segments"] == shown["segments"]
    assert said["probabilities"] == shown["probabilities"]
    assert [*tmp_path.iterdir()] == [tmp_path / name]


def test_the_answer_can_be_copied_and_saved(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    said = answer(filename="clip.wav")
    Answers(page, said)
    upload(page, ("clip.wav", encode(voice(2.0))))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download JSON").click()
    assert saved.value.suggested_filename == "clip.json"
    assert json.loads(Path(saved.value.path()).read_text("utf-8")) == said
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    assert saved.value.suggested_filename == "clip.csv"
    rows = [*csv.DictReader(StringIO(Path(saved.value.path()).read_text("utf-8")))]
    assert [row["part"] for row in rows] == ["recording", *["window"] * 6]
    assert rows[2]["emotion"] == "disgust"
    assert float(rows[2]["start"]) == 1.5
    assert float(rows[2]["disgust"]) == pytest.approx(0.72)
    page.get_by_text("The same from your own code").click()
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == said
