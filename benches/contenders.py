"""The programs that `make bench` compares, behind one face: seed, download, create, verify.

All have their default settings, but for what keeps them on this machine: nothing that looks for peers by itself, no uTP, no
encryption, and the listener on loopback. `tuned` is libtorrent with larger send buffers and a hashing thread for each core.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import libtorrent

import aria2
import rqbit
from clients import free_port

HERE = Path(__file__).resolve().parent
INTEROP = HERE.parent / "tests" / "interop"
LIBTORRENT_CLIENT = [sys.executable, str(INTEROP / "libtorrent_client.py")]
LIBTORRENT_HASHING = [sys.executable, str(HERE / "libtorrent_hashing.py")]
LOOPBACK = ["--listen", "127.0.0.1:0"]
NAMES = ("shoal", "libtorrent", "tuned", "aria2", "rqbit")

# What hides the SHA instructions from a program's hashing (`--no-sha`): the bit of them in OpenSSL's copy of CPUID, which
# libtorrent's wheel and rqbit use, a list of instructions without them for nettle, which aria2 uses, and shoal's own word for it.
HIDDEN_SHA = {
    "OPENSSL_ia32cap": ":~0x20000000",
    "NETTLE_FAT_OVERRIDE": "vendor:amd",
    "SHOAL_HASH_WITHOUT": "sha-ni",
}


@dataclass
class Contender:
    """One client: what it understands, and its command lines."""

    name: str
    version: str
    complete = r"complete$"  # what it prints when everything is there, verified and written
    formats = ("v1", "v2", "hybrid")
    hashes = ("create", "verify")  # what it can do beside transfers
    own_clock = False  # whether it prints how long creating and verifying took, as a line of JSON
    environment: dict[str, str] = field(default_factory=dict)

    def seed(self, torrent: Path, folder: Path) -> list:
        """Serves what is in `folder`, and announces itself as a seed once it is ready."""
        raise NotImplementedError

    def download(self, torrent: Path, folder: Path) -> list:
        """Fetches to `folder`, prints `complete`, and stays to serve the others."""
        raise NotImplementedError

    def create(self, data: Path, torrent: Path, form: str, piece_length: int) -> list:
        raise NotImplementedError

    def verify(self, torrent: Path, folder: Path) -> list:
        """Reads and hashes what is in `folder`, and ends with status 0 if all is right."""
        raise NotImplementedError


@dataclass
class Shoal(Contender):
    program: str = "torrent"

    def seed(self, torrent, folder):
        return [self.program, "seed", torrent, folder, *LOOPBACK]

    def download(self, torrent, folder):
        return [self.program, "download", torrent, "-d", folder, "--seed", *LOOPBACK]

    def create(self, data, torrent, form, piece_length):
        return [self.program, "create", data, "-o", torrent, "--format", form, "--piece-length", piece_length]

    def verify(self, torrent, folder):
        return [self.program, "verify", torrent, folder]


@dataclass
class Libtorrent(Contender):
    """Its seed trusts its data (seed_mode). The time of creating and verifying is taken inside, without the interpreter's start."""

    options: tuple[str, ...] = ()
    own_clock = True

    def seed(self, torrent, folder):
        return [*LIBTORRENT_CLIENT, "seed", torrent, folder, "--trust", *self.options, *LOOPBACK]

    def download(self, torrent, folder):
        return [*LIBTORRENT_CLIENT, "download", torrent, "-d", folder, "--seed", *self.options, *LOOPBACK]

    def create(self, data, torrent, form, piece_length):
        return [*LIBTORRENT_HASHING, "create", data, torrent, form, piece_length]

    def verify(self, torrent, folder):
        return [*LIBTORRENT_HASHING, "verify", torrent, folder, *self.options]


@dataclass
class Tuned(Libtorrent):
    options: tuple[str, ...] = ("--fast",)
    hashes = ("verify",)  # Python's set_piece_hashes takes no settings


