"""Labelled speech: public corpora told by their file names, and CSV manifests -> utterances."""

import csv
import difflib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ser_core.emotions import normalise_label
from ser_core.lab.schemes import SCHEMES

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".m4a", ".mp4", ".webm"}
)
"""File endings that are looked at in a folder; whether one holds audio shows when it is decoded."""

MANIFEST = "manifest.csv"
"""A folder with a file of this name is read by it."""

COLUMNS = ("path", "label", "speaker", "sex", "corpus", "split", "intensity", "sentence")
"""Columns of a manifest, of which the first two are needed."""

KNOWN_UNUSED = {"duration"}
"""Columns that manifests may hold and nothing here needs."""

SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
"""Spellings of a speaker's sex; any other is as good as unknown, which is the empty string."""

SPLIT_NAMES = {"val": "valid", "validation": "valid", "dev": "valid"}
"""Other words for the splits train, valid and test."""


class CorpusError(ValueError):
    """Nothing can be read from there; the message says why and what would work."""


@dataclass(frozen=True)
class Utterance:
    """One recording of one emotion. Empty strings stand for what is not known."""

    path: Path
    emotion: str
    """In the project's terms, see `ser_core.emotions`; calm and boredom stay what they are."""
    speaker: str = ""
    """Unique within its corpus."""
    sex: str = ""
    """`F`, `M` or empty."""
    corpus: str = ""
    split: str = ""
    """`train`, `valid`, `test` or empty."""
    intensity: str = ""
    """As the corpus calls it: `normal`, `strong` (RAVDESS), `low`, `medium`, `high` (CREMA-D)."""
    sentence: str = ""
    """The corpus's code for what is said."""


@dataclass(frozen=True)
class Reading:
    """What was found, and what was not used, with the reason."""

    utterances: list[Utterance] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def skip_counts(self) -> Counter[str]:
        """How many were skipped, by reason."""
        return Counter(reason for _, reason in self.skipped)


def read(source: Path, corpus: str | None = None) -> Reading:
    """The utterances of a folder of recordings or of a CSV manifest.

    A folder is read by the `manifest.csv` in it, else by its files' names, which may be those of
    several corpora of `SCHEMES`. With `corpus`, by that corpus's names only; of a manifest, only
    the rows of that corpus. What cannot be used is in `Reading.skipped`. Raises `CorpusError`
    when nothing can.
    """
    source = Path(source)
    if source.is_file():
        return read_manifest(source, corpus)
    if not source.is_dir():
        raise CorpusError(f"{source}: there is no such file or folder.")
    if corpus is None and (source / MANIFEST).is_file():
        return read_manifest(source / MANIFEST)
    return read_folder(source, corpus)


def read_folder(folder: Path, corpus: str | None = None) -> Reading:
    """All recordings under `folder` whose names belong to a corpus, sorted by path.

    The same recording found twice, as popular copies of RAVDESS and TESS hold everything, counts
    once. Raises `CorpusError` when there is none.
    """
    if corpus is not None and corpus not in SCHEMES:
        raise CorpusError(f"{corpus!r} is no corpus known by its names: {', '.join(SCHEMES)} are.")
    reading = Reading()
    seen: dict[tuple[str, ...], Path] = {}
    sexes = _cremad_sexes(folder)
    for path in recordings(folder):
        name = corpus or _corpus_of(path)
        if name is None:
            reading.skipped.append((path, "not a name of any known corpus"))
            continue
        try:
            parts = parse_name(path, name)
        except CorpusError as error:
            reading.skipped.append((path, str(error)))
            continue
        if seen.setdefault((name, *parts.values()), path) is not path:
            reading.skipped.append((path, "a second copy of another file"))
            continue
        reading.utterances.append(
            Utterance(
                path,
                parts["emotion"],
                f"{name}_{parts['speaker']}",
                parts["sex"] or sexes.get(parts["speaker"], ""),
                name,
                intensity=parts.get("intensity", ""),
                sentence=parts["sentence"],
            )
        )
    if not reading.utterances:
        examples = "; ".join(
            f"{scheme.title}: {scheme.example}"
            for name, scheme in SCHEMES.items()
            if corpus in (None, name)
        )
        raise CorpusError(
            f"{folder}: no recording has a name that is understood ({len(reading.skipped)} "
            f"{'has' if len(reading.skipped) == 1 else 'have'} another). Understood are "
            f"{examples}; or any names, listed in a CSV file with the columns path and label."
        )
    return reading


def parse_name(path: Path, corpus: str) -> dict[str, str]:
    """Every part of a file name of `corpus`, decoded, and the speaker's published `sex`.

    `Actor_12/03-01-06-01-02-01-12.wav` of `ravdess` gives modality, channel, emotion, intensity,
    sentence, repetition, speaker and sex. Raises `CorpusError` on a name or code of no meaning.
    """
    scheme = SCHEMES[corpus]
    match = scheme.pattern.search(_name(path))
    if match is None:
        raise CorpusError(f"not a name of {scheme.title}")
    parts = {}
    for group, code in match.groupdict(default="").items():
        codes = scheme.codes.get(group, {code: code})
        if code not in codes:
            raise CorpusError(f"{group} {code} is none that is read of {scheme.title}")
        parts[group] = codes[code]
    if scheme.sexes and parts["speaker"] not in scheme.sexes:
        raise CorpusError(f"speaker {parts['speaker']} is none of {scheme.title}")
    return parts | {"sex": scheme.sexes.get(parts["speaker"], "")}


