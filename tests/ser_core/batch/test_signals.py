"""Signals that end `ser batch`, and what they leave."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ser_core.batch import engine
from ser_core.batch.signals import ENDING, Interrupted, interrupting, kept
from ser_core.cli import main
from tests.ser_core.batch.conftest import ROOT
from tests.ser_core.batch.no_ray import NoRay
from tests.sounds import encode, voice


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.wav").write_bytes(encode(voice(1.0)))
    return "clip.wav"


def left() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


@pytest.mark.parametrize("number", ENDING)
def test_before_ray_has_started_nothing_stays(
    clip: str, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in ENDING]
    monkeypatch.setattr(engine, "running", lambda *_: signal.raise_signal(number))
    assert main(["batch", clip, "--out", "x.parquet"]) == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == "ser: interrupted"
    assert left() == [clip]
    assert [signal.getsignal(each) for each in ENDING] == before


@pytest.mark.parametrize("number", ENDING)
def test_what_was_judged_is_kept(
    clip: str, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    NoRay(monkeypatch, after_each=lambda: signal.raise_signal(number))
    Path("other.wav").write_bytes(Path(clip).read_bytes())
    arguments = ["batch", clip, "other.wav", "--out", "x.parquet", "--checkpoint", "1000"]
    assert main(arguments) == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == "ser: interrupted"
    (part,) = Path("x.parquet.parts").glob("part-*")
    assert pq.read_table(part)["file"].to_pylist() == [str(Path(clip).absolute())]


def test_while_it_begins_nothing_stays(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ser_core.batch.output.Place.write", lambda *_: signal.raise_signal(signal.SIGTERM)
    )
    assert main(["batch", clip, "--out", "x.parquet"]) == 128 + signal.SIGTERM
    assert left() == [clip]


def test_a_hangup_that_is_ignored_stays_so(
    clip: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def running(*_: object) -> None:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(engine, "running", running)
        assert main(["batch", clip, "--out", "x.parquet"]) == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_does_not_disturb_the_cleaning_up() -> None:
    cleaned = []

    def work() -> None:
        with interrupting():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGHUP)
                signal.raise_signal(signal.SIGTERM)
                cleaned.append(True)

    with pytest.raises(Interrupted) as raised:
        work()
    assert raised.value.status == 143
    assert cleaned


def test_the_handler_that_ray_puts_in_is_taken_out_again() -> None:
    def as_ray_does() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))

    def as_ray_starts() -> None:
        with kept():
            as_ray_does()
            signal.raise_signal(signal.SIGTERM)

    with interrupting():
        ours = signal.getsignal(signal.SIGTERM)
        with kept():
            as_ray_does()
        assert signal.getsignal(signal.SIGTERM) == ours
        with pytest.raises(Interrupted):
            as_ray_starts()


GONE = """
import sys, time
from ser_core.batch import engine
from ser_core.cli import main

def running(*_):
    open("judging", "w").close()
    time.sleep(60)

engine.running = running
status = main(["batch", "clip.wav", "--out", "x.parquet"])
open("status", "w").write(str(status))
"""


def test_a_terminal_that_is_closed_leaves_nothing(clip: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY); {GONE}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    try:
        os.close(theirs)
        end = time.monotonic() + 60
        while not Path("judging").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        os.close(ours)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert Path("status").read_text() == str(128 + signal.SIGHUP)
    assert left() == [clip, "judging", "status"]
