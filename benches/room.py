"""Where the files of a benchmark lie: in memory, and with room for every copy."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")
CHUNK = 16 << 20
SPARE = 1.3  # what is kept free for the processes, as a factor
SMALLEST = 16 << 20


def available() -> int:
    """Bytes that files in memory may take: what the folder allows, and what the machine has."""
    if not (SHARED.is_dir() and os.access(SHARED, os.W_OK)):
        return 0
    memory = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    return min(shutil.disk_usage(SHARED).free, int(memory[1]) << 10)


def fitting(size: int, copies: int) -> int:
    """`size`, halved until that many copies fit in memory."""
    room = available()
    while room and size > SMALLEST and copies * size * SPARE > room:
        size //= 2
    return size


def folder() -> tuple[Path, str | None]:
    """A new folder in memory, or, with a note, an ordinary one."""
    if available():
        return Path(tempfile.mkdtemp(prefix="shoal-bench-", dir=SHARED)), None
    return Path(tempfile.mkdtemp(prefix="shoal-bench-")), "no room in /dev/shm: the files lie on disk, which slows everybody"


def make_data(where: Path, size: int) -> Path:
    path = where / "data.bin"
    with open(path, "wb") as out:
        for start in range(0, size, CHUNK):
            out.write(os.urandom(min(CHUNK, size - start)))
    return path


def touch(data: Path, copies: int):
    """Has the machine hand out the memory of that many more copies: the first use of a page is the dear one."""
    touched = [data.with_name(f"touched-{number}") for number in range(copies)]
    for copy in touched:
        shutil.copyfile(data, copy)
    for copy in touched:
        copy.unlink()


def piece_length(size: int) -> int:
    """About a thousand pieces, as most clients would choose."""
    return 1 << max(14, min(24, (size // 1024 - 1).bit_length()))


def make_torrent(libtorrent: list[str], data: Path, form: str, tracker: str) -> Path:
    """The `.torrent` that all clients get, made by libtorrent."""
    torrent = data.with_suffix(f".{form}.torrent")
    options = ["--format", form, "--piece-length", str(piece_length(data.stat().st_size)), "--tracker", tracker]
    subprocess.run([*libtorrent, "create", data, "-o", torrent, *options], check=True)
    return torrent
