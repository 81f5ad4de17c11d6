"""`ser evaluate --report` and `ser explore`: pages that hold everything they show."""

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_core import Recognizer
from ser_core.cli import main
from ser_core.lab import explore_sounds, plots, report
from ser_core.lab import report_page as html
from ser_core.lab.corpora import read
from ser_core.lab.evaluation import hear_all
from ser_core.lab.risk import reliability, risk_coverage
from tests.acting import EMOTIONS, read_rows, write_manifest
from tests.ser_core.conftest import Trained
from tests.sounds import tone


class Page(HTMLParser):
    """Tags, what they load, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag == "img":
            assert dict(attrs)["alt"]
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        # A page whose tags do not match is not what was meant.
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check_whole(path: Path) -> Page:
    page = Page(path)
    assert page.open == []
    assert all(each.startswith("data:") for each in page.loaded)
    assert path.stat().st_size < html.LARGEST
    return page


@pytest.fixture(scope="module")
def evaluated(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = read_rows(trained.manifest)
    for row in rows:
        row["path"] = str(trained.manifest.parent / row["path"])
        row["sex"] = {"a": "F", "b": "M"}[row["corpus"]]
        row["intensity"] = "<low>"
    manifest = write_manifest(folder / "all.csv", rows)
    command = ["evaluate", str(trained.bundle), "--data", str(manifest)]
    assert main([*command, "--report", str(folder / "new" / "page")]) == 0
    return folder / "new" / "page" / "evaluation.html"


def test_the_report_holds_all_that_it_shows(evaluated: Path, tiny: Recognizer) -> None:
    page = check_whole(evaluated)
    assert "How well does “tiny” hear?" in page.text
    assert "48 recordings of 8 speakers" in page.text
    assert "It was trained on 5 of these 8 speakers." in page.text
    for group in ("women 24", "men 24", "a: <low> 24", "valid 12"):
        assert group in page.text
    assert page.tags["img"] == 3
    assert page.tags["audio"] <= report.HARDEST


def test_the_clips_to_listen_to_are_the_wrong_answers_of_most_confidence(
    evaluated: Path, trained: Trained, tiny: Recognizer
) -> None:
    outcome = hear_all(tiny, read(trained.manifest).utterances)
    probabilities = outcome.probabilities(tiny.bundle.temperature, tiny.bundle.bias)
    wrong = probabilities.argmax(axis=1) != outcome.labels
    page = check_whole(evaluated)
    assert page.tags["audio"] == min(report.HARDEST, wrong.sum()) > 0
    surest = int(np.argmax(np.where(wrong, probabilities.max(axis=1), -1)))
    first = re.search(r"<code>\w+ \w+ (\w+)</code><audio", evaluated.read_text("utf-8"))
    assert first is not None
    assert first[1] == outcome.utterances[surest].path.stem


def test_a_report_goes_where_a_folder_can_be(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(trained.bundle), "--data", str(trained.manifest)]
    with pytest.raises(SystemExit):
        main([*command, "--report", str(trained.manifest)])
    assert "manifest.csv is no folder to write in" in capsys.readouterr().err


def test_nothing_judged_is_no_report(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"label": "boredom"} for row in read_rows(trained.manifest)]
    for row in rows:
        row["path"] = str(trained.manifest.parent / row["path"])
    manifest = write_manifest(tmp_path / "bored.csv", rows)
    command = ["evaluate", str(trained.bundle), "--data", str(manifest)]
    assert main([*command, "--report", str(tmp_path)]) == 1
    assert "bored.csv could be judged: there is no report" in capsys.readouterr().err
    assert not (tmp_path / "evaluation.html").exists()


def test_explore_shows_and_plays_every_emotion(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", str(trained.manifest), "--report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'explore.html'}\n"
    page = check_whole(tmp_path / "explore.html")
    assert "48 recordings 8 speakers that are named 2 corpora 3 emotions" in page.text
    assert "The emotions are well balanced." in page.text
    for section in ("Who speaks", "How long they are", "Average spectra by emotion and sex"):
        assert section in page.text
    assert "All by one speaker; all axes are the same" in page.text
    from ser_core.lab.augmentations import AUGMENTATIONS

    assert page.tags["audio"] == len(EMOTIONS) + 1 + len(AUGMENTATIONS)
    # Those and the histogram of lengths and the spectra.
    assert page.tags["img"] == page.tags["audio"] + 2


def test_examples_are_of_one_voice_and_unreadable_ones_are_passed_over(trained: Trained) -> None:
    utterances = read(trained.manifest).utterances
    chosen = explore_sounds.choose_examples(utterances, list(EMOTIONS))
    assert [*chosen] == [*EMOTIONS]
    assert {utterance.speaker for utterance, _ in chosen.values()} == {"a1"}
    missing = [
        u if u.speaker != "a1" else type(u)(u.path.with_suffix(".no"), u.emotion, u.speaker)
        for u in utterances
    ]
    chosen = explore_sounds.choose_examples(missing, list(EMOTIONS))
    assert {utterance.emotion for utterance, _ in chosen.values()} == {*EMOTIONS}
    assert "a1" not in {utterance.speaker for utterance, _ in chosen.values()}


def test_what_is_measured_over_time_is_right_for_a_tone() -> None:
    measured = explore_sounds.measure(tone(1.0, hertz=1000, level=0.5))
    middle = slice(5, -5)
    np.testing.assert_allclose(measured["centroid"][middle], 1000, atol=15)
    np.testing.assert_allclose(measured["ZCR"][middle], 2000 / 16_000, atol=0.003)
    np.testing.assert_allclose(measured["RMS"][middle], 0.5 / np.sqrt(2), rtol=0.01)
    np.testing.assert_allclose(measured["envelope"][middle], 0.5, rtol=0.01)
    assert measured["BER"][middle].min() > 40
    assert measured["flux"][middle].max() < 0.01


def test_a_player_holds_the_sound() -> None:
    player = html.sound(tone(1.0, hertz=440), 16_000, 'a "tone"')
    assert 'aria-label="a &quot;tone&quot;"' in player
    encoded = re.search(r"base64,([^\"]+)", player)
    assert encoded is not None
    signal, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded[1])))
    assert rate == 16_000
    assert len(signal) == pytest.approx(16_000, abs=2000)
    assert np.abs(np.fft.rfft(signal)).argmax() * rate / len(signal) == pytest.approx(440, abs=5)


def test_pictures_say_in_words_what_they_show() -> None:
    confidence = np.array([0.9, 0.9, 0.6, 0.6])
    right = np.array([True, True, True, False])
    with plots.style():
        diagram = plots.reliability_diagram(reliability(confidence, right, 10))
        curve = plots.risk_curve(risk_coverage(confidence, right), 0.7)
    assert "confidence 0.60: 50% right of 2; confidence 0.90: 100% right of 2" in diagram
    assert "75% right if everything is answered, 100% if the surest 50% are" in curve


def test_shades_grow_darker() -> None:
    shades = [int(html.shade(share / 10)[1:3], 16) for share in range(11)]
    assert shades == sorted(shades, reverse=True)
    assert (html.shade(0), html.shade(2)) == ("#f7fafc", "#084578")
