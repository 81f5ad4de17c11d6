"""Damaged recordings by the hundred thousand: `make fuzz`.

Seeds of every common format are mutated (header fields, lengths, chunks, bytes), and Hypothesis
makes up more; the decoder gets them in processes of its own, a running service gets some over HTTP.
Each must be decoded or refused with a named error, within 5 s. `--case N` runs one case again.
"""

import argparse
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import cache
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.bench import machine
from benchmarks.servers import Service, running
from benchmarks.traffic import Clients, in_turn, post
from ser_core.audio import AudioError, Limits, decode_blocks
from tests.sounds import encode, voice
from tests.sounds_av import encode_av

MOST_SECONDS = 5.0
LIMITS = Limits()
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MAGIC = (b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM")
MAGIC += (b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3", b"#!AMR\n", b"caff")


@cache
def seeds() -> list[bytes]:
    """A second of sound in each format."""
    signal = voice(1.0)
    names = ("wav16", "wav-float", "flac", "vorbis", "opus", "mp3", "aiff")
    ours = [encode(signal, name) for name in names]
    return [*ours, encode_av(signal, "m4a"), encode_av(voice(1.0, sampling_rate=48_000), "webm")]


def mutated(case: int) -> bytes:
    """The same damage for the same number."""
    chance = random.Random(case)
    data = bytearray(chance.choice(seeds()))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        if not data:
            break
        chance.choice(MUTATIONS)(data, chance)
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Often in the header, where most can go wrong."""
    return chance.randrange(min(len(data), chance.choice((64, 512, len(data)))))


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 4, 64))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _number(data: bytearray, chance: random.Random) -> None:
    at, value = _place(data, chance), chance.choice(EXTREMES)
    data[at : at + 4] = struct.pack(chance.choice(("<I", ">I")), value)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _drop(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 7, 500))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at, size = _place(data, chance), chance.choice((4, 100, 4_000))
    data[at:at] = data[at : at + size] * chance.choice((1, 3))


def _insert(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at:at] = chance.randbytes(chance.choice((1, 16, 2_000)))


def _blank(data: bytearray, chance: random.Random) -> None:
    at, size = _place(data, chance), chance.choice((8, 200, 5_000))
    data[at : at + size] = bytes([chance.choice((0, 0xFF))]) * len(data[at : at + size])


def _splice(data: bytearray, chance: random.Random) -> None:
    other = chance.choice(seeds())
    data[_place(data, chance) :] = other[chance.randrange(len(other)) :]


MUTATIONS = (_flip, _number, _cut, _drop, _repeat, _insert, _blank, _splice)


def decode(data: bytes) -> tuple[str, bool]:
    """What became of it, and whether its header was accepted.

    Raises:
        Exception: anything but the audio's named errors, which is what is looked for.
    """
    blocks = 0
    try:
        for block in decode_blocks(data, 16_000, LIMITS):
            blocks += 1
            if not np.isfinite(block).all():
                raise ValueError("decoded to samples that are not finite")
    except AudioError as e:
        return e.code, blocks > 0 or e.code != "not-audio"
    return "decoded", True


def quieten() -> None:
    """Decoders in C tell the terminal what they think of the file; Python's own words stay."""
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def work(first: int, last: int, now: "Synchronized[int]", found: Any) -> None:
    """In a process of its own, as a native decoder may take it down."""
    became: Counter[str] = Counter()
    past, slowest, slowest_case, faults = 0, 0.0, first, []
    quieten()
    process, memory = psutil.Process(), []
    for case in range(first, last):
        now.value = case
        data = mutated(case)
        started = time.perf_counter()
        try:
            code, header = decode(data)
            became[code] += 1
            past += header
        except Exception:
            faults.append((case, traceback.format_exc(limit=-3)))
        took = time.perf_counter() - started
        if took > slowest:
            slowest, slowest_case = took, case
        if case % 200 == 0 or not memory:
            memory.append(process.memory_info().rss / 1e6)
    found.put((became, past, slowest, slowest_case, faults, memory))


def run(first: int, count: int, processes: int) -> tuple[list[Any], list[str]]:
    """All cases; what the processes found, and how some of them ended otherwise."""
    context = multiprocessing.get_context("spawn")
    share = max(1, count // processes)
    todo = [(at, min(at + share, first + count)) for at in range(first, first + count, share)]
    results, ends, alive = [], [], []
    found = context.Queue()
    while todo or alive:
        while todo and len(alive) < processes:
            start, stop = todo.pop(0)
            now = context.Value("q", start)
            process = context.Process(target=work, args=(start, stop, now, found), daemon=True)
            process.start()
            alive.append([process, now, stop, start, time.monotonic()])
        time.sleep(0.2)
        while not found.empty():
            results.append(found.get())
        for each in list(alive):
            process, now, stop, seen, since = each
            if now.value != seen:
                each[3], each[4] = now.value, time.monotonic()
            hangs = process.is_alive() and time.monotonic() - since > 60
            if hangs:
                process.kill()
            if hangs or not process.is_alive():
                process.join()
                alive.remove(each)
                if hangs or process.exitcode:
                    ends.append(f"case {now.value}: {'hangs' if hangs else process.exitcode}")
                    if now.value + 1 < stop:
                        todo.append((now.value + 1, stop))
    while not found.empty():
        results.append(found.get())
    return results, ends


def made_up(count: int) -> int:
    """Files that Hypothesis thinks of; returns how many, raises what it finds."""
    tried = 0
    numbers = st.sampled_from(EXTREMES) | st.integers(0, 2**32 - 1)
    wav = st.builds(
        lambda kind, channels, rate, bits, size, data: (
            b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<I", 16)
            + struct.pack("<HHIIHH", kind, channels, rate, rate, channels, bits)
            + b"data" + struct.pack("<I", size) + data
        ),
        st.sampled_from((1, 2, 3, 6, 7, 17, 49, 80, 0xFFFE)),
        st.integers(0, 0xFFFF) | st.integers(1, 8),
        numbers | st.sampled_from((8_000, 16_000, 44_100)),
        st.sampled_from((0, 1, 8, 12, 16, 24, 32, 64, 0xFFFF)),
        numbers,
        st.binary(max_size=4_000),
    )  # fmt: skip
    other = st.builds(lambda start, rest: start + rest, st.sampled_from(MAGIC), st.binary())

    @settings(
        max_examples=count,
        deadline=int(MOST_SECONDS * 1000),
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary() | other | wav)
    def try_it(data: bytes) -> None:
        nonlocal tried
        tried += 1
        decode(data)

    try_it()
    return tried


def live(count: int, first: int) -> tuple[bool, str]:
    """Some of the same against a running service."""
    service = Service(
        "ser-service",
        (sys.executable, "-m", "ser_core.cli", "serve"),
        {"SER_WORKERS": "2", "SER_ACCESS_LOG": "false"},
    )

    def requests() -> Iterator[bytes]:
        for case in range(first, first + count):
            yield post("/predict", mutated(case), "audio/any")

    with tempfile.TemporaryDirectory() as folder, running(service, Path(folder, "log")) as server:
        port = int(server.url.rpartition(":")[2])
        workers = {child.pid for child in psutil.Process(server.pid).children()}
        in_turn(Clients(port), iter([post("/predict", encode(voice(1.0)))] * 200), 4)
        before = server.memory().total
        seen = in_turn(Clients(port), requests(), 4)
        after = server.memory().total
        same = {child.pid for child in psutil.Process(server.pid).children()} == workers
    fine = (
        same
        and max(seen.statuses) < 500
        and seen.slowest < MOST_SECONDS
        and seen.lost == seen.hung == seen.refused == 0
    )
    return fine, (
        f"{count:,} uploads to the service: {dict(sorted(seen.statuses.items()))}, slowest"
        f" {seen.slowest:.2f} s, {seen.lost + seen.hung} without an answer, memory {before:.0f} ->"
        f" {after:.0f} MB, workers {'the same' if same else 'NOT THE SAME'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="mutated uploads (100000)")
    parser.add_argument("--made-up", type=int, default=5_000, help="by Hypothesis (5000)")
    parser.add_argument("--live", type=int, default=5_000, help="to a service (5000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--case", type=int, help="only this one, in this process")
    asked = parser.parse_args()
    if asked.case is not None:
        print(decode(mutated(asked.case)))
        return 0
    print(machine(), flush=True)
    quieten()
    results, ends = run(asked.first, asked.cases, asked.processes)
    became: Counter[str] = sum((each[0] for each in results), Counter())
    past = sum(each[1] for each in results)
    slowest, case = max((each[2], each[3]) for each in results)
    faults = [fault for each in results for fault in each[4]]
    growth = max(each[5][-1] - each[5][len(each[5]) // 4] for each in results)
    total = became.total() + len(faults)
    print(f"{total:,} mutated uploads decoded in-process: {dict(became.most_common())}")
    print(f"past the header: {past / max(1, total):.0%}; slowest {slowest:.2f} s (case {case})")
    print(f"memory of a process after the first quarter: {growth:+.1f} MB", flush=True)
    for number, what in faults[:5]:
        print(f"FAULT in case {number}\n{what}")
    for end in ends:
        print(f"PROCESS LOST at {end}")
    print(f"{made_up(asked.made_up):,} files that Hypothesis made up: all decoded or refused")
    fine, said = live(asked.live, asked.first)
    print(said)
    kept = fine and not faults and not ends and slowest < MOST_SECONDS
    print(f"\n{'holds    ' if kept else 'DOES NOT '}  decoded or refused by name, within 5 s")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
