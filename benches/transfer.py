"""One seed to one leecher over loopback: shoal against libtorrent, in one run (`make bench`).

    transfer.py [--size 1GiB] [--runs 3] [--formats v1,v2] [--clients shoal,libtorrent,tuned]

The files lie in memory, each end is a process of its own, and the connection is plain TCP. The same `.torrent` serves both
clients. The libtorrent seed trusts its data (seed_mode); every leecher checks every hash, and every copy is compared.
`libtorrent` has its default settings, `tuned` is libtorrent with larger send buffers and a hashing thread for each core.

- wall: from the leecher's start of the transfer to the end of its process, when all is verified and written. For shoal the
  transfer starts when the leecher says that it listens; for libtorrent when it has its connection, because it dials only
  at a tick of its clock, up to a tenth of a second later.
- CPU: user and system seconds of both processes from that moment on. So reading the `.torrent`, starting an interpreter and
  what a seed does before the leecher comes do not count, for either.
- memory: the largest resident set of each process. libtorrent maps its files, so they count as resident.

Each figure is the median of the runs; the two clients take turns at going first.
"""

import argparse
import filecmp
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

INTEROP = Path(__file__).resolve().parents[1] / "tests" / "interop"
sys.path.insert(0, str(INTEROP))

from processes import POLITE, Failure, Process, end_all_when_told  # noqa: E402
from sizes import bytes_of  # noqa: E402

LISTENING = r"listening on (\d+\.\d+\.\d+\.\d+:\d+)"
POLL = 0.002  # seconds; the error of the clock
LIMIT = 600.0  # seconds; a run takes a few
LIBTORRENT = [sys.executable, str(INTEROP / "libtorrent_client.py")]
FORMATS = ("v1", "v2")
RIVALS = {"libtorrent": "libtorrent", "tuned": "tuned libtorrent"}


@dataclass
class Client:
    """How to start both ends of one client, and the line with which its leecher starts the clock."""

    name: str
    command: list[str]
    clock: str
    options: tuple[str, ...] = ()  # of both ends
    seed_options: tuple[str, ...] = ()

    def seed(self, torrent: Path, folder: Path, work: Path) -> Process:
        return self.start("seed", ["seed", torrent, folder, *self.seed_options], work)

    def leech(self, torrent: Path, folder: Path, peer: str, work: Path) -> Process:
        return self.start("leecher", ["download", torrent, "-d", folder, "--peer", peer], work)

    def start(self, end: str, arguments: list, work: Path) -> Process:
        command = [*self.command, *arguments, "--listen", "127.0.0.1:0", *self.options]
        return Process(f"{self.name} {end}", command, work / f"{end}.log", work / f"{end}-home")


@dataclass
class Figures:
    """One transfer, or the medians of several."""

    wall: float  # seconds
    cpu: float  # seconds, both ends
    seed_memory: float  # MiB
    leecher_memory: float  # MiB


