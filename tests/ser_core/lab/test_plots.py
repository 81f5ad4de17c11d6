"""Pictures of the reports: what is to be seen in them, and that it can be told apart."""

import base64
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ser_core.lab import plots
from ser_core.lab.risk import reliability, risk_coverage

CONFIDENCE = np.array([0.9, 0.9, 0.6, 0.6])
RIGHT = np.array([True, True, True, False])


def svg(picture: str) -> str:
    encoded = re.search(r"base64,([^\"]+)", picture)
    assert encoded is not None
    return base64.b64decode(encoded[1]).decode("utf-8")


def history(*corpora: str, epochs: int = 10) -> list[dict[str, float]]:
    each = dict.fromkeys(corpora, 0.3)
    return [{"loss": 2 - 0.1 * epoch, "uar": 0.3, **each} for epoch in range(epochs)]


def lines_of(figure: Figure, place: int) -> list[Line2D]:
    return [line for line in figure.axes[place].lines if len(line.get_xydata()) > 2]


def test_pictures_say_in_words_what_they_show() -> None:
    with plots.style():
        diagram = plots.reliability_diagram(reliability(CONFIDENCE, RIGHT, 10))
        curve = plots.risk_curve(risk_coverage(CONFIDENCE, RIGHT), 0.7)
    assert "confidence 0.60: 50% right of 2; confidence 0.90: 100% right of 2" in diagram
    assert "75% right if everything is answered, 100% if the surest 50% are" in curve


def test_nothing_is_written_across_the_curve_of_risk() -> None:
    with plots.style():
        drawn = svg(plots.risk_curve(risk_coverage(CONFIDENCE, RIGHT), 0.7))
    words = re.findall(r"<text[^>]*>([^<]+)</text>", drawn)
    assert [word for word in words if not re.fullmatch(r"[\d.]+", word)] == [
        "share of the recordings that is answered, surest first",
        "share of the answers that is wrong",
    ]


def test_one_recording_is_not_counted_in_halves() -> None:
    with plots.style():
        drawn = svg(plots.histogram([1.0, 2.0, 3.5], "s", "Lengths"))
    # Of the axis upwards, whose numbers come last.
    ticks = re.findall(
        r"<text[^>]*>([\d.]+)</text>", drawn[drawn.index('id="matplotlib.axis_2"') :]
    )
    assert ticks == ["0", "1"]


def test_every_corpus_has_its_colour_and_dashes_and_the_mean_ink() -> None:
    names = ("cremad", "emodb", "nemo", "ravdess", "savee", "tess", "turev", "urdu")
    with plots.style():
        figure = plots.learning_curves(history(*names), "Speakers")
    *corpora, mean = lines_of(figure, 1)
    assert [line.get_label() for line in corpora] == [*names]
    assert (mean.get_label(), mean.get_color()) == ("mean", plots.INK)
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in corpora}
    assert len(looks) == len(names)
    assert {line.get_color() for line in corpora} == {*plots.CORPORA}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*names, "mean"]


@pytest.mark.parametrize(("name", "label"), [("tess", "tess"), ("", "(unnamed)")])
def test_one_corpus_is_one_line(name: str, label: str) -> None:
    with plots.style():
        figure = plots.learning_curves(history(name), "Speakers")
    assert [line.get_label() for line in lines_of(figure, 1)] == [label]


@pytest.mark.parametrize(("finishing", "where"), [(8, [8.5]), (10, []), (None, [])])
def test_a_line_stands_where_the_last_epochs_begin(
    finishing: int | None, where: list[float]
) -> None:
    with plots.style():
        figure = plots.learning_curves(history("a", "b"), "Recordings", finishing)
    for axes in figure.axes:
        upright = [line.get_xdata() for line in axes.lines if len(line.get_xydata()) == 2]
        assert [float(ends[0]) for ends in upright] == where
    assert figure.axes[1].get_title(loc="left") == "Recordings held out for validation"


def test_one_epoch_is_seen() -> None:
    with plots.style():
        figure = plots.learning_curves(history("a", epochs=1), "Speakers")
    assert all(line.get_marker() == "o" for axes in figure.axes for line in axes.lines)
