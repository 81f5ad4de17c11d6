"""`ser evaluate --report` and `ser explore`: pages that hold everything they show."""

import base64
import io
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_core import Recognizer
from ser_core.bundle import Bundle
from ser_core.cli import main
from ser_core.lab import explore, explore_sounds, plots, report
from ser_core.lab import report_page as html
from ser_core.lab.corpora import read
from ser_core.lab.evaluation import figures, hear_all
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
    assert "It was trained on, or chosen by, 7 of these 8 speakers." in page.text
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


def test_learning_is_told_with_the_note_and_what_the_loss_is(
    evaluated: Path, trained: Trained, tmp_path: Path
) -> None:
    page = check_whole(evaluated)
    assert "the loss falls there by itself" in page.text
    assert "heads that are fitted on it afterwards" in page.text
    assert f"by ser {' '.join(trained.command)} ." in page.text
    bundle = shutil.copytree(trained.bundle, tmp_path / "noted")
    info = json.loads((bundle / "bundle.json").read_text("utf-8"))
    info["note"] = "Fitted on <another> machine."
    (bundle / "bundle.json").write_text(json.dumps(info), encoding="utf-8")
    told = report._learning(Bundle.load(bundle))
    assert "</code>. Fitted on &lt;another&gt; machine.</p>" in told


def test_what_is_left_without_uncertain_answers_is_said(evaluated: Path, tiny: Recognizer) -> None:
    page = check_whole(evaluated)
    found = re.search(r"at the dot, (\d+)% are answered, \d+% of them wrongly", page.text)
    assert found is not None
    assert f"{found[1]}% of the answers are not called uncertain" in page.text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([0] * 12 + [1, 0], "No mistake was made 5 times: too few to say"),
        ([1] * 5 + [0] * 7 + [0, 0], "it takes <b>angry</b> for sad (5 of 12)."),
        ([0] * 12 + [1, 1], "No mistakes."),
    ],
)
def test_mistakes_are_told_once_they_are_a_habit(said: list[int], words: str) -> None:
    overall = figures(("angry", "sad"), np.array([0] * 12 + [1] * 2), np.array(said))
    lead, _ = report._confusions(("angry", "sad"), overall)
    assert words in lead


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
    assert "bored.csv: none of the recordings can be judged (" in capsys.readouterr().err
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
    assert "All by one speaker; all axes and colours are the same" in page.text
    assert "About 55 seconds in all." in page.text
    from ser_core.lab.augmentations import AUGMENTATIONS, drawn_strength

    for seed, (name, each) in enumerate(AUGMENTATIONS.items(), explore_sounds.SEED):
        assert f"{each.title}: here {drawn_strength(name, seed):.3g} {each.unit}" in page.text
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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 seconds"), (100, "2 minutes"), (3540, "59 minutes"), (5400, "1.5 hours")],
)
def test_lengths_are_in_a_unit_that_says_something(seconds: float, words: str) -> None:
    assert explore._duration(seconds) == words


def test_every_line_of_the_spectra_is_named(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One emotion of men alone, another of women alone.
    sexes = {"angry": "F", "sad": "M"}
    utterances = [
        replace(u, sex=sexes.get(u.emotion, "FM"[u.speaker[0] == "a"]))
        for u in read(trained.manifest).utterances
        if u.emotion != "sad" or u.speaker == "a1"
    ]
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "picture", lambda figure, _: drawn.append(figure) or "")
    (section,) = explore_sounds._spectra(utterances, ["angry", "neutral", "sad"])
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["angry", "neutral", "sad"]
    assert "the fewest are 2, of sad, men" in section


def test_augmentations_are_drawn_on_one_scale_and_as_strong_as_chance_has_it(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ser_core.lab.augmentations import AUGMENTATIONS, drawn_strength

    drawn: dict[str, Axes] = {}
    monkeypatch.setattr(
        plots, "picture", lambda figure, text: drawn.update({text: figure.axes[0]}) or ""
    )
    utterance = read(trained.manifest).utterances[0]
    explore_sounds._augmentations(utterance, tone(1.0, hertz=440, level=0.5))
    assert len(drawn) == 1 + len(AUGMENTATIONS)
    pictures = [axes.images[0] for axes in drawn.values()]
    assert len({picture.get_clim() for picture in pictures}) == 1
    assert len({axes.get_xlim() for axes in drawn.values()}) == 1
    before, louder = (
        drawn[f"log-mel of the clip, {name}"].images[0].get_array().max()
        for name in ("as it is", "gain")
    )
    seed = explore_sounds.SEED + [*AUGMENTATIONS].index("gain")
    assert louder - before == pytest.approx(drawn_strength("gain", seed), abs=0.1)
    places = {
        round((drawn_strength(name, seed) - low) / (high - low), 2)
        for seed, (name, (low, high)) in enumerate(
            ((name, each.usual) for name, each in AUGMENTATIONS.items()), explore_sounds.SEED
        )
    }
    assert len(places) > 5


def test_a_player_holds_the_sound() -> None:
    player = html.sound(tone(1.0, hertz=440), 16_000, 'a "tone"')
    assert 'aria-label="a &quot;tone&quot;"' in player
    encoded = re.search(r"base64,([^\"]+)", player)
    assert encoded is not None
    signal, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded[1])))
    assert rate == 16_000
    assert len(signal) == pytest.approx(16_000, abs=2000)
    assert np.abs(np.fft.rfft(signal)).argmax() * rate / len(signal) == pytest.approx(440, abs=5)


def test_shades_grow_darker() -> None:
    shades = [int(html.shade(share / 10)[1:3], 16) for share in range(11)]
    assert shades == sorted(shades, reverse=True)
    assert (html.shade(0), html.shade(2)) == ("#f7fafc", "#084578")
