"""How much memory a peer needs at the extremes (`make memory`): the largest resident set of one process, each case on its own.

    memory.py [--connections 500] [--torrents 100] [--sparse 50GB] [--bin FOLDER]

- connections: a seed with that many connections at once, each of which fetches from it (scripted here, so that the seed's
  process is all there is), at its peak and again when all have been idle for some seconds;
- torrents: a leecher that fetches that many torrents at once, and the seed that shares them;
- sparse: a torrent of that size, mostly holes, in pieces of 512 KiB: a seed that checks it all and serves the first 64 MiB to a
  leecher whose copy lacks just that.
"""

import argparse
import hashlib
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INTEROP = Path(__file__).resolve().parents[1] / "tests" / "interop"
sys.path.insert(0, str(INTEROP))

from processes import Failure, Process, end_all_when_told, wait_until  # noqa: E402
from sizes import bytes_of  # noqa: E402
from standin import bencode  # noqa: E402

LIMIT = 900.0
BLOCK = 1 << 14
ADDRESS = ["--listen", "127.0.0.1:0"]


def memory(process: Process, field: str) -> float:
    """`VmHWM` is the largest resident set so far, `VmRSS` the present one; MiB."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status).group(1)) / 1024


def threads(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.process.pid}/task"))


class Fetcher:
    """A connection that asks for blocks and reads them."""

    def __init__(self, address: tuple[str, int], info_hash: bytes, number: int):
        self.socket = socket.create_connection(address)
        self.socket.settimeout(LIMIT)
        peer_id = b"-ME0001-%012d" % number
        self.socket.sendall(b"\x13BitTorrent protocol" + bytes(8) + info_hash + peer_id)
        self.exactly(68)
        self.socket.sendall(struct.pack(">IB", 1, 2))  # interested

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise Failure("the seed closed a connection")
            data += more
        return data

    def message(self) -> tuple[int, bytes]:
        while True:
            length = struct.unpack(">I", self.exactly(4))[0]
            if length:
                body = self.exactly(length)
                return body[0], body[1:]

    def fetch(self, blocks: int, piece_length: int):
        """Asks for so many blocks at once, and reads them."""
        pieces, served = [], False
        while not (pieces and served):
            kind, body = self.message()
            served |= kind == 1  # unchoke
            if kind == 4:  # have: a seed with many peers tells of a few pieces at a time
                pieces.append(struct.unpack(">I", body)[0])
            if kind == 5:  # bitfield
                pieces.append(0)
        for block in range(blocks):
            begin = block * BLOCK % piece_length
            self.socket.sendall(struct.pack(">IBIII", 13, 6, pieces[0], begin, BLOCK))
        came = 0
        while came < blocks:
            came += self.message()[0] == 7


def with_connections(count: int, torrent_tool: str, folder: Path):
    data = folder / "data.bin"
    data.write_bytes(os.urandom(8 << 20))
    torrent = create(torrent_tool, data, folder / "data.torrent", ["--format", "v1", "--piece-length", "256KiB"])
    info_hash = key_of(torrent_tool, torrent)
    limits = ["--slots", str(count), "--max-connections", str(count + 10)]
    seed = Process("seed", [torrent_tool, "seed", torrent, folder, *ADDRESS, *limits], folder / "seed.log", folder / "home")
    try:
        host, port = seed.address().rsplit(":", 1)
        before = memory(seed, "VmRSS")
        fetchers = [Fetcher((host, int(port)), info_hash, number) for number in range(count)]
        wait_until(lambda: threads(seed) >= count, "all connections to have a thread")
        quiet = memory(seed, "VmRSS")
        for fetcher in fetchers:
            fetcher.fetch(64, 256 << 10)
        peak = memory(seed, "VmHWM")
        time.sleep(8)  # longer than a connection keeps its buffers
        rest = memory(seed, "VmRSS")
        print(f"{count} connections: {before:.0f} MiB with none, {quiet:.0f} MiB with all connected, {peak:.0f} MiB peak, "
              f"{rest:.0f} MiB when idle again", flush=True)
    finally:
        seed.stop()


def with_torrents(count: int, torrent_tool: str, folder: Path):
    target = folder / "target"
    target.mkdir()
    files = []
    for number in range(count):
        data = folder / f"file-{number}.bin"
        data.write_bytes(os.urandom(4 << 20))
        files.append(create(torrent_tool, data, folder / f"{number}.torrent", []))
    seeds = []
    try:
        # One seed process for each hundred torrents is all that is needed: it downloads what is there already.
        words = ["download", *files, "-d", folder, "--seed", *ADDRESS]
        seeds.append(Process("seed", [torrent_tool, *words], folder / "seed.log", folder / "home"))
        address = seeds[0].address()
        complete = lambda process: len(re.findall(r"complete$", process.text(), re.MULTILINE)) == count  # noqa: E731
        wait_until(lambda: complete(seeds[0]), "the seed to know all", LIMIT)
        words = ["download", *files, "-d", target, "--seed", "--peer", address, *ADDRESS]
        leecher = Process("leecher", [torrent_tool, *words], folder / "leecher.log", folder / "leecher-home")
        seeds.append(leecher)
        wait_until(lambda: complete(leecher), "all torrents to be complete", LIMIT)
        print(f"{count} torrents of 4 MiB at once: seed {memory(seeds[0], 'VmHWM'):.0f} MiB, "
              f"leecher {memory(leecher, 'VmHWM'):.0f} MiB", flush=True)
    finally:
        for process in seeds:
            process.stop()


def with_sparse(size: int, torrent_tool: str, folder: Path):
    """The `.torrent` is made here: all pieces but the first are zeros, of which the hash is known."""
    length, head = 512 << 10, os.urandom(64 << 20)
    count = -(-size // length)
    zeros, last = hashlib.sha1(bytes(length)).digest(), hashlib.sha1(bytes(size - (count - 1) * length)).digest()
    hashes = [hashlib.sha1(head[at:at + length]).digest() for at in range(0, len(head), length)]
    hashes += [zeros] * (count - 1 - len(hashes)) + [last]
    info = {b"length": size, b"name": b"sparse.bin", b"piece length": length, b"pieces": b"".join(hashes)}
    torrent = folder / "sparse.torrent"
    torrent.write_bytes(bencode({b"info": info}))
    target = folder / "target"
    target.mkdir()
    for path, content in ((folder / "sparse.bin", head), (target / "sparse.bin.part", b"")):
        with open(path, "wb") as out:
            out.write(content)
            out.truncate(size)
    processes = []
    try:
        start = time.monotonic()
        seed = Process("seed", [torrent_tool, "seed", torrent, folder, *ADDRESS], folder / "seed.log", folder / "home")
        processes.append(seed)
        address = seed.expect(r"listening on (\S+)", LIMIT).group(1)
        checked = time.monotonic() - start
        words = ["download", torrent, "-d", target, "--peer", address, *ADDRESS]
        leecher = Process("leecher", [torrent_tool, *words], folder / "leecher.log", folder / "leecher-home")
        processes.append(leecher)
        start, peak = time.monotonic(), 0.0
        while leecher.process.poll() is None:
            try:
                peak = max(peak, memory(leecher, "VmHWM"))
            except (FileNotFoundError, AttributeError, ProcessLookupError):
                break  # it has just ended
            time.sleep(0.05)
            if time.monotonic() - start > LIMIT:
                raise Failure("the leecher was not done in time")
        leecher.finish()
        print(f"{size / 1e9:.0f} GB sparse, {count} pieces: seed {memory(seed, 'VmHWM'):.0f} MiB (checked in {checked:.0f} s), "
              f"leecher {peak:.0f} MiB (checked and fetched in {time.monotonic() - start:.0f} s)", flush=True)
    finally:
        for process in processes:
            process.stop()


def create(torrent_tool: str, data: Path, torrent: Path, options: list[str]) -> Path:
    subprocess.run([torrent_tool, "create", data, "-o", torrent, *options], check=True, stdout=subprocess.DEVNULL)
    return torrent


def key_of(torrent_tool: str, torrent: Path) -> bytes:
    shown = subprocess.run([torrent_tool, "show", torrent], check=True, capture_output=True, text=True).stdout
    return bytes.fromhex(re.search(r"^Key\s*: ([0-9a-f]+)", shown, re.MULTILINE).group(1)[:40])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--torrents", type=int, default=100)
    parser.add_argument("--sparse", type=bytes_of, default="50GB", help="0 leaves it out, as it does for the others")
    parser.add_argument("--bin", type=Path, default=INTEROP.parents[1] / "target/release", help="folder of our binaries")
    args = parser.parse_args()
    torrent_tool = str(args.bin.resolve() / "torrent")
    root = Path(tempfile.mkdtemp(prefix="shoal-memory-"))
    end_all_when_told(root)
    cases = ((args.connections, with_connections), (args.torrents, with_torrents), (args.sparse, with_sparse))
    try:
        for number, (amount, case) in enumerate(cases):
            folder = root / str(number)
            folder.mkdir()
            if amount:
                case(amount, torrent_tool, folder)
            shutil.rmtree(folder)
    except Failure as failure:
        print(f"memory: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
