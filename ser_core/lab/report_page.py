"""The page that reports are written on: one file with everything in it, readable by anybody."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_core.lab.plots import colour

CSS = """
:root { --ink: #1f2937; --soft: #4b5563; --line: #e5e7eb; --blue: #0072b2; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f4f6; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 6px; }
h2 { font-size: 1.25rem; margin: 0 0 4px; }
h3 { font-size: 1rem; margin: 18px 0 6px; }
p { margin: 6px 0 12px; max-width: 76ch; }
.lead, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: .9rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px;
  padding: 22px 24px; margin-top: 20px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin-top: 20px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 18px; }
.tile b { display: block; font-size: 1.8rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .9rem; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 24px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
.n { display: inline-block; min-width: 3.6em; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
table.heat td { text-align: center; min-width: 74px; border: 2px solid var(--paper); }
table.heat td small { display: block; font-size: .75rem; opacity: .85; }
table.heat th { border: 0; text-align: center; }
table.heat tbody th { text-align: right; }
.bar { display: inline-block; vertical-align: middle; width: 130px; height: 10px;
  background: #edf0f3; border-radius: 5px; overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 5px; background: var(--blue); }
img { max-width: 100%; height: auto; display: block; }
figure { margin: 12px 0 0; }
audio { width: 100%; height: 36px; margin: 4px 0; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 14px; }
.clip { border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.clip dl { margin: 4px 0 0; display: grid; grid-template-columns: 78px 1fr 44px; gap: 1px 8px;
  font-size: .82rem; align-items: center; color: var(--soft); }
.clip dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
.clip dl .bar { width: 100%; height: 7px; }
.dot { display: inline-block; width: .68em; height: .68em; border-radius: 50%;
  margin-right: .35em; }
code { font-size: .88em; background: #f3f4f6; padding: 1px 5px; border-radius: 4px;
  overflow-wrap: anywhere; }
dl.terms { display: grid; grid-template-columns: max-content 1fr; gap: 6px 18px; }
dl.terms dt { font-weight: 600; } dl.terms dd { margin: 0; color: var(--soft); }
@media (max-width: 640px) { section { padding: 16px; } dl.terms { display: block; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""

LARGEST = 8_000_000
"""Bytes that a page is to stay under."""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """A whole HTML page; `lead` and the parts are HTML, the title is text."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{lead}</p>\n{body}\n</main>\n</body>\n</html>\n'
    )


def write(folder: Path, name: str, content: str) -> Path:
    """Write a page into a folder, which is made if need be; one before is replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / name, folder / f"{name}.part"
    try:
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def section(title: str, lead: str, *content: str) -> str:
    """A part of the page: what it shows, in words, and then shows it (HTML)."""
    return (
        f"<section>\n<h2>{escape(title)}</h2>\n<p>{lead}</p>\n" + "\n".join(content) + "</section>"
    )


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Large figures, each with what it is."""
    cells = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )
    return '<div class="tiles">' + "".join(cells) + "</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are HTML."""
    columns = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def heat_table(
    corner: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[float, str, str]]]],
) -> str:
    """A table whose cells are coloured by their share of 1: (share, text, small text)."""
    head = f"<th>{escape(corner)}</th>" + "".join(
        f"<th scope=col>{escape(c)}</th>" for c in columns
    )
    lines = []
    for name, cells in rows:
        drawn = "".join(
            f'<td style="background:{shade(share)};color:{"#fff" if share > 0.55 else "#1f2937"}">'
            f"{escape(text)}<small>{escape(small)}</small></td>"
            for share, text, small in cells
        )
        lines.append(f"<tr><th scope=row>{escape(name)}</th>{drawn}</tr>")
    return (
        f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def shade(share: float) -> str:
    """White at 0 to a dark blue at 1, growing steadily darker."""
    light, dark = np.array([247, 250, 252]), np.array([8, 69, 120])
    mixed = light + (dark - light) * min(max(share, 0.0), 1.0) ** 0.8
    return "#" + "".join(f"{round(float(part)):02x}" for part in mixed)


def bar(share: float, fill: str = "var(--blue)") -> str:
    """A share of 1 as a bar."""
    width = min(max(share, 0.0), 1.0)
    return f'<span class="bar"><i style="width:{width:.1%};background:{fill}"></i></span>'


def barred(share: float, text: str, fill: str = "var(--blue)") -> str:
    """A bar with its figure behind it, in line with those above and below."""
    return f'{bar(share, fill)}<span class="n">{escape(text)}</span>'


def dot(emotion: str) -> str:
    """An emotion's name with its colour before it."""
    return f'<span class="dot" style="background:{colour(emotion)}"></span>{escape(emotion)}'


def figure(content: str, caption: str = "") -> str:
    """A picture with words under it (HTML)."""
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{content}{words}</figure>"


def sound(signal: NDArray[np.float32], sampling_rate: int, label: str) -> str:
    """A player that holds the signal `(samples,)` as MP3."""
    file = io.BytesIO()
    soundfile.write(
        file, np.clip(signal, -1, 1), sampling_rate, format="MP3", subtype="MPEG_LAYER_III"
    )
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'<audio controls preload="metadata" aria-label="{escape(label)}" '
        f'src="data:audio/mpeg;base64,{encoded}"></audio>'
    )


def escape(text: object) -> str:
    """Text as HTML."""
    return html.escape(str(text))
