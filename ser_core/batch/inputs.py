"""Files, folders, patterns and manifests -> every recording once, in a stable order."""

import csv
import fnmatch
import glob
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TextIO

from pyarrow import fs

from ser_core.batch import BatchError
from ser_core.batch.storage import Stores, is_uri, local, printable, reason, split

SUFFIXES = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".m4a"}
    | {".m4b", ".mp4", ".m4v", ".mov", ".aac", ".webm", ".mka", ".mkv", ".amr", ".3gp", ".3gpp"}
    | {".wma", ".caf"}
)
"""Endings of what is taken from a folder; what a file holds shows when it is decoded."""

NAMED = 3
"""Folders that are named, of those that could not be read."""

MANIFESTS = (".csv", ".txt")

COLUMNS = ("path", "file")
"""What the column of a CSV manifest may be called; the first that is there counts."""


@dataclass
class Listing:
    """Recordings by where they are, each once."""

    stores: Stores
    locations: dict[str, None] = field(default_factory=dict)
    """Absolute paths and URIs, in the order of finding."""
    left_out: int = 0
    """Files in folders that are no recordings by their names."""
    unreadable: list[str] = field(default_factory=list)
    """Folders below inputs that could not be read, as a file system's own `lost+found`."""

    def add(self, location: str) -> None:
        """What is named twice, or in two ways, is one recording."""
        self.locations[_only_name(location)] = None

    def __contains__(self, location: str) -> bool:
        return _only_name(location) in self.locations


def gather(inputs: Sequence[str], stores: Stores) -> Listing:
    """All recordings that `inputs` name.

    A folder gives those below it by their endings, but hidden ones; a manifest (`.csv` with a
    column `path` or `file`, `.txt` with a path a line, relative to itself) what it lists; a pattern
    (`*`, `?`, `[...]`, `**`) what matches.

    Raises:
        BatchError: an input is not there, or gives nothing.
    """
    listing = Listing(stores)
    for each in inputs:
        before = len(listing.locations)
        known, unread = listing.left_out, len(listing.unreadable)
        place = local(each)
        try:
            found = _remote(place, listing) if is_uri(place) else _local(place, listing)
        except BatchError:
            raise
        except Exception as e:  # each storage has errors of its own
            raise BatchError(f"{each}: {reason(e)}") from e
        if not found and len(listing.locations) == before:
            others = listing.left_out - known
            beside = [f"{others} other file{'s'[: others != 1]}"] if others else []
            beside += unreadable(listing.unreadable[unread:])
            notes = f" ({'; '.join(beside)})" if beside else ""
            raise BatchError(f"{each}: no recordings there{notes}")
    return listing


def unreadable(folders: Sequence[str]) -> list[str]:
    """What is to be said of folders that could not be read; nothing where there are none."""
    if not folders:
        return []
    count, more = len(folders), ", ..." if len(folders) > NAMED else ""
    named = ", ".join(printable(folder) for folder in folders[:NAMED])
    return [f"{count} folder{'s'[: count != 1]} could not be read: {named}{more}"]


def _only_name(location: str) -> str:
    location = local(location)
    if is_uri(location):
        return location
    path = Path(location).absolute()
    plain = os.path.normpath(path)
    # What is above a link to a folder is not what the path names before it.
    if ".." in path.parts and (real := _real(path.parent)) != _real(Path(plain).parent):
        return str(Path(real, path.name))
    return plain


@lru_cache(maxsize=1024)
def _real(folder: Path) -> str:
    """The recordings of a list lie in few folders."""
    return os.path.realpath(folder)


def _local(place: str, listing: Listing) -> int:
    path = Path(place)
    if path.is_dir():
        return _walk(place, listing)
    if path.exists():
        if path.suffix.lower() not in MANIFESTS:
            listing.add(place)
            return 1
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _add_all(_listed(place, file, str(path.parent)), listing)
    if not glob.has_magic(place):
        raise BatchError(f"{place}: there is no such file or folder")
    if "**" in place.split("/"):
        return _add_all(sorted(_below(place, listing)), listing)
    count = 0
    for match in sorted(glob.glob(place)):  # noqa: PTH207 (Path.glob takes no absolute ones)
        if Path(match).is_dir():
            count += _walk(match, listing, required=False)
        else:
            listing.add(match)
            count += 1
    return count


