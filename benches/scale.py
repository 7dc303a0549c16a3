"""How shoal does with many connections (`make scale`): one seed to many leechers, one leecher from many seeds, thousands idle.

    scale.py [--total 4GiB] [--leechers 16,64,200] [--mesh 16] [--seeds 50] [--idle 2000] [--piece 256KiB] [--format v1]
             [--clients shoal,libtorrent]

- star: N leechers that know nobody but the one seed, each of which fetches a file of TOTAL/N bytes. So all rows move as many bytes,
  in pieces of one length, and what differs is what connections and processes cost;
- mesh: the same, but each leecher is told of those started before it;
- seeds: one leecher and N seeds, a file of TOTAL/16 bytes;
- idle: a seed with N connections over which nothing passes, before and after each has fetched half a MiB: memory, stacks touched, and
  how often each thread runs.

Every peer is a process of its own, as in life: what the seed needs and what the leechers need stands apart, a process has its own limits
of descriptors and threads, and libtorrent can stand in its place. Files are in memory. While the leechers start the seed is
stopped (SIGSTOP), so that all have dialled it and wait for its handshake when the clock starts; it stops when the last leecher has
ended, with everything verified and written. Switches are those of all threads of a process, also of those that have ended, voluntary
and not, per MiB that the seed sends or the leechers get. Starting a process costs some CPU, which does not count.

libtorrent stands beside us where its processes fit the machine: up to 16 of them.
"""

import argparse
import filecmp
import os
import re
import resource
import shutil
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import memory
import room
from contenders import INTEROP, LIBTORRENT_CLIENT
from figures import POLL, cpu_so_far, peak_memory
from processes import POLITE, Failure, Process, end_all_when_told, wait_until
from sizes import bytes_of

LIMIT = 300.0
MIB = 1 << 20
MOST_LIBTORRENT = 16
SEED_SHARE = 16  # each of many seeds first reads and hashes all of the file
ADDRESS = ["--listen", "127.0.0.1:0"]
DIALLED = 1.0  # seconds; after that all have dialled the seed
GLANCE = 0.01  # seconds between two looks at a leecher's memory; the error of the clock
QUIET = 8.0  # seconds; longer than a connection keeps its buffers
WATCHED = 10.0  # seconds over which idle threads are watched


@dataclass
class Shared:
    """A file, its torrent, and what brings it about."""

    command: list[str]
    options: list[str]  # of a seed
    data: Path
    torrent: Path
    work: Path
    processes: list[Process]

    def start(self, name: str, words: list, peers: list[str]) -> Process:
        known = [word for peer in peers for word in ("--peer", peer)]
        process = Process(name, [*self.command, *words, *ADDRESS, *known], self.work / f"{name}.log", self.work / f"{name}-home")
        self.processes.append(process)
        return process

    def seed(self, number: int = 0) -> Process:
        return self.start(f"seed-{number}", ["seed", self.torrent, self.data.parent, *self.options], [])

    def leecher(self, number: int, peers: list[str]) -> Process:
        target = self.work / str(number)
        target.mkdir()
        return self.start(f"leecher-{number}", ["download", self.torrent, "-d", target], peers)

    def compare(self, number: int):
        if not filecmp.cmp(self.data, self.work / str(number) / self.data.name, shallow=False):
            raise Failure(f"leecher {number} has other bytes than the seed")


@dataclass
class Side:
    """What the processes of one side used."""

    cpu: float  # seconds
    memory: float  # MiB, the largest of the seeds, or of one leecher
    switches: float

    @staticmethod
    def of(usages: list[resource.struct_rusage], before: float, peak: float) -> "Side":
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages) - before
        switches = sum(usage.ru_nvcsw + usage.ru_nivcsw for usage in usages)
        return Side(cpu, peak, switches)


