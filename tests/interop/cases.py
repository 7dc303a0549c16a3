"""The cases: who seeds, who downloads, what, in which format, and how they find each other."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from clients import Aria2, Client, Libtorrent, Tracker
from inputs import file_tree, half_of, single_file
from processes import LIMIT, Failure, Process, wait_until

FORMATS = ("v1", "v2", "hybrid")
CONTENTS = {"file": single_file, "folder": file_tree}


class Case:
    """One test while it runs: its folder and its processes."""

    def __init__(self, name: str, root: Path):
        self.name = name
        self.root = root
        self.processes: list[Process] = []

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, name: str, command: list, strict: bool = False, environment: dict[str, str] | None = None) -> Process:
        stem = f"{len(self.processes)}-{name.replace(' ', '-')}"
        log, home = self.folder("logs") / f"{stem}.log", self.folder(f"home/{stem}")
        process = Process(name, command, log, home, strict, environment)
        self.processes.append(process)
        return process

    def source(self, content: str) -> Path:
        """The file or folder that this case shares; no two cases share the same bytes."""
        return CONTENTS[content](self.folder("source"), content, self.name)

    def torrent(self, maker: Client, source: Path, form: str, announce: str | None = None) -> Path:
        path = self.root / "shared.torrent"
        maker.create(source, path, form, [announce] if announce else [])
        return path

    def compare(self, source: Path, folder: Path, client: Client):
        found = client.differences(source, folder)
        if found:
            raise Failure("; ".join(found[:5]))

    def wait_for_copy(self, source: Path, folder: Path, client: Client, process: Process, limit: float = LIMIT):
        """Waits until a process that stays on has everything."""

        def complete():
            if process.process.poll() is not None:
                raise Failure(f"{process.name} ended with status {process.process.returncode}")
            return not client.differences(source, folder)

        wait_until(complete, f"{process.name} to have all of {source.name}", limit, pause=0.2)

    def stop(self) -> list[str]:
        """Ends every process; the last started first. Returns what was wrong with how they ended."""
        complaints = [process.stop() for process in reversed(self.processes)]
        return [complaint for complaint in complaints if complaint]


@dataclass
class Test:
    """A test: `run` gets its case and the tracker that all tests share."""

    name: str
    run: Callable[[Case, Tracker], None]
    skip: str | None = None  # why it cannot run here


def transfer(case: Case, tracker: Tracker, content: str, form: str, maker: Client, seeder: Client, leecher: Client, meet: str):
    """One seed, one leecher. They meet because the leecher dials, because the seed dials, or at the tracker, by HTTP or UDP."""
    source = case.source(content)
    announce = {"tracker": tracker.announce, "udp tracker": tracker.announce_udp}.get(meet)
    torrent = case.torrent(maker, source, form, announce)
    target = case.folder("target")
    if meet == "seed dials":
        got = leecher.download(case, torrent, target)
        seeder.seed(case, torrent, source.parent, [got.address()])
    elif meet == "leecher dials":
        seed = seeder.seed(case, torrent, source.parent)
        got = leecher.download(case, torrent, target, [seed.address()])
    else:
        seed = seeder.seed(case, torrent, source.parent)
        tracker.wait_for_seed(torrent, seed)
        got = leecher.download(case, torrent, target)
    got.finish()
    case.compare(source, target, leecher)


def swarm(case: Case, tracker: Tracker, form: str, maker: Client, seeder: Client, leechers: list[Client]):
    """A seed too slow for all of them, and leechers that have to trade what they got."""
    source = case.source("folder")
    torrent = case.torrent(maker, source, form, tracker.announce)
    seed = seeder.seed(case, torrent, source.parent, up=4_000_000)
    tracker.wait_for_seed(torrent, seed)
    running = []
    for number, client in enumerate(leechers):
        target = case.folder(f"target-{number}")
        running.append((client, target, client.download(case, torrent, target, stay=True, name=f"leecher {number}")))
    for client, target, process in running:
        case.wait_for_copy(source, target, client, process)
    if isinstance(seeder, Libtorrent):
        seed.stop()
        sent = int(seed.expect(r'"uploaded": (\d+)').group(1))
        needed = len(leechers) * sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        if sent > 0.9 * needed:
            raise Failure(f"the leechers hardly traded: {sent} of the {needed} bytes that they needed came from the seed")


def halves(case: Case, _: Tracker, form: str, between: Client, other: Client):
    """Two peers with half of the pieces each, and one with nothing between them, the only one that knows both.

    What comes in on one connection goes out on the other at the same time, and the reverse.
    """
    source = case.source("file")
    torrent = case.torrent(other, source, form)
    running = []
    for number, first_half in enumerate((True, False)):
        target = case.folder(f"half-{number}")
        half_of(source, target, first_half)
        running.append((other, target, other.download(case, torrent, target, stay=True, name=f"half {number}")))
    peers = [process.address() for _, _, process in running]
    target = case.folder("target")
    running.append((between, target, between.download(case, torrent, target, peers, stay=True, name="between")))
    for client, target, process in running:
        case.wait_for_copy(source, target, client, process)


def chain(case: Case, _: Tracker, form: str, seeder: Client, between: Client, leecher: Client):
    """The leecher's only source is a peer that is itself still downloading, from a slow seed."""
    source = case.source("file")
    torrent = case.torrent(between, source, form)
    seed = seeder.seed(case, torrent, source.parent, up=3_000_000)
    passing, last = case.folder("passing"), case.folder("last")
    first = between.download(case, torrent, passing, [seed.address()], stay=True, name="between")
    second = leecher.download(case, torrent, last, [first.address()], name="last")
    second.finish()
    case.compare(source, last, leecher)
    case.wait_for_copy(source, passing, between, first)


