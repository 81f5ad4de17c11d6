"""Uploads made to cost a lot for a few bytes: `make bombs`.

Each goes to a running service with its default limits. Prints for each its size, the answer, how
long it took, and by how much the worker's memory grew at its peak. All are refused but the WAV that
promises 4 GB: that is what ffmpeg and others write into a pipe, so it is judged as what it holds.
"""

import contextlib
import io
import socket
import struct
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from benchmarks.bench import machine
from benchmarks.servers import Service, running
from benchmarks.traffic import post
from tests.sounds import (
    encode,
    encode_blocks,
    flac_of_unknown_length,
    silence,
    tone,
    voice,
    wav_with_data_size,
)

MOST_SECONDS = 1.0
MOST_MB = 50.0
BOUNDARY = "bombs"


def form(parts: Iterator[bytes]) -> bytes:
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return post("/predict", body, f"multipart/form-data; boundary={BOUNDARY}")


def part(name: str, content: bytes, filename: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def hour(format_name: str, rate: int, channels: int = 1, *, silent: bool = False) -> bytes:
    minute = silence(60.0, rate) if silent else tone(60.0, sampling_rate=rate)
    if channels > 1:
        minute = np.tile(minute[:, None], (1, channels))
    return encode_blocks((minute for _ in range(60)), format_name, rate, channels)


def lying_mp3() -> bytes:
    """A second of sound whose VBR header promises a day."""
    mp3 = bytearray(encode(voice(1.0), "mp3"))
    at = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    assert at > 0
    mp3[at + 8 : at + 12] = struct.pack(">I", 24 * 3600 * 16_000 // 576)
    return bytes(mp3)


def huge_atoms() -> bytes:
    """An MP4 whose tables say that they hold four thousand million entries."""
    entries = struct.pack(">II", 0, 0xFFFFFFFF) + bytes(64)

    def atom(kind: bytes, content: bytes, size: int | None = None) -> bytes:
        return struct.pack(">I4s", size or len(content) + 8, kind) + content

    tables = b"".join(atom(kind, entries, 0x7FFFFFFF) for kind in (b"stts", b"stsz", b"stco"))
    inner = atom(b"stbl", tables, 0x7FFFFFFF)
    for kind in (b"minf", b"mdia", b"trak", b"moov"):
        inner = atom(kind, inner)
    return atom(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + inner + atom(b"mdat", bytes(64), 0x7FFFFFFF)


def zip_of_zeros() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clip.wav", bytes(20_000_000))
    return file.getvalue()


def endless() -> bytes:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 1_000


BOMBS: dict[str, Callable[[], bytes]] = {
    "an hour of silence in FLAC": lambda: post("/predict", hour("flac", 16_000, silent=True)),
    "an hour of 8 channels in FLAC": lambda: post("/predict", hour("flac", 16_000, 8, silent=True)),
    "an hour in Vorbis": lambda: post("/predict", hour("vorbis", 8_000, silent=True)),
    "an hour in Opus": lambda: post("/predict", hour("opus", 8_000, silent=True)),
    "an MP3 that promises a day": lambda: post("/predict", lying_mp3()),
    "a WAV that promises 4 GB": lambda: post(
        "/predict", wav_with_data_size(encode(voice(1.0)), 2**32 - 1)
    ),
    "an hour in FLAC of unknown length": lambda: post(
        "/predict", flac_of_unknown_length(hour("flac", 16_000, silent=True))
    ),
    "an MP4 with huge atoms": lambda: post("/predict", huge_atoms()),
    "a zip named .wav": lambda: form(iter([part("file", zip_of_zeros(), "clip.wav")])),
    "a body in endless chunks": endless,
    "10,000 form fields": lambda: form(part(f"field{i}", b"x") for i in range(10_000)),
    "1,000 files": lambda: form(part("file", encode(tone(0.2)), "clip.wav") for _ in range(1_000)),
}


JUDGED = {"a WAV that promises 4 GB"}


class Watch(threading.Thread):
    """The most memory that a process has while it is watched, in MB."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._done = threading.Event()
        self.before = self.most = process.memory_info().rss / 1e6

    def run(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, self._process.memory_info().rss / 1e6)

    def growth(self) -> float:
        self._done.set()
        self.join()
        return self.most - self.before


def exchange(port: int, request: bytes) -> tuple[str, float]:
    """The answer's status, and the seconds from the first byte sent to the last received."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        started = time.perf_counter()
        sender = threading.Thread(target=_send, args=[connection, request], daemon=True)
        sender.start()
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65_536)
            if not piece:
                return "none", time.perf_counter() - started
            answer += piece
        return answer[9:12].decode(), time.perf_counter() - started


def _send(connection: socket.socket, request: bytes) -> None:
    with contextlib.suppress(OSError):  # refused before all of it was sent
        connection.sendall(request)


def main() -> int:
    print(machine(), flush=True)
    service = Service(
        "ser-service",
        (sys.executable, "-m", "ser_core.cli", "serve"),
        {"SER_WORKERS": "1", "SER_ACCESS_LOG": "false"},
    )
    kept = True
    warm = post("/predict", encode(voice(3.0)))
    with tempfile.TemporaryDirectory() as folder, running(service, Path(folder, "log")) as server:
        port = int(server.url.rpartition(":")[2])
        (worker,) = psutil.Process(server.pid).children()
        for _ in range(20):
            exchange(port, warm)
        print("| bomb | kB sent | answer | seconds | growth (MB) |\n|---|---:|---:|---:|---:|")
        for name, make in BOMBS.items():
            request = make()
            watch = Watch(worker)
            watch.start()
            status, seconds = exchange(port, request)
            growth = watch.growth()
            deserved = "2" if name in JUDGED else "4"
            good = status[0] == deserved and seconds < MOST_SECONDS and growth < MOST_MB
            kept &= good
            size = len(request) / 1000
            print(
                f"| {name} | {size:,.0f} | {status} | {seconds:.2f} | {growth:.1f} |"
                f"{'' if good else ' DOES NOT HOLD'}",
                flush=True,
            )
        kept &= exchange(port, warm)[0] == "200" and worker.is_running()
    print(
        f"\n{'holds    ' if kept else 'DOES NOT '}  {len(BOMBS) - len(JUDGED)} refused and"
        f" {len(JUDGED)} judged as what it holds, each in < {MOST_SECONDS:g} s with"
        f" < {MOST_MB:g} MB of growth, and the service goes on"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
