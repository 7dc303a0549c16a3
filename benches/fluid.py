"""How close a swarm comes to the bound of the fluid model (`make fluid`): one seed, N leechers, all uplinks limited.

    fluid.py [--size 64MiB] [--piece 64KiB] [--rate 5MB] [--leechers 1,2,4,8,16] [--clients shoal,libtorrent,alone,down] [--runs 1]

A file of F bytes to N peers, a seed uplink u and peer uplinks u_i: no scheme is faster than max(F/u, N·F/(u + Σu_i))
(Kumar and Ross 2006, "Peer-assisted file distribution"). All peers are processes of their own on loopback; each is told
of all the others, nobody asks a tracker, and nobody leaves. The clock runs from the moment that the seed listens to the moment
that the last leecher has all, verified and written; every copy is compared.

`alone` is the client-server baseline: shoal leechers that know nobody but the seed. Its bound is N·F/u. `down` limits the leechers'
downlinks and nothing else: with the rows of one leecher it shows how exact the limits are. A limit lets a twentieth of a
second's worth through at once, so a ratio may be that much below one.
"""

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

INTEROP = Path(__file__).resolve().parents[1] / "tests" / "interop"
sys.path.insert(0, str(INTEROP))

from processes import Failure, Process, end_all_when_told  # noqa: E402
from sizes import bytes_of  # noqa: E402

COMPLETE = r"complete$"
POLL = 0.02  # seconds; the error of the clock
SLACK = 20  # times the bound, after which a run is given up
LIBTORRENT = [sys.executable, str(INTEROP / "libtorrent_client.py")]
CLIENTS = ("shoal", "libtorrent", "alone", "down")


@dataclass
class Swarm:
    """What is shared, and by how many at which rate."""

    data: Path
    torrent: Path
    leechers: int
    rate: int  # bytes a second, of each limited link

    def bound(self, client: str) -> float:
        """The least time in which all can have all, seconds."""
        size = self.data.stat().st_size
        if client == "down":
            return size / self.rate
        uplinks = self.rate * (1 if client == "alone" else 1 + self.leechers)
        return max(size / self.rate, self.leechers * size / uplinks)


def distribute(client: str, command: list[str], swarm: Swarm, work: Path) -> float:
    """Brings the file to every leecher. Returns the seconds until the last has it."""
    processes: list[Process] = []

    def start(name: str, arguments: list, peers: list[str]) -> Process:
        limited = "--down" if client == "down" else "--up"
        limits = [] if client == "down" and name == "seed" else [limited, str(swarm.rate)]
        known = [word for peer in peers for word in ("--peer", peer)]
        words = [*command, *arguments, "--listen", "127.0.0.1:0", *limits, *known]
        process = Process(name, words, work / f"{name}.log", work / f"{name}-home")
        processes.append(process)
        return process

    try:
        addresses: list[str] = []
        for number in range(swarm.leechers):
            folder = work / str(number)
            folder.mkdir()
            known = [] if client == "alone" else addresses
            leecher = start(f"leecher-{number}", ["download", swarm.torrent, "-d", folder, "--seed"], known)
            addresses.append(leecher.address())
        leechers = list(processes)
        seed = start("seed", ["seed", swarm.torrent, swarm.data.parent], addresses)
        seed.address()
        began = time.monotonic()
        limit = SLACK * swarm.bound(client)
        for leecher in leechers:
            leecher.expect(COMPLETE, limit, POLL)
        took = time.monotonic() - began
    finally:
        for process in processes:
            process.stop()
    for number in range(swarm.leechers):
        if not filecmp.cmp(swarm.data, work / str(number) / swarm.data.name, shallow=False):
            raise Failure(f"leecher {number} has other bytes than the seed")
    return took


def measure(args, folder: Path) -> list[tuple[int, str, float, float]]:
    """One row a swarm: leechers, client, seconds, bound."""
    data = folder / "data.bin"
    data.write_bytes(os.urandom(args.size))
    torrent = folder / "data.torrent"
    ours = [str(args.bin.resolve() / "torrent")]
    options = ["--format", "hybrid", "--piece-length", str(args.piece)]
    subprocess.run([*ours, "create", data, "-o", torrent, *options], check=True, stdout=subprocess.DEVNULL)
    rows = []
    print(f"{'leechers':>8}  {'client':12}{'time s':>9}{'bound s':>9}{'ratio':>7}", flush=True)
    for leechers in args.leechers:
        swarm = Swarm(data, torrent, leechers, args.rate)
        for client in args.clients:
            times = []
            for run in range(args.runs):
                work = folder / f"{client}-{leechers}-{run}"
                work.mkdir()
                command = LIBTORRENT if client == "libtorrent" else ours
                times.append(distribute(client, command, swarm, work))
                shutil.rmtree(work)
            took, bound = statistics.median(times), swarm.bound(client)
            print(f"{leechers:8}  {client:12}{took:9.2f}{bound:9.2f}{took / bound:7.2f}", flush=True)
            rows.append((leechers, client, took, bound))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=bytes_of, default="64MiB")
    parser.add_argument("--piece", type=bytes_of, default="64KiB")
    parser.add_argument("--rate", type=bytes_of, default="5MB", help="bytes a second, of each limited link")
    parser.add_argument("--leechers", type=lambda text: [int(n) for n in text.split(",")], default="1,2,4,8,16")
    parser.add_argument("--clients", type=lambda text: text.split(","), default=",".join(CLIENTS))
    parser.add_argument("--runs", type=int, default=1, help="of which the median counts")
    parser.add_argument("--bin", type=Path, default=INTEROP.parents[1] / "target/release", help="folder of our binaries")
    args = parser.parse_args()
    unknown = set(args.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"no such client as {', '.join(unknown)}; there are {', '.join(CLIENTS)}")

    load = os.getloadavg()[0]
    print(f"{args.size >> 10} KiB in pieces of {args.piece >> 10} KiB, links of {args.rate / 1e6} MB/s, load before: {load:.2f}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="shoal-fluid-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    end_all_when_told(folder)
    try:
        measure(args, folder)
    except Failure as failure:
        print(f"fluid: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