def read_manifest(manifest: Path, corpus: str | None = None) -> Reading:
    """The utterances of a CSV file with a header, in its order; see `COLUMNS`.

    Paths are relative to the manifest's folder. Rows without a label or file, and a file's second
    row, are skipped. Intensity and sentence that are not given come from the names of corpora
    that are known. Raises `CorpusError` when the file is no such table or no row can be used.
    """
    reading = Reading()
    seen: set[str] = set()
    for line, row in _rows(manifest):
        row["corpus"] = row["corpus"].lower()
        if corpus is not None and row["corpus"] != corpus.lower():
            continue
        path = manifest.parent / row["path"]
        reason = _fault(row, path)
        # However it is spelt, and whatever links to it; what is at fault may be no path at all.
        same = "" if reason else os.path.realpath(path)
        if not reason and same in seen:
            reason = "a file's second row"
        if reason:
            where = path if row["path"] else Path(f"{manifest}, line {line}")
            reading.skipped.append((where, reason))
            continue
        seen.add(same)
        split = row["split"].lower()
        named = _parts_or_none(path, row["corpus"])
        reading.utterances.append(
            Utterance(
                path,
                normalise_label(row["label"]),
                row["speaker"],
                SEXES.get(row["sex"].lower(), ""),
                row["corpus"],
                SPLIT_NAMES.get(split, split),
                row["intensity"] or named.get("intensity", ""),
                row["sentence"] or named.get("sentence", ""),
            )
        )
    if not reading.utterances:
        reasons = "; ".join(f"{n} x {reason}" for reason, n in reading.skip_counts.most_common(3))
        of_corpus = f" of corpus {corpus!r}" if corpus is not None else ""
        raise CorpusError(f"{manifest}: no row{of_corpus} can be used ({reasons or 'none there'}).")
    return reading


def recordings(folder: Path) -> Iterator[Path]:
    """Files in it and below whose names are those of recordings, in order."""
    for path in sorted(folder.rglob("*")):
        # macOS leaves a hidden ._name beside each file on foreign disks.
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            yield path


def _name(path: Path) -> str:
    return f"{path.absolute().parent.name}/{path.stem}"


def _corpus_of(path: Path) -> str | None:
    return next((c for c, scheme in SCHEMES.items() if scheme.pattern.search(_name(path))), None)


def _cremad_sexes(folder: Path) -> dict[str, str]:
    """Actor -> sex by CREMA-D's own table, where it is in the folder or beside it."""
    name = "VideoDemographics.csv"
    table = next(folder.rglob(name), folder.absolute().parent / name)
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval="")
            return {row["ActorID"]: SEXES.get(row["Sex"].lower(), "") for row in rows}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table}: this is not CREMA-D's table of its actors.") from error


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows, each with all of `COLUMNS`, stripped; other columns are left out."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(_closed(manifest, file), restval="")
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_header(manifest, header)
            reader.fieldnames = header
            for row in reader:
                if None in row:
                    raise CorpusError(
                        f"{manifest}, line {reader.line_num}: more cells than the header has; "
                        f"a comma within a cell needs quotes around it."
                    )
                yield reader.line_num, {name: row.get(name, "").strip() for name in COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{manifest}: this is not a CSV file in UTF-8: {error}") from error


def _closed(manifest: Path, lines: Iterable[str]) -> Iterator[str]:
    """The lines, each whole: a cell that goes on in the next one would swallow the rows between."""
    for number, line in enumerate(lines, 1):
        cells = next(csv.reader([line.rstrip("\r\n") + "\n"]), [])
        if any(cell.endswith("\n") for cell in cells):
            told = "a quotation mark is not closed, or a cell goes on in the next line"
            raise CorpusError(f"{manifest}, line {number}: {told}.")
        yield line


def _check_header(manifest: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS[:2] if name not in header]
    if missing:
        raise CorpusError(
            f"{manifest}: a manifest needs the columns path and label, separated by commas; "
            f"this one has {', '.join(header) or 'nothing'}."
        )
    doubled = [name for name, count in Counter(header).items() if name and count > 1]
    if doubled:
        raise CorpusError(f"{manifest}: the column {doubled[0]} is there twice.")
    unused = [name for name in header if name not in {*COLUMNS, *KNOWN_UNUSED, ""}]
    for name in unused:
        # A misspelt speaker would quietly cost the separation of speakers.
        meant = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.8)
        if meant and meant[0] not in header:
            raise CorpusError(f"{manifest}: the column {name} is unknown; rename it to {meant[0]}.")
    if unused:
        logger.warning("%s: not used are the columns %s", manifest, ", ".join(unused))


def _fault(row: Mapping[str, str], path: Path) -> str:
    if not row["path"]:
        return "no path"
    if not row["label"]:
        return "no label"
    if "\0" in row["path"]:
        return "no path, as it has a NUL"
    try:
        return "" if path.is_file() else "no such file"
    except OSError as error:
        # A name that is too long, or a folder that may not be looked into.
        return f"cannot be looked for: {error.strerror}"


def _parts_or_none(path: Path, corpus: str) -> dict[str, str]:
    if corpus not in SCHEMES:
        return {}
    try:
        return parse_name(path, corpus)
    except CorpusError:
        return {}
