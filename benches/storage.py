"""Creating, verifying and moving what lies on a real disk, beside memory (`make bench-storage`): one large file, many small ones.

    storage.py [--size 1GiB] [--files 20000] [--runs 3] [--disk DIR] [--parts create,verify,transfer] [--output FILE]

- create: shoal, libtorrent, and the makers of v1 torrents `mktorrent` and `torf` (Python), all with their defaults; what they make
  must have the pieces that libtorrent finds;
- verify: shoal, libtorrent, `tuned` (with a hashing thread for each core), and `cat`, which only reads;
- transfer: one seed, one leecher, from the disk to the disk, v2; beside it `cp`. `synced` adds what an fsync of the copy takes
  afterwards: shoal has done that before it says that it is complete.

`cold`: the content is not in the page cache (it is synced, and then given up with posix_fadvise), and the rates are those of the
disk, or of what is behind it: a virtual disk may lie in its host's memory. `1 core`: the program may use one core only, and so has
one reader. Python programs take their own time, without the start of the interpreter. Medians of the runs; with each run another
program goes first.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import libtorrent

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "interop"))

import contenders  # noqa: E402
import hashing  # noqa: E402
import machine  # noqa: E402
import room  # noqa: E402
from contenders import Contender  # noqa: E402
from figures import Figures, medians  # noqa: E402
from gun import StartingGun  # noqa: E402
from processes import Failure, end_all_when_told  # noqa: E402
from sizes import bytes_of  # noqa: E402
from swarm import Shape, Swarm  # noqa: E402

FORMATS = ("v1", "v2", "hybrid")
PARTS = ("create", "verify", "transfer")
TORF = [sys.executable, str(Path(__file__).resolve().parent / "torf_create.py")]
FOLDER = 100  # files in a folder
DATA = "data.bin"  # the large file
SLOW = 30.0  # seconds; who takes longer once is not run again with this content
SHORTEST = 1 << 15  # bytes of a piece; mktorrent makes no shorter ones


@dataclass
class Mktorrent(Contender):
    formats = ("v1",)
    hashes = ("create",)

    def create(self, data, torrent, form, piece_length):
        power = piece_length.bit_length() - 1
        return ["mktorrent", "-a", "http://127.0.0.1/announce", "-l", str(power), "-o", torrent, data]


@dataclass
class Torf(Contender):
    formats = ("v1",)
    hashes = ("create",)
    own_clock = True

    def create(self, data, torrent, form, piece_length):
        return [*TORF, data, torrent, str(piece_length)]


@dataclass
class PlainRead(Contender):
    """What reading alone takes."""

    hashes = ("verify",)

    def verify(self, torrent, folder):
        return ["sh", "-c", 'exec find "$1" -type f -exec cat {} + >/dev/null', "sh", folder]


def makers(binaries: Path) -> tuple[list[Contender], list[str]]:
    """Everybody who creates or verifies, and a note for each that is not installed."""
    found, notes = contenders.find(["shoal", "libtorrent", "tuned"], binaries, binaries, hide_sha=False)
    if shutil.which("mktorrent"):
        found.append(Mktorrent("mktorrent", contenders.last_word(["sh", "-c", "mktorrent -h | sed -n 's/^mktorrent \\([0-9.]*\\).*/\\1/p'"])))
    else:
        notes.append("mktorrent is not installed (apt)")
    if subprocess.run([*TORF, "--version"], capture_output=True).returncode == 0:
        found.append(Torf("torf", contenders.last_word([*TORF, "--version"])))
    else:
        notes.append("torf is not installed (pip)")
    return [*found, PlainRead("cat", "")], notes


# ---- content, and where it lies -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A folder, and how its content is to be found before a run."""

    name: str
    folder: Path
    cold: bool = False
    cores: int = 0  # how many the program may use; 0: all

    def command(self, command: list) -> list:
        return ["taskset", "-c", f"0-{self.cores - 1}", *command] if self.cores else command


def content_of(folder: Path) -> Path:
    return folder / "content"


def subject_of(folder: Path) -> Path:
    """What the torrent is of: the only file, or the folder."""
    only = content_of(folder) / DATA
    return only if only.exists() else content_of(folder)


