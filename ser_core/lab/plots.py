"""Figures of the reports: one look, light, in colours that everybody can tell apart."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ser_core.lab.risk import Reliability, RiskCoverage

BLUE, VERMILION, GREY, INK = "#0072b2", "#d55e00", "#6b7280", "#1f2937"

COLOURS = {
    "angry": "#d55e00",
    "disgust": "#009e73",
    "fear": "#cc79a7",
    "happy": "#e69f00",
    "neutral": "#6b7280",
    "calm": "#8c6d31",
    "sad": "#0072b2",
    "surprise": "#56b4e9",
    "boredom": "#332288",
}
"""After Okabe & Ito 2008, "Color Universal Design"; lines differ in their dashes too."""

CORPORA = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of lines that stand for corpora, in this order and then again, each with the next of `DASHES`."""

THIN = 10
"""Answers under which a bar is drawn faintly."""

DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (10, 3)),
)

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": "#4b5563",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    # As long as the longest of `DASHES` needs to be told from a whole line.
    "legend.handlelength": 3.2,
    "image.cmap": "viridis",
    "svg.fonttype": "none",
    "svg.hashsalt": "ser",
}

Floats = NDArray[np.floating[Any]]


def colour(emotion: str) -> str:
    """The colour of an emotion; dark grey for one that has none."""
    return COLOURS.get(emotion, "#374151")


def picture(figure: Figure, text: str) -> str:
    """The figure as an `<img>` that holds all of it; `text` says what is to be seen."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return image(file.getvalue(), "image/svg+xml", text)


def image(content: bytes, kind: str, text: str) -> str:
    """Bytes of a picture as an `<img>`."""
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img alt="{html.escape(text)}" src="data:{kind};base64,{encoded}">'


def style() -> Any:
    """A context in which everything is drawn in the reports' style."""
    return mpl.rc_context(STYLE)


def figure_of(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure in inches and its axes, `(rows, columns)` or fewer dimensions."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def reliability_diagram(bins: Reliability) -> str:
    """Confidence against accuracy, and how many answers have which confidence."""
    figure, (top, bottom) = figure_of(
        4.6, 4.6, 2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]}
    )
    width = bins.upper - bins.lower
    top.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    fill = np.where(bins.count < THIN, "#a9cbe0", BLUE)
    top.bar(bins.lower, bins.accuracy, width, align="edge", color=fill, edgecolor="w")
    # A bar that ends at 0 would not be seen.
    top.hlines(
        bins.accuracy, bins.lower, bins.upper, colors=fill, linewidth=3, clip_on=False, zorder=4
    )
    top.plot(
        bins.confidence, bins.accuracy, "o", color=INK, markersize=3.5, clip_on=False, zorder=5
    )
    top.set(ylim=(0, 1), xlim=(0, 1), ylabel="share that is right")
    top.grid(axis="y")
    bottom.bar(bins.lower, bins.count, width, align="edge", color="#9ca3af", edgecolor="w")
    bottom.set(xlabel="confidence of the answer", ylabel="answers")
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    text = "; ".join(
        f"confidence {c:.2f}: {a:.0%} right of {n}"
        for c, a, n in zip(bins.confidence, bins.accuracy, bins.count, strict=True)
    )
    return picture(figure, f"Reliability diagram. {text}")


def risk_curve(curve: RiskCoverage, threshold: float) -> str:
    """What is wrong among the answers, if only the surest are given; a dot at the threshold."""
    figure, axes = figure_of(4.6, 4.6)
    axes.plot(curve.coverage, curve.risk, color=BLUE)
    axes.fill_between(curve.coverage, curve.risk, color=BLUE, alpha=0.1, linewidth=0)
    coverage, risk = curve.at(threshold)
    if risk is not None:
        axes.plot([coverage], [risk], "o", color=VERMILION, clip_on=False, zorder=5)
    highest = max(0.1, float(curve.risk.max(initial=0)) * 1.25)
    axes.set(xlim=(0, 1), ylim=(0, min(1.0, highest)), ylabel="share of the answers that is wrong")
    axes.set_xlabel("share of the recordings that is answered, surest first")
    axes.grid()
    return picture(
        figure,
        f"Risk over coverage: {1 - curve.risk[-1]:.0%} right if everything is answered"
        + ("" if risk is None else f", {1 - risk:.0%} if the surest {coverage:.0%} are"),
    )


