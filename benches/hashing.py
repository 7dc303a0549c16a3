"""Creating and verifying: one process that reads and hashes all of the data.

For shoal and aria2 the figures are of the whole process, from its start to its end; libtorrent takes its own time inside
(`libtorrent_hashing.py`), so that the start of an interpreter does not count against it. What was created is compared with
the reference: the same hashes of pieces, the same roots.
"""

import json
import re
import time
from pathlib import Path

import libtorrent

from contenders import Contender, Shoal
from figures import Figures, reap_and_watch
from processes import Failure, Process

LIMIT = 300.0


def create(contender: Contender, reference: Path, data: Path, form: str, piece_length: int, work: Path) -> Figures:
    torrent = work / "made.torrent"
    figures = run(contender, contender.create(data, torrent, form, piece_length), data, work)
    if hashes(torrent) != hashes(reference):
        raise Failure(f"{contender.name} made a torrent with other hashes")
    return figures


def verify(contender: Contender, torrent: Path, data: Path, work: Path) -> Figures:
    return run(contender, contender.verify(torrent, data.parent), data, work)


def kernels(contender: Contender, data: Path, folder: Path) -> list[str]:
    """By which code path a shoal hashes here, as it says itself: `SHA-1 of 16 messages by avx512`, and SHA-256."""
    if not isinstance(contender, Shoal):
        return []
    few, work = folder / "few", folder / f"kernels-{contender.name}"
    with data.open("rb") as whole:
        few.write_bytes(whole.read(16 << 20))
    command = contender.create(few, work / "few.torrent", "hybrid", 1 << 14)
    environment = {**contender.environment, "SHOAL_LOG": "debug"}
    process = Process(contender.name, command, work / "log", work / "home", environment=environment)
    try:
        process.finish(LIMIT)
    finally:
        process.stop()
    return sorted(set(re.findall(r"SHA-\d+ of \d+ messages by [^(\n]*[^( \n]", process.text())))


def run(contender: Contender, command: list, data: Path, work: Path) -> Figures:
    start = time.monotonic()
    process = Process(contender.name, command, work / "log", work / "home", environment=contender.environment)
    try:
        cpu, memory = reap_and_watch(process, LIMIT)
        wall = time.monotonic() - start
        if process.process.returncode != 0:
            raise Failure(f"{contender.name} ended with status {process.process.returncode}:\n{process.text()[-2000:]}")
    finally:
        process.stop()
    if contender.own_clock:
        took = json.loads(process.text().splitlines()[-1])
        wall, cpu = took["wall"], took["cpu"]
    return Figures(wall, cpu, memory, bytes=data.stat().st_size)


def hashes(torrent: Path) -> tuple:
    """The hashes of a torrent's pieces, v1 and v2."""
    info = libtorrent.bdecode(torrent.read_bytes())[b"info"]
    return info.get(b"pieces"), info.get(b"file tree"), info[b"piece length"]