def cpu_so_far(process: Process) -> float:
    """User and system seconds of a process that runs."""
    stat = Path(f"/proc/{process.process.pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reap(process: Process, limit: float) -> resource.struct_rusage:
    """Waits for the end of a process and returns what it used."""
    end = time.monotonic() + limit
    while True:
        pid, status, usage = os.wait4(process.process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            raise Failure(f"{process.name} was not done after {limit:.0f} s")
        time.sleep(POLL)
    process.process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def transfer(client: Client, torrent: Path, data: Path, work: Path) -> Figures:
    """Moves the file once and compares it."""
    target = work / "target"
    target.mkdir()
    processes = []
    try:
        seed = client.seed(torrent, data.parent, work)
        processes.append(seed)
        peer = seed.expect(LISTENING, LIMIT).group(1)
        leecher = client.leech(torrent, target, peer, work)
        processes.append(leecher)
        leecher.expect(client.clock, pause=POLL)
        start = time.monotonic()
        before = cpu_so_far(seed) + cpu_so_far(leecher)
        received = reap(leecher, LIMIT)
        wall = time.monotonic() - start
        seed.process.send_signal(signal.SIGTERM)
        sent = reap(seed, POLITE)
        if leecher.process.returncode != 0:
            raise Failure(f"{leecher.name} ended with status {leecher.process.returncode}:\n{leecher.text()[-2000:]}")
        if not filecmp.cmp(data, target / data.name, shallow=False):
            raise Failure(f"{leecher.name} has other bytes than its seed")
    finally:
        for process in processes:
            process.stop()
        shutil.rmtree(work)
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in (sent, received)) - before
    return Figures(wall, cpu, sent.ru_maxrss / 1024, received.ru_maxrss / 1024)


def median(figures: list[Figures]) -> Figures:
    columns = zip(*(vars(figure).values() for figure in figures))
    return Figures(*(statistics.median(column) for column in columns))


def make_data(folder: Path, size: int) -> Path:
    path = folder / "data.bin"
    with open(path, "wb") as out:
        for start in range(0, size, 1 << 24):
            out.write(os.urandom(min(1 << 24, size - start)))
    return path


def touch_memory(data: Path):
    """Has the machine hand out the memory of a second copy: the first use of a page is the dear one."""
    copy = data.with_name("touched")
    shutil.copyfile(data, copy)
    copy.unlink()


def make_torrent(data: Path, form: str) -> Path:
    """About a thousand pieces, as both clients would choose."""
    torrent = data.with_suffix(f".{form}.torrent")
    piece_length = 1 << max(14, min(24, (data.stat().st_size // 1024 - 1).bit_length()))
    options = ["-o", torrent, "--format", form, "--piece-length", str(piece_length)]
    subprocess.run([*LIBTORRENT, "create", data, *options], check=True)
    return torrent


def memory_folder(size: int) -> Path:
    """A folder in memory with room for two copies, or, with a note, an ordinary one."""
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2.2 * size:
        return Path(tempfile.mkdtemp(prefix="shoal-bench-", dir=shared))
    print("note: no room in /dev/shm; the files lie on disk, which slows both clients")
    return Path(tempfile.mkdtemp(prefix="shoal-bench-"))


def measure(clients: list[Client], torrent: Path, data: Path, runs: int) -> dict[str, Figures]:
    """The medians of each client; who goes first changes with every run."""
    taken: dict[str, list[Figures]] = {client.name: [] for client in clients}
    for run in range(runs):
        for client in clients if run % 2 == 0 else reversed(clients):
            work = data.parent / f"run-{run}-{client.name}"
            work.mkdir()
            figures = transfer(client, torrent, data, work)
            taken[client.name].append(figures)
            print(f"  run {run + 1}, {client.name}: {figures.wall:.2f} s, {figures.cpu:.2f} s of CPU", flush=True)
    return {name: median(figures) for name, figures in taken.items()}


def print_results(results: dict[str, dict[str, Figures]], size: int):
    print(f"\n{'':8}{'client':12}{'wall s':>8}{'MiB/s':>8}{'CPU s':>8}{'seed MiB':>10}{'leecher MiB':>13}")
    for form, clients in results.items():
        for name, figures in clients.items():
            rate = size / figures.wall / (1 << 20)
            memory = f"{figures.seed_memory:10.0f}{figures.leecher_memory:13.0f}"
            print(f"{form:8}{name:12}{figures.wall:8.2f}{rate:8.0f}{figures.cpu:8.2f}{memory}")
    print()
    for form, clients in results.items():
        ours = clients.get("shoal")
        for name, theirs in clients.items():
            if ours is None or theirs is ours:
                continue
            speed, cpu = theirs.wall / ours.wall, ours.cpu / theirs.cpu
            print(f"{form}: shoal is {speed:.2f} times as fast as {RIVALS[name]}, with {cpu:.2f} of its CPU time")


def words_of(known: tuple[str, ...]):
    def split(text: str) -> list[str]:
        words = text.split(",")
        unknown = set(words) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"no such thing as {', '.join(unknown)}; there are {', '.join(known)}")
        return words

    return split


def main() -> int:
    root = INTEROP.parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=bytes_of, default="1GiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--formats", type=words_of(FORMATS), default="v1,v2")
    parser.add_argument("--clients", type=words_of(("shoal", *RIVALS)), default="shoal,libtorrent,tuned")
    parser.add_argument("--bin", type=Path, default=root / "target/release", help="folder of our binaries")
    args = parser.parse_args()

    trust, connected = ("--trust",), r"^connected$"
    known = {
        "shoal": Client("shoal", [str(args.bin.resolve() / "torrent")], LISTENING),
        "libtorrent": Client("libtorrent", LIBTORRENT, connected, seed_options=trust),
        "tuned": Client("tuned", LIBTORRENT, connected, ("--fast",), trust),
    }
    clients = [known[name] for name in args.clients]
    load = os.getloadavg()[0]
    print(f"{args.size >> 20} MiB, {args.runs} runs, {os.cpu_count()} cores, load before: {load:.2f}", flush=True)
    folder = memory_folder(args.size)
    end_all_when_told(folder)
    try:
        data = make_data(folder, args.size)
        touch_memory(data)
        results = {}
        for form in args.formats:
            print(form, flush=True)
            results[form] = measure(clients, make_torrent(data, form), data, args.runs)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    print_results(results, args.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