def reap(process: Process, limit: float, pause: float = POLL, look=lambda: None) -> resource.struct_rusage:
    """Waits for the end of a process, with a look now and then, and returns what it used."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        pid, status, usage = os.wait4(process.process.pid, os.WNOHANG)
        if pid:
            process.process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        look()
        time.sleep(pause)
    raise Failure(f"{process.name} was not done after {limit:.0f} s")


def watch(process: Process) -> tuple[resource.struct_rusage, float]:
    """Waits for the end of a leecher, and watches its largest resident set."""
    seen = [0.0]
    usage = reap(process, LIMIT, GLANCE, lambda: seen.append(peak_memory(process)))
    return usage, max(seen)


def stop_all(seeds: list[Process]) -> tuple[list[resource.struct_rusage], float]:
    """Ends the seeds: what they used, and the largest resident set."""
    peak = max(peak_memory(seed) for seed in seeds)
    for seed in seeds:
        seed.process.send_signal(signal.SIGTERM)
    return [reap(seed, POLITE) for seed in seeds], peak


def star(shared: Shared, leechers: int, mesh: bool) -> tuple[float, Side, Side]:
    """One seed brings the file to all leechers: seconds, and what each side used."""
    seed = shared.seed()
    address = seed.address()
    seed.process.send_signal(signal.SIGSTOP)
    known, fetching = [address], []
    for number in range(leechers):
        fetching.append(shared.leecher(number, known))
        if mesh:
            known = [*known, fetching[-1].address()]
    for leecher in fetching:
        leecher.address()
    time.sleep(DIALLED)
    before = [sum(cpu_so_far(process) for process in side) for side in ([seed], fetching)]
    start = time.monotonic()
    seed.process.send_signal(signal.SIGCONT)
    first, peak = watch(fetching[0])
    received = [first, *(reap(leecher, LIMIT) for leecher in fetching[1:])]
    wall = time.monotonic() - start
    sent = stop_all([seed])
    for number, leecher in enumerate(fetching):
        check_end(leecher)
        shared.compare(number)
    return wall, Side.of(sent[0], before[0], sent[1]), Side.of(received, before[1], peak)


def from_seeds(shared: Shared, seeds: int) -> tuple[float, Side, Side]:
    """One leecher fetches the file from all seeds."""
    serving = [shared.seed(number) for number in range(seeds)]
    addresses = [seed.address() for seed in serving]
    before = sum(cpu_so_far(seed) for seed in serving)
    leecher = shared.leecher(0, addresses)
    leecher.address()
    start = time.monotonic()
    received, peak = watch(leecher)
    wall = time.monotonic() - start
    sent = stop_all(serving)
    check_end(leecher)
    shared.compare(0)
    return wall, Side.of(sent[0], before, sent[1]), Side.of([received], 0, peak)


def check_end(process: Process):
    if process.process.returncode != 0:
        raise Failure(f"{process.name} ended with status {process.process.returncode}:\n{process.text()[-2000:]}")


# ---- connections over which nothing passes --------------------------------------------------------------------


def tasks(process: Process) -> list[Path]:
    """The threads that serve a connection."""
    all_tasks = Path(f"/proc/{process.process.pid}/task").iterdir()
    return [task for task in all_tasks if (task / "comm").read_text().startswith("conn-")]


def stacks_touched(process: Process) -> list[int]:
    """KiB in memory of the stack of each connection's thread: of the mapping in which its stack pointer lies."""
    mappings = []
    for line in Path(f"/proc/{process.process.pid}/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            mappings.append([int(match[1], 16), int(match[2], 16), 0])
        elif line.startswith("Rss:"):
            mappings[-1][2] = int(line.split()[1])
    touched = []
    for task in tasks(process):
        words = (task / "syscall").read_text().split()
        if len(words) < 3:  # it runs just now
            continue
        pointer = int(words[-2], 16)
        touched += [rss for start, end, rss in mappings if start <= pointer < end]
    return touched


def switches_so_far(process: Process) -> int:
    texts = [(task / "status").read_text() for task in tasks(process)]
    return sum(int(count) for text in texts for count in re.findall(r"voluntary_ctxt_switches:\s+(\d+)", text))


def kernel_memory(process: Process) -> dict[str, float]:
    """MiB that the kernel keeps beside the resident set: stacks of all threads here, the process's page tables, socket buffers."""
    stacks = re.search(r"KernelStack:\s+(\d+)", Path("/proc/meminfo").read_text())
    tables = re.search(r"VmPTE:\s+(\d+)", Path(f"/proc/{process.process.pid}/status").read_text())
    pages = re.search(r"TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text())
    page = os.sysconf("SC_PAGE_SIZE")
    return {"kernel stacks": int(stacks[1]) / 1024, "page tables": int(tables[1]) / 1024, "socket buffers": int(pages[1]) * page / MIB}


def say_idle(seed: Process, count: int, before: float, kernel: dict[str, float], when: str):
    resident = memory.memory(seed, "VmRSS")
    touched = stacks_touched(seed)
    now = kernel_memory(seed)
    grown = ", ".join(f"{name} {(now[name] - kernel[name]) * 1024 / count:.1f}" for name in now)
    print(f"{count} connections, {when}: {resident:.0f} MiB resident, {(resident - before) * 1024 / count:.1f} KiB a connection, of which "
          f"{statistics.median(touched):.0f} of stack (at most {max(touched)}); in the kernel, KiB a connection: {grown}", flush=True)


def idle(count: int, tool: str, folder: Path):
    """A seed with so many connections, before and after something passed over each."""
    data = folder / "data.bin"
    data.write_bytes(os.urandom(8 * MIB))
    torrent = memory.create(tool, data, folder / "data.torrent", ["--format", "v1", "--piece-length", "256KiB"])
    info_hash = memory.key_of(tool, torrent)
    limits = ["--slots", str(count), "--max-connections", str(count + 10)]
    seed = Process("seed", [tool, "seed", torrent, folder, *ADDRESS, *limits], folder / "seed.log", folder / "home")
    try:
        host, port = seed.address().rsplit(":", 1)
        before, kernel = memory.memory(seed, "VmRSS"), kernel_memory(seed)
        start = time.monotonic()
        fetchers = [memory.Fetcher((host, int(port)), info_hash, number) for number in range(count)]
        wait_until(lambda: len(tasks(seed)) == count, "all connections to have a thread")
        print(f"{count} connections made in {time.monotonic() - start:.1f} s; {before:.0f} MiB resident with none", flush=True)
        time.sleep(QUIET)
        say_idle(seed, count, before, kernel, "idle from the start")
        for fetcher in fetchers:
            fetcher.fetch(32, 256 << 10)
        print(f"each has fetched 512 KiB: {memory.memory(seed, 'VmHWM'):.0f} MiB at the peak", flush=True)
        time.sleep(QUIET)
        say_idle(seed, count, before, kernel, "idle again")
        switches, cpu = switches_so_far(seed), cpu_so_far(seed)
        time.sleep(WATCHED)
        per_second = (switches_so_far(seed) - switches) / WATCHED
        print(f"{count} idle connections: {per_second / count:.2f} switches a second each, "
              f"{(cpu_so_far(seed) - cpu) / WATCHED * 100:.1f} % of a core in all", flush=True)
    finally:
        seed.stop()


# ---- all of it ------------------------------------------------------------------------------------------------


def run(args, case: str, count: int, client: str, folder: Path):
    """One row of the table."""
    size = max(MIB, args.total // (SEED_SHARE if case == "seeds" else count) // MIB * MIB)
    work = folder / f"{case}-{count}-{client}"
    work.mkdir()
    content = work / "content"
    content.mkdir()
    data = room.make_data(content, size)
    ours = [str(args.bin.resolve() / "torrent")]
    torrent = memory.create(ours[0], data, work / "data.torrent", ["--format", args.format, "--piece-length", str(args.piece)])
    command, options = (ours, []) if client == "shoal" else (LIBTORRENT_CLIENT, ["--trust"])
    shared = Shared(command, options, data, torrent, work, [])
    try:
        if case == "seeds":
            wall, sent, received = from_seeds(shared, count)
        else:
            wall, sent, received = star(shared, count, case == "mesh")
    finally:
        for process in shared.processes:
            process.process.send_signal(signal.SIGCONT) if process.process.poll() is None else None
            process.stop()
        shutil.rmtree(work)
    moved = size * (1 if case == "seeds" else count)
    print(f"{case:6}{count:5}  {client:11}{size / MIB:9.0f}{wall:8.2f}{moved / wall / 1e6:8.0f}"
          f"{(sent.cpu + received.cpu) / moved * (1 << 30):10.2f}{sent.memory:10.0f}{received.memory:10.0f}"
          f"{sent.switches / moved * MIB:12.1f}{received.switches / moved * MIB:12.1f}", flush=True)


def rows(args) -> list[tuple[str, int, str]]:
    cases = [("star", count) for count in args.leechers] + [("mesh", count) for count in args.mesh]
    cases += [("seeds", count) for count in args.seeds]
    fits = {"shoal": lambda _: True, "libtorrent": lambda count: count <= MOST_LIBTORRENT}
    return [(case, count, client) for case, count in cases for client in args.clients if count and fits[client](count)]


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--total", type=bytes_of, default="4GiB", help="what all leechers get together")
    parser.add_argument("--leechers", type=numbers, default="16,64,200", help="0 leaves a case out")
    parser.add_argument("--mesh", type=numbers, default="16")
    parser.add_argument("--seeds", type=numbers, default="50")
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--piece", type=bytes_of, default="256KiB", help="the same for all sizes, or what differs would be that")
    parser.add_argument("--format", choices=("v1", "v2", "hybrid"), default="v1")
    parser.add_argument("--clients", type=lambda text: text.split(","), default="shoal,libtorrent")
    parser.add_argument("--bin", type=Path, default=INTEROP.parents[1] / "target/release", help="folder of our binaries")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    folder, note = room.folder()
    end_all_when_told(folder)
    print(f"note: {note}\n" if note else "", end="")
    print(f"{args.total >> 20} MiB in all, {args.format}, pieces of {args.piece >> 10} KiB, {os.cpu_count()} cores, load before: {os.getloadavg()[0]:.2f}\n\n"
          f"{'':11}  {'client':11}{'file MiB':>9}{'wall s':>8}{'MB/s':>8}{'CPU s/GiB':>10}{'seed MiB':>10}{'leech MiB':>10}"
          f"{'seed sw/MiB':>12}{'leech sw/MiB':>13}", flush=True)
    try:
        for case, count, client in rows(args):
            run(args, case, count, client, folder)
        if args.idle:
            print(flush=True)
            work = folder / "idle"
            work.mkdir()
            idle(args.idle, str(args.bin.resolve() / "torrent"), work)
    except Failure as failure:
        print(f"scale: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
