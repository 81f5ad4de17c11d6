"""What the inputs of `ser batch` name: every recording once."""

import errno
import glob
import os
from pathlib import Path

import pytest

from ser_core.batch import BatchError
from ser_core.batch.inputs import Listing, gather, unreadable
from ser_core.batch.storage import Stores


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings, and with what is none."""
    for name in ("b.wav", "a.FLAC", "deep/er/c.opus", "deep/d.m4a", ".hidden/e.wav", "._b.wav"):
        (tmp_path / "calls" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "calls" / name).touch()
    (tmp_path / "calls" / "notes.md").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "calls"


def names(*inputs: str) -> list[str]:
    """What is found, without the folder in which the test is."""
    here = f"{Path.cwd()}/"
    return [location.removeprefix(here) for location in listed(*inputs).locations]


def listed(*inputs: str) -> Listing:
    return gather(inputs, Stores())


def test_a_folder_gives_what_is_a_recording_by_its_ending(calls: Path) -> None:
    assert names("calls") == [
        "calls/a.FLAC", "calls/b.wav", "calls/deep/d.m4a", "calls/deep/er/c.opus",
    ]  # fmt: skip
    assert listed("calls").left_out == 2  # notes.md and what macOS leaves behind


def test_videos_and_audio_books_are_taken_from_a_folder_too(calls: Path) -> None:
    (calls / "more").mkdir()
    for name in ("a.mov", "b.m4v", "c.M4B"):
        (calls / "more" / name).touch()
    assert names("calls/more") == ["calls/more/a.mov", "calls/more/b.m4v", "calls/more/c.M4B"]


@pytest.mark.parametrize("spelling", ["calls/b.wav", "./calls//b.wav", "calls/../calls/b.wav"])
def test_a_recording_has_one_name_however_it_is_spelled(calls: Path, spelling: str) -> None:
    for each in (spelling, f"{calls.parent}/{spelling}", f"file://{calls.parent}/{spelling}"):
        assert list(listed(each).locations) == [f"{calls}/b.wav"]


def test_what_is_above_a_link_is_what_the_system_says(calls: Path) -> None:
    (calls.parent / "link").symlink_to(calls / "deep" / "er")
    assert names("link/../d.m4a") == ["calls/deep/d.m4a"]
    (calls / "list.txt").write_text("../link/../d.m4a\n../link/c.opus\n")
    assert names("calls/list.txt") == ["calls/deep/d.m4a", "link/c.opus"]


def test_a_pattern_gives_what_matches_whatever_its_ending(calls: Path) -> None:
    assert names("calls/*.*") == ["calls/a.FLAC", "calls/b.wav", "calls/notes.md"]
    assert names("calls/**/*.opus") == ["calls/deep/er/c.opus"]
    assert names("call?") == names("calls")


@pytest.mark.parametrize(
    "pattern",
    [
        "calls/**", "calls/**/*", "calls/**/*.*", "calls/**/d*", "calls/**/er/*", "**/d.m4a",
        "c*/**/deep/**/*.opus", "calls/**/**/*.wav", "calls/**/.hidden/*", "calls/**/.*",
        "./calls/**/*.wav", "calls/deep/../**/[bd].*", "calls/**/nothing", "calls//**//b.wav",
    ],
)  # fmt: skip
def test_two_stars_match_what_they_do_in_python(calls: Path, pattern: str) -> None:
    for each in (pattern, f"{calls.parent}/{pattern}"):
        files = filter(os.path.isfile, glob.glob(each, recursive=True))  # noqa: PTH207
        expected = {os.path.abspath(file) for file in files}  # noqa: PTH100
        try:
            found = list(listed(each).locations)
        except BatchError:
            found = []
        assert set(found) == expected
        assert len(found) == len(expected)


@pytest.mark.parametrize("links", [1, 2])
def test_links_that_lead_back_give_nothing_twice(calls: Path, links: int) -> None:
    expected = names("calls")
    for number in range(links):
        (calls / "deep" / f"again{number}").symlink_to(calls)
    assert names("calls") == expected
    assert names("calls/**/*.wav") == ["calls/b.wav"]
    assert sorted(names("calls/**")) == [*expected, "calls/notes.md"]


def test_links_before_two_stars_are_followed_as_without_them(calls: Path) -> None:
    (calls / "link").symlink_to(calls / "deep" / "er")
    assert names("calls/l*/*.opus") == ["calls/link/c.opus"]
    assert names("calls/l*/**/*.opus") == ["calls/link/c.opus"]


def test_a_file_named_twice_or_in_two_ways_is_one_recording(calls: Path) -> None:
    twice = names("calls/b.wav", "./calls/../calls/b.wav", str(calls / "b.wav"), "calls/*.wav")
    assert twice == ["calls/b.wav"]
    assert names(f"file://{calls}/b.wav", "calls/b.wav") == ["calls/b.wav"]


def test_a_csv_manifest_is_relative_to_itself(calls: Path) -> None:
    manifest = calls / "some.csv"
    manifest.write_text(
        "\ufefflabel,path\nsad,b.wav\n,deep/d.m4a\nx,s3://far/away.wav\n,/a/b.wav\n"
    )
    assert names("calls/some.csv") == [
        "calls/b.wav", "calls/deep/d.m4a", "s3://far/away.wav", "/a/b.wav",
    ]  # fmt: skip


def test_a_table_of_results_is_a_manifest_too(calls: Path) -> None:
    (calls / "results.csv").write_text('file,emotion\n"b.wav",sad\n')
    assert names("calls/results.csv") == ["calls/b.wav"]


def test_a_text_manifest_has_a_path_a_line(calls: Path) -> None:
    (calls / "some.txt").write_text("b.wav\n\n  deep/d.m4a \n")
    assert names("calls/some.txt") == ["calls/b.wav", "calls/deep/d.m4a"]


def test_names_that_are_no_utf8_are_kept(calls: Path) -> None:
    os.close(os.open(os.fsencode(calls) + b"/caf\xe9.wav", os.O_CREAT))
    assert os.fsencode(names("calls/caf*")[0]) == b"calls/caf\xe9.wav"


@pytest.fixture
def locked(calls: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in it that cannot be read, not even by root."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (calls / "lost+found").mkdir()
    return "calls/lost+found"


@pytest.mark.parametrize("place", ["calls", "calls/**/*.*", "call?", "calls/*"])
def test_a_folder_that_cannot_be_read_is_told_and_costs_no_other(locked: str, place: str) -> None:
    found = listed(place)
    assert {"b.wav", "c.opus"} <= {Path(each).name for each in found.locations}
    assert found.unreadable == [locked]
    assert unreadable(found.unreadable) == [f"1 folder could not be read: {locked}"]


def test_an_input_that_cannot_be_read_is_an_error(locked: str) -> None:
    with pytest.raises(BatchError, match=r"^calls/lost\+found: Permission denied$"):
        listed("calls", locked)


def test_a_folder_with_nothing_but_what_cannot_be_read_says_so(locked: str) -> None:
    Path("away").mkdir()
    Path(locked).rename("away/lost+found")
    with pytest.raises(BatchError, match=r"^away: no recordings there \(1 folder could not"):
        listed("away")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"name,label\na,b\n", "needs a column `path` or `file`; it has name, label"),
        ("x.csv", b"", "needs a column `path` or `file`; it has nothing"),
        ("x.csv", b"path,label\na.wav,sad\n,sad\n", "line 3 has no path"),
        ("x.csv", b'path,label\na.wav,"sad\nb.wav,sad\n', "this is no CSV: unexpected end of data"),
        ("x.csv", b"path\n\xff\xfe\n", "a manifest is UTF-8, and this is not"),
        ("x.txt", b"\n\n", "no recordings there"),
    ],
)
def test_a_bad_manifest_is_named(calls: Path, name: str, content: bytes, message: str) -> None:
    (calls / name).write_bytes(content)
    with pytest.raises(BatchError, match=message) as raised:
        names(f"calls/{name}")
    assert str(raised.value).startswith(f"calls/{name}: ")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none.wav", "none.wav: there is no such file or folder"),
        ("calls/*.mp3", "calls/*.mp3: no recordings there"),
        ("papers", "papers: no recordings there (1 other file)"),
        ("nosuch://host/x.wav", "nosuch://host: Protocol not known: nosuch"),
    ],
)
def test_an_input_that_gives_nothing_is_named(calls: Path, place: str, message: str) -> None:
    (calls.parent / "papers").mkdir()
    (calls.parent / "papers" / "letter.doc").touch()
    with pytest.raises(BatchError) as raised:
        names("calls", place)
    assert str(raised.value) == message