def _below(pattern: str, listing: Listing) -> Iterator[str]:
    """Files that a pattern with `**` matches: Python's own glob would follow links, in circles."""
    parts = pattern.split("/")
    fixed = parts.index("**")
    before, parts = "/".join(parts[:fixed]), [part for part in parts[fixed:] if part]
    hidden = any(part.startswith(".") for part in parts)
    # What comes before it is matched as without it, links and all.
    for top in glob.glob(f"{before}/") if fixed else ["."]:  # noqa: PTH207 (as above)
        for where, folders, files in _folders(top, listing):
            if not hidden:
                folders[:] = [name for name in folders if not name.startswith(".")]
            above = PurePosixPath(where).relative_to(top).parts
            for name in files:
                if _matches((*above, name), parts):
                    yield str(Path(where, name))


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the names along a path are what the parts of a pattern say."""
    if not parts or (not names and parts[0] != "**"):
        return not names and not parts
    if parts[0] == "**":
        if _matches(names, parts[1:]):
            return True
        return bool(names) and not names[0].startswith(".") and _matches(names[1:], parts)
    if names[0].startswith(".") and not parts[0].startswith("."):
        return False
    return fnmatch.fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def _walk(folder: str, listing: Listing, *, required: bool = True) -> int:
    count = 0
    for where, folders, files in _folders(folder, listing, required=required):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            count += _take(str(Path(where, name)), listing)
    return count


def _folders(
    top: str, listing: Listing, *, required: bool = True
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Folders with what is in them; `listing` notes what cannot be read, unless it is required."""

    def note(error: OSError) -> None:
        if required and error.filename == top:
            raise error
        listing.unreadable.append(os.fspath(error.filename))

    return os.walk(top, onerror=note)


def _remote(uri: str, listing: Listing) -> int:
    filesystem, path = listing.stores.open(uri)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.Directory:
        return _walk_remote(uri, listing)
    if kind == fs.FileType.File:
        if PurePosixPath(path).suffix.lower() not in MANIFESTS:
            listing.add(uri)
            return 1
        with filesystem.open_input_stream(path) as stream:
            text = io.TextIOWrapper(io.BytesIO(stream.read()), "utf-8-sig", newline="")
            return _add_all(_listed(uri, text, uri.rpartition("/")[0]), listing)
    if not glob.has_magic(path):
        raise BatchError(f"{uri}: there is no such file or folder")
    globber, pattern = listing.stores.globber(uri)
    root, key = split(uri)
    above = path.strip("/").removesuffix(key.strip("/"))  # bucket/, or nothing
    count = 0
    for match, info in sorted(globber.glob(pattern, detail=True).items()):
        place = f"{root}/{match.strip('/').removeprefix(above).lstrip('/')}"
        if info["type"] == "file":
            listing.add(place)
            count += 1
        elif "**" not in path:
            count += _walk_remote(place, listing)
    return count


def _walk_remote(uri: str, listing: Listing) -> int:
    filesystem, path = listing.stores.open(uri)
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    top = path.strip("/")
    below = sorted(
        each.path.strip("/").removeprefix(top).lstrip("/")
        for each in found
        if each.type == fs.FileType.File
    )
    return sum(
        _take(f"{uri.rstrip('/')}/{file}", listing)
        for file in below
        if not any(part.startswith(".") for part in file.split("/")[:-1])
    )


def _take(file: str, listing: Listing) -> int:
    """A file of a folder, if its name is that of a recording."""
    name = PurePosixPath(file)
    if name.suffix.lower() not in SUFFIXES or name.name.startswith("."):
        listing.left_out += 1
        return 0
    listing.add(file)
    return 1


def _add_all(locations: Iterable[str], listing: Listing) -> int:
    count = 0
    for location in locations:
        listing.add(location)
        count += 1
    return count


def _listed(name: str, file: TextIO, folder: str) -> Iterator[str]:
    """The locations in a manifest; relative ones are relative to its folder."""
    entries = _rows(name, file) if name.lower().endswith(".csv") else _lines(file)
    try:
        for entry in entries:
            if is_uri(entry) or (Path(entry).is_absolute() and not is_uri(folder)):
                yield entry
            elif is_uri(folder):
                yield f"{folder}/{entry}"
            else:
                yield str(Path(folder, entry))
    except UnicodeDecodeError as e:
        raise BatchError(f"{name}: a manifest is UTF-8, and this is not ({e.reason})") from e
    except csv.Error as e:
        raise BatchError(f"{name}: this is no CSV: {e}") from e


def _rows(name: str, file: TextIO) -> Iterator[str]:
    # Else a quote that is never closed takes the rest of the file for one cell.
    reader = csv.DictReader(file, strict=True)
    columns = reader.fieldnames or []
    column = next((each for each in COLUMNS if each in columns), None)
    if column is None:
        there = ", ".join(columns) or "nothing"
        raise BatchError(f"{name}: a manifest needs a column `path` or `file`; it has {there}")
    for row in reader:
        if not row[column]:
            raise BatchError(f"{name}: line {reader.line_num} has no {column}")
        yield row[column]


def _lines(file: TextIO) -> Iterator[str]:
    for line in file:
        if line.strip():
            yield line.strip()