@dataclass
class Aria2(Contender):
    """It knows no v2 (a hybrid torrent is v1 to it), makes no torrents, and takes no addresses of peers."""

    program: tuple[str, ...] = ("aria2c",)
    complete = r"^\S+ 1 /"  # what `echo` says: GID, the number of files, the first of them
    formats = ("v1", "hybrid")
    hashes = ("verify",)

    def common(self, folder: Path) -> list:
        return [
            *self.program,
            "--no-conf",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--interface=127.0.0.1",
            "--file-allocation=none",  # to write zeros first would only slow it
            "--download-result=hide",
            "--summary-interval=0",
            "--show-console-readout=false",
            "--enable-color=false",
            f"--dir={folder}",
        ]

    def seed(self, torrent, folder):
        return [*self.common(folder), "--bt-seed-unverified=true", "--seed-ratio=0.0", f"--listen-port={free_port()}", torrent]

    def download(self, torrent, folder):
        hook = f"--on-bt-download-complete={shutil.which('echo')}"
        return [*self.common(folder), hook, "--seed-ratio=0.0", f"--listen-port={free_port()}", torrent]

    def verify(self, torrent, folder):
        return [*self.common(folder), "--check-integrity=true", "--hash-check-only=true", torrent]


@dataclass
class Rqbit(Contender):
    """It knows no v2 (a hybrid torrent is v1 to it). On loopback it has to be told which port to announce."""

    program: str = "rqbit"
    complete = r"torrent finished downloading"
    formats = ("v1", "hybrid")
    hashes = ()  # it hashes what is there when it starts, but has no command that does only that

    def start(self, torrent: Path, folder: Path) -> list:
        port = free_port()
        alone = ["--disable-dht", "--disable-lsd", "--disable-upnp-port-forward", "--ipv4-only"]
        listen = ["--listen-ip", "127.0.0.1", "--listen-port", port, "--announce-port", port]
        return [self.program, *alone, *listen, "download", "--disable-http-api", "--overwrite", "-o", folder, torrent]

    def seed(self, torrent, folder):
        return self.start(torrent, folder)

    def download(self, torrent, folder):
        return self.start(torrent, folder)


def find(names: list[str], binaries: Path, peers: Path, hide_sha: bool) -> tuple[list[Contender], list[str]]:
    """Those of `names` that are installed, and a note for each that is not, or is less than whole."""
    found: list[Contender] = []
    notes: list[str] = []
    for name in names:
        contender = FINDERS[name](binaries, peers)
        if contender is None:
            how = "built" if name == "shoal" else "installed (`make bench-peers` does it)"
            notes.append(f"{name} is not {how}")
            continue
        if hide_sha:
            contender.environment.update(HIDDEN_SHA)
        if name == "aria2" and "hybrid" not in contender.formats:
            notes.append("aria2 before 1.37 gets the info-hash of hybrid torrents wrong: left out there")
        found.append(contender)
    return found, notes


def find_shoal(binaries: Path, _: Path) -> Contender | None:
    program = binaries / "torrent"
    return Shoal("shoal", last_word([program, "--version"]), program=str(program)) if program.exists() else None


def find_before(binaries: Path, revision: str) -> Shoal:
    """An earlier commit of shoal."""
    return Shoal("before", revision, program=str(binaries / "torrent"))


def find_libtorrent(kind: type[Libtorrent], name: str) -> Contender:
    return kind(name, libtorrent.__version__)


def find_aria2(_: Path, __: Path) -> Contender | None:
    command, knows_hybrid = aria2.find()
    if command is None:
        return None
    contender = Aria2("aria2", ".".join(map(str, aria2.version(command))), program=tuple(command))
    if not knows_hybrid:
        contender.formats = ("v1",)
    return contender


def find_rqbit(_: Path, peers: Path) -> Contender | None:
    program = rqbit.find(peers)
    return Rqbit("rqbit", last_word([program, "--version"]), program=program) if program else None


def last_word(command: list) -> str:
    return (subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.split() or ["?"])[-1]


FINDERS = {
    "shoal": find_shoal,
    "libtorrent": lambda *_: find_libtorrent(Libtorrent, "libtorrent"),
    "tuned": lambda *_: find_libtorrent(Tuned, "tuned"),
    "aria2": find_aria2,
    "rqbit": find_rqbit,
}