def histogram(values: Sequence[float], unit: str, text: str) -> str:
    """How many of the values are how large; the longest per cent is put together at the end."""
    figure, axes = figure_of(6.2, 2.4)
    highest = float(np.percentile(values, 99)) * 1.05
    axes.hist(np.minimum(values, highest), bins=40, color=BLUE, edgecolor="w", linewidth=0.5)
    middle = float(np.median(values))
    axes.axvline(middle, color=VERMILION, linewidth=1.4)
    axes.annotate(
        f" median {middle:.1f} {unit}",
        (middle, 0.97),
        xycoords=("data", "axes fraction"),
        va="top",
        color=VERMILION,
        bbox={"facecolor": "w", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )
    axes.set(xlabel=unit, ylabel="recordings", xlim=(0, highest))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y")
    return picture(figure, f"{text}: median {middle:.1f} {unit}")


def lines_over_frequency(
    axes: Axes, hertz: Floats, lines: dict[str, Floats], order: Sequence[str]
) -> None:
    """A line for each emotion over a logarithmic axis of frequency, named in a legend."""
    for name, values in lines.items():
        dashes = DASHES[order.index(name) % len(DASHES)]
        axes.semilogx(hertz, values, color=colour(name), linestyle=dashes, label=name)
    ticks = [t for t in (100, 200, 500, 1000, 2000, 4000, 8000) if hertz[0] <= t <= hertz[-1]]
    axes.set_xticks(ticks, [f"{t / 1000:g}k" if t >= 1000 else str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlim(hertz[0], hertz[-1])
    axes.set_xlabel("Hz")
    axes.grid()


def learning_curves(
    history: Sequence[dict[str, float]], held_out: str, finishing: int | None = None
) -> Figure:
    """Loss and UAR of every epoch; `held_out` says on what the UAR is.

    A row of `history` has `loss`, `uar` (the mean over the corpora) and the UAR on each corpus.
    `finishing` is how many epochs there are before the last ones (`Schedule.finish`).
    """
    figure, (left, right) = figure_of(10, 4, 1, 2, sharex=True)
    epochs = np.arange(1, len(history) + 1)
    # One epoch is a point, which no line shows.
    marker = "o" if len(history) == 1 else ""
    left.plot(epochs, [row["loss"] for row in history], color=INK, marker=marker)
    left.set(xlabel="epoch", ylabel="training loss", title="Loss")
    corpora = [name for name in history[0] if name not in {"loss", "uar"}]
    # The mean over one corpus is that corpus.
    for place, name in enumerate(corpora if len(corpora) > 1 else []):
        right.plot(
            epochs,
            [row[name] for row in history],
            label=name or "(unnamed)",
            color=CORPORA[place % len(CORPORA)],
            linestyle=DASHES[place % len(DASHES)],
            marker=marker,
        )
    label = (corpora[0] or "(unnamed)") if len(corpora) == 1 else "mean"
    means = [row["uar"] for row in history]
    right.plot(epochs, means, label=label, color=INK, linewidth=2.6, marker=marker)
    right.set(xlabel="epoch", ylabel="UAR", title=f"{held_out} held out for validation")
    right.set_ylim(0, 1)
    # Under the axes, as the lines may be anywhere in them.
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=9)
    if finishing is not None and 0 < finishing < len(history):
        for axes in (left, right):
            axes.axvline(finishing + 0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
        left.annotate(
            "last epochs:\nwhole windows,\nno mixtures",
            (finishing + 0.5, 0.98),
            (-6, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            va="top",
            color=GREY,
        )
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid()
    return figure