def partial_seeds(case: Case, _: Tracker, form: str, maker: Client, one: Client, other: Client, leecher: Client):
    """Two peers that want every second file each, from one seed that then goes; the last gets all files from these two."""
    source = case.source("folder")
    torrent = case.torrent(maker, source, form)
    seed = maker.seed(case, torrent, source.parent)
    running = []
    for client, files in ((one, [1, 3, 5, 7, 9]), (other, [2, 4, 6, 8])):
        target = case.folder(f"files-{files[0]}")
        numbers = ",".join(map(str, files))
        process = client.download(case, torrent, target, [seed.address()], stay=True, name=f"of {numbers}", files=numbers)
        process.expect(r"^complete$|files complete$")
        running.append(process)
    seed.stop()
    target = case.folder("target")
    leecher.download(case, torrent, target, [process.address() for process in running]).finish()
    case.compare(source, target, leecher)


def all_tests(us: Client, libtorrent: Client, aria2: Aria2) -> list[Test]:
    """Every case, in the order in which they run."""
    tests = []

    def add(name, run, *arguments):
        too_old = "aria2" in name and "hybrid" in name and not aria2.knows_hybrid
        skip = "this aria2 is older than 1.37 and gets hybrid info-hashes wrong" if too_old else None
        if "udp tracker" in name and not us.has_udp_tracker:
            skip = "this tracker speaks no UDP"
        tests.append(Test(name, lambda case, tracker: run(case, tracker, *arguments), skip))

    def ways(other):
        yield f"{other.name} seeds", other, us
        yield f"{other.name} leeches", us, other

    makers = (("made by us", us), ("made by libtorrent", libtorrent))
    for form, content, (made, maker) in itertools.product(FORMATS, CONTENTS, makers):
        for way, seeder, leecher in ways(libtorrent):
            name = f"{way}, {form} {content} {made}"
            add(name, transfer, content, form, maker, seeder, leecher, "leecher dials")
    for form, (made, maker) in zip(FORMATS, itertools.cycle(makers)):
        for way, seeder, leecher in ways(libtorrent):
            for meet in ("seed dials", "tracker"):
                name = f"{way}, {form} folder {made}, {meet}"
                add(name, transfer, "folder", form, maker, seeder, leecher, meet)
    for form, (way, seeder, leecher) in zip(("v1", "hybrid"), ways(libtorrent)):
        add(f"{way}, {form} folder made by us, udp tracker", transfer, "folder", form, us, seeder, leecher, "udp tracker")
    for form, content, (made, maker) in itertools.product(aria2.formats, CONTENTS, makers):
        for way, seeder, leecher in ways(aria2):
            name = f"{way}, {form} {content} {made}, tracker"
            add(name, transfer, content, form, maker, seeder, leecher, "tracker")
    for form, seeder in (("v1", us), ("v2", libtorrent), ("hybrid", us), ("hybrid", libtorrent)):
        name = f"swarm of 2 libtorrent and 2 shoal, {form}, seeded by {seeder.name}"
        add(name, swarm, form, us, seeder, [libtorrent, us, libtorrent, us])
    for form in aria2.formats:
        add(f"swarm with aria2, {form}", swarm, form, us, us, [aria2, us, libtorrent, us, aria2])
    for form in FORMATS:
        add(f"halves of libtorrent through us, {form}", halves, form, us, libtorrent)
        add(f"libtorrent through us while we download, {form}", chain, form, libtorrent, us, libtorrent)
        add(f"partial seeds, {form}, to us", partial_seeds, form, libtorrent, us, libtorrent, us)
        add(f"partial seeds, {form}, to libtorrent", partial_seeds, form, us, libtorrent, us, libtorrent)
    return tests