def make_large(folder: Path, size: int):
    room.make_data(folder, size)


def make_small(folder: Path, files: int):
    """Files of 1 to 20 kB, a hundred to a folder."""
    noise, chance = os.urandom(1 << 20), random.Random(1)
    for number in range(files):
        where = folder / f"{number // FOLDER:03}"
        where.mkdir(exist_ok=True)
        start, length = chance.randrange(1 << 19), chance.randrange(1_000, 20_000)
        (where / f"{number:05}.bin").write_bytes(noise[start : start + length])


def files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_of(folder))


def make_cold(folder: Path):
    for path in files_of(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def prepare(place: Place):
    content = content_of(place.folder)
    if place.cold:
        make_cold(content)
    else:
        for path in files_of(content):
            path.read_bytes()


def essence(torrent: Path) -> tuple:
    """What all programs must agree on: the files' roots, and the pieces of one file; of many, each puts them in its own order."""
    pieces, tree, length = hashing.hashes(torrent)
    several = tree and len(tree) > 1 or b"files" in libtorrent.bdecode(torrent.read_bytes())[b"info"]
    return pieces and len(pieces) if several else pieces, tree, length


# ---- the parts ------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, args, found: list[Contender], memory: Path, disk: Path):
        self.args, self.found, self.memory, self.disk = args, found, memory, disk
        self.gun = StartingGun()
        self.failures: list[str] = []
        self.slow: set[str] = set()  # those that are not run again with this content
        self.rows: list[str] = []

    def places(self, with_one_core: bool) -> list[Place]:
        one_core = [Place("disk, cold, 1 core", self.disk, cold=True, cores=1)] if with_one_core else []
        return [Place("memory", self.memory), Place("disk, warm", self.disk), Place("disk, cold", self.disk, cold=True), *one_core]

    def run(self):
        for shape, make in (("large", lambda folder: make_large(folder, self.args.size)), ("small", lambda folder: make_small(folder, self.args.files))):
            contents = [content_of(folder) for folder in (self.memory, self.disk)]
            contents[0].mkdir()
            make(contents[0])
            shutil.copytree(contents[0], contents[1])
            size = size_of(contents[0])
            self.slow.clear()
            for part in ("create", "verify"):
                if part in self.args.parts:
                    self.hash(part, shape, size)
            if "transfer" in self.args.parts and shape == "large":
                self.transfer(size)
            for content in contents:
                shutil.rmtree(content)

    def hash(self, part: str, shape: str, size: int):
        piece_length = max(room.piece_length(size), SHORTEST)
        for form in FORMATS:
            reference = self.memory / f"{shape}-{form}.torrent"
            made = [*contenders.LIBTORRENT_HASHING, "create", subject_of(self.memory), reference, form, str(piece_length)]
            subprocess.run([str(word) for word in made], check=True, stdout=subprocess.DEVNULL)
            able = [contender for contender in self.found if form in contender.formats and part in contender.hashes]
            for place in self.places(with_one_core=shape == "large" and form == "v2"):

                def once(contender: Contender, place=place, form=form, reference=reference) -> Figures:
                    work = place.folder / "run"
                    work.mkdir()
                    try:
                        return self.hash_once(part, contender, place, reference, form, piece_length, work, size)
                    finally:
                        shutil.rmtree(work)

                self.measure(f"{part:9}{shape:6}{form:7}{place.name:19}", able, once)

    def hash_once(self, part, contender, place, reference, form, piece_length, work, size) -> Figures:
        content = subject_of(place.folder)
        prepare(place)
        made = work / "made.torrent"
        command = contender.create(content, made, form, piece_length) if part == "create" else contender.verify(reference, content.parent)
        figures = hashing.run(contender, place.command(command), content, work)
        figures.bytes = size
        if part == "create" and essence(made) != essence(reference):
            raise Failure("made a torrent with other hashes")
        return figures

    def transfer(self, size: int):
        data, torrent = subject_of(self.disk), self.memory / "transfer.torrent"
        made = room.make_torrent(contenders.LIBTORRENT_CLIENT, subject_of(self.memory), "v2", self.gun.url)
        made.rename(torrent)
        for place in (Place("disk, warm", self.disk), Place("disk, cold", self.disk, cold=True)):

            def once(contender: Contender, place=place) -> Figures:
                work = place.folder / "run"
                work.mkdir()
                try:
                    prepare(place)
                    if contender.name == "cp":
                        return plain_copy(data, work)
                    swarm = Swarm(contender, torrent, data, work)
                    return swarm.transfer(Shape(1, 1), self.gun, before=lambda: prepare(place), sync=True)
                finally:
                    shutil.rmtree(work)

            able = [contender for contender in self.found if contender.name in ("shoal", "libtorrent")]
            self.measure(f"transfer {'large':6}{'v2':7}{place.name:19}", [*able, Contender("cp", "")], once)

    def measure(self, title: str, able: list[Contender], once: Callable[[Contender], Figures]):
        """Some runs of each, in turns; a row a program."""
        taken: dict[str, list[Figures]] = {contender.name: [] for contender in able}
        for run in range(self.args.runs):
            first = run % len(able)
            for contender in able[first:] + able[:first]:
                if contender.name in self.slow:
                    continue
                try:
                    taken[contender.name].append(once(contender))
                    if taken[contender.name][-1].wall > SLOW:
                        self.slow.add(contender.name)
                except Failure as failure:
                    self.failures.append(f"failed: {title}{contender.name}: {failure}")
        cells = {name: medians(runs) for name, runs in taken.items() if runs}
        theirs = cells.get("libtorrent")
        for name, figures in cells.items():
            speed = f"{theirs.wall / figures.wall:7.2f}" if theirs else f"{'':7}"
            synced = f"{figures.synced:8.2f}" if figures.synced else ""
            self.say(f"{title}{name:11}{figures.wall:8.3f}{figures.rate():8.0f}{figures.cpu:8.2f}{speed}{figures.memory:6.0f}{synced}")

    def say(self, row: str):
        self.rows.append(row)
        print(row, flush=True)


def plain_copy(data: Path, work: Path) -> Figures:
    start, before = time.monotonic(), os.times()
    subprocess.run(["cp", data, work], check=True)
    wall, after = time.monotonic() - start, os.times()
    with open(work / data.name, "rb+") as copy:
        os.fsync(copy)
    cpu = sum(after[2:4]) - sum(before[2:4])
    return Figures(wall, cpu, 0, bytes=data.stat().st_size, synced=time.monotonic() - start)


def parse() -> argparse.Namespace:
    def parts(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(PARTS)
        if unknown:
            raise argparse.ArgumentTypeError(f"there are {', '.join(PARTS)}")
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=bytes_of, default="1GiB", help="of the large file")
    parser.add_argument("--files", type=int, default=20_000, help="number of small ones")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    parser.add_argument("--disk", type=Path, default=ROOT / "target", help="a folder on the disk to be measured")
    parser.add_argument("--parts", type=parts, default=",".join(PARTS))
    parser.add_argument("--output", type=Path, help="write the rows there too")
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="folder of our binaries")
    return parser.parse_args()


def main() -> int:
    args = parse()
    found, notes = makers(args.bin.resolve())
    memory, note = room.folder()
    args.disk.mkdir(parents=True, exist_ok=True)
    disk = Path(tempfile.mkdtemp(prefix="shoal-bench-", dir=args.disk))
    end_all_when_told(memory)
    programs = ", ".join(f"{contender.name} {contender.version}".strip() for contender in found)
    print(machine.describe(False), f"{args.size >> 20} MiB and {args.files} files, medians of {args.runs}: {programs}", sep="\n")
    print(*(f"note: {note}" for note in [*notes, *machine.unrest(), *([note] if note else [])]), sep="\n")
    print(f"{'':9}{'':6}{'format':7}{'':19}{'':11}{'wall s':>8}{'MiB/s':>8}{'CPU s':>8}{'speed':>7}{'MiB':>6}{'synced':>8}", flush=True)
    try:
        bench = Bench(args, found, memory, disk)
        bench.run()
    finally:
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)
    print(*bench.failures, sep="\n")
    if args.output:
        args.output.write_text("\n".join(bench.rows) + "\n")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
