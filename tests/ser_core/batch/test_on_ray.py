"""`ser batch` as it is typed: on a Ray of its own, and on a cluster with buckets and accidents."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from ser_core import AudioError, Recognizer
from tests.ser_core.batch.bucket import PATIENCE, Bucket
from tests.ser_core.batch.conftest import ROOT, busy, clean_environment
from tests.sounds import encode, silence, voice

COUNT = 40
Row = dict[str, Any]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


@pytest.fixture(scope="module")
def clips() -> dict[str, bytes]:
    """Files by name, some of them bad."""
    files = {
        f"{number:02d}.wav": encode(voice(1.0 + number % 3, pitch=90 + 5 * number, seed=number))
        for number in range(COUNT)
    }
    return files | {
        "07.wav": encode(silence(1.0)),
        "11.wav": b"Dear Sir or Madam",
        "23.wav": b"",
    }


@pytest.fixture(scope="module")
def expected(recognizer: Recognizer, clips: dict[str, bytes]) -> list[Row]:
    """A row for each clip, by a plain loop."""
    return [row(recognizer, name, content) for name, content in clips.items()]


def row(recognizer: Recognizer, name: str, content: bytes) -> Row:
    bundle = recognizer.bundle
    made: Row = dict.fromkeys(
        ("file", "duration", "emotion", "confidence", "uncertain",
         *(f"p_{emotion}" for emotion in bundle.emotions),
         "model", "version", "error", "error_code")
    )  # fmt: skip
    made |= {"file": name, "model": bundle.name, "version": bundle.version}
    try:
        answer = recognizer.predict(content).to_dict()
    except AudioError as e:
        return made | {"error": str(e), "error_code": e.code}
    made |= {f"p_{emotion}": value for emotion, value in answer["probabilities"].items()}
    return made | {key: answer[key] for key in ("duration", "emotion", "confidence", "uncertain")}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ser_core.cli", "batch", *map(str, arguments)]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments), cwd=ROOT, env={**clean_environment(), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Ray cannot be started" in done.stderr and busy():
        pytest.skip(f"the machine is too busy for Ray: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done


def told(rows: Sequence[Row], folder: str) -> list[Row]:
    """Rows with the names that files have in a folder."""
    return [{**row, "file": f"{folder}/{row['file']}"} for row in rows]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited for long enough"
        assert process is None or process.poll() is None, "the run has come to its end"
        time.sleep(0.05)


ELSEWHERE = {
    "nosuch://x/y.wav": "nosuch://x: Protocol not known: nosuch",
    "ftp://127.0.0.1:1/x.wav": "ftp://127.0.0.1:1: Connection refused",
    "dbfs://x/y.wav": "dbfs://x: DatabricksFileSystem.__init__() missing 2 required positional "
    "arguments: 'instance' and 'token'",
    "s3://calls//x.wav": "Empty path component in path calls//x.wav",
}
"""Locations that cannot be opened, and why."""


def test_a_laptop_needs_nothing_but_the_command(
    tmp_path: Path, clips: dict[str, bytes], expected: list[Row]
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, content in clips.items():
        (folder / name).write_bytes(content)
    manifest = tmp_path / "more.csv"
    manifest.write_text("\n".join(["path", "clips/03.wav", "clips/none.wav", *ELSEWHERE, ""]))
    out = tmp_path / "table.csv"
    done = run(
        folder, f"{folder}/0*.wav", manifest, "--out", out, "--workers", "1", AWS_REGION="eu-west-1"
    )
    types = pyarrow.csv.ConvertOptions(
        column_types={"version": pyarrow.string()}, strings_can_be_null=True
    )
    away = {f"{folder}/none.wav": "No such file or directory", **ELSEWHERE}
    storage = {**expected[11], "error_code": "storage"}
    assert pyarrow.csv.read_csv(out, convert_options=types).to_pylist() == [
        *told(expected, str(folder)),
        *({**storage, "file": file, "error": error} for file, error in away.items()),
    ]
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Ray was not ready")]
    count = COUNT + len(away)
    assert lines[:2] == [f"{count} recordings.", "Judging on this machine with 1 worker."]
    assert lines[2].startswith(f"{count} recordings in ")
    assert lines[2].endswith(f" {3 + len(away)} of them with an error: {out}")
    assert len(lines) == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clips", "more.csv", "table.csv"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_was_judged_and_leaves_no_ray(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(300):
        (folder / f"{index:03d}.wav").write_bytes(encode(voice(3.0, seed=index)))
    out = tmp_path / "table.parquet"
    # The folder of its own must be short, or it is not used.
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        process = subprocess.Popen(
            command(folder, "--out", out, "--workers", "1", "--checkpoint", "0"),
            cwd=ROOT, env={**clean_environment(), "TMPDIR": short},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_for(lambda: any(Path(f"{out}.parts").glob("part-*")), process)
            below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 128 + number, errors
        assert errors.endswith("ser: interrupted\n")
        assert below
        assert not psutil.wait_procs(below, 10)[1]
        assert list(Path(short).iterdir()) == []
    assert not out.exists()
    assert any(Path(f"{out}.parts").glob("part-*"))


@pytest.fixture(scope="module")
def stored(bucket: Bucket, clips: dict[str, bytes]) -> str:
    """The clips as objects of a bucket."""
    filesystem = bucket.filesystem(allow_bucket_creation=True)
    filesystem.create_dir("calls")
    for name, content in clips.items():
        with filesystem.open_output_stream(f"calls/day 1/{name}") as file:
            file.write(content)
    return "s3://calls/day 1"


class OnCluster:
    """Runs of `ser batch` on the cluster, on the bucket."""

    def __init__(self, address: str, bucket: Bucket) -> None:
        self.environment = {"RAY_ADDRESS": address, **bucket.environment}

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*arguments, **self.environment)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*arguments), cwd=ROOT, env={**clean_environment(), **self.environment},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def on_cluster(two_nodes: str, bucket: Bucket) -> OnCluster:
    bucket.forget()
    return OnCluster(two_nodes, bucket)


def test_a_cluster_takes_from_a_bucket_and_gives_to_it(
    on_cluster: OnCluster, bucket: Bucket, stored: str, expected: list[Row]
) -> None:
    nodes: set[int] = set()
    both = threading.Event()

    def wait_for_both_nodes(key: str, process: int) -> None:
        nodes.add(psutil.Process(process).ppid())
        if len(nodes) == 2:
            both.set()
        both.wait(PATIENCE)

    bucket.on_get = wait_for_both_nodes
    done = on_cluster(stored, "--out", "s3://calls/out/table.parquet")
    assert len(nodes) == 2
    assert "Judging on 2 nodes with 2 workers.\n" in done.stderr
    filesystem = bucket.filesystem()
    rows = pq.read_table("calls/out/table.parquet", filesystem=filesystem).to_pylist()
    assert rows == told(expected, stored)
    left = filesystem.get_file_info(fs.FileSelector("calls/out", recursive=True))
    assert [each.path for each in left] == ["calls/out/table.parquet"]


def test_a_killed_actor_changes_no_row_and_a_deadly_file_costs_its_own(
    on_cluster: OnCluster, bucket: Bucket, stored: str, expected: list[Row], tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed.parquet", tmp_path / "disturbed.parquet"
    on_cluster(stored, "--out", undisturbed)
    killed: list[str] = []

    def kill(key: str, process: int) -> None:
        if key.endswith("/32.wav") or (key.endswith("/05.wav") and key not in killed):
            killed.append(key)
            os.kill(process, signal.SIGKILL)

    bucket.on_get = kill
    on_cluster(stored, "--out", disturbed)
    assert killed.count("day 1/05.wav") == 1
    assert killed.count("day 1/32.wav") >= 3
    rows, others = (pq.read_table(path).to_pylist() for path in (disturbed, undisturbed))
    assert others == told(expected, stored)
    deadly = rows.pop(32)
    assert rows == others[:32] + others[33:]
    assert deadly["file"] == f"{stored}/32.wav"
    assert deadly["error_code"] == "crashed"
    assert deadly["emotion"] is None


def test_an_interrupted_run_goes_on_where_it_was(
    on_cluster: OnCluster, bucket: Bucket, stored: str, expected: list[Row], tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    parts = Path(f"{out}.parts")
    opened = threading.Event()

    def hold_back(key: str, process: int) -> None:
        if key.endswith("/39.wav"):
            opened.wait(PATIENCE)

    bucket.on_get = hold_back
    process = on_cluster.start(stored, "--out", out, "--checkpoint", "0")
    try:
        wait_for(lambda: len(list(parts.glob("part-*"))) >= 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, errors
        assert errors.endswith("ser: interrupted\n")
    finally:
        opened.set()
        process.kill()
        process.wait()
    assert not out.exists()
    judged = {
        row["file"] for part in parts.glob("part-*") for row in pq.read_table(part).to_pylist()
    }
    assert 0 < len(judged) < COUNT
    bucket.forget()
    done = on_cluster(stored, "--out", out, "--resume")
    assert f"{COUNT} recordings ({len(judged)} of them judged before).\n" in done.stderr
    assert {f"s3://calls/{key}" for key in bucket.gets}.isdisjoint(judged)
    assert pq.read_table(out).to_pylist() == told(expected, stored)
    assert [each.name for each in tmp_path.iterdir()] == [out.name]
