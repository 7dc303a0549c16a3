"""One transfer: some seeds, some leechers, all of one client, each a process of its own, until every leecher has everything.

The seeds start first, and the leechers once each seed has announced itself. The clock runs from the first connection between
two of them (see `gun.py`) to the moment that the last leecher says that it is complete; until then all of them stay and serve
each other. CPU is what all ends spend from the first connection to their end. Every copy is compared afterwards.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contenders import Contender
from figures import POLL, Figures, cpu_so_far, peak_memory, reap
from gun import StartingGun
from processes import POLITE, Failure, Process, wait_until

LIMIT = 600.0  # seconds; a run takes a few
START = 60.0  # seconds, for seeds that hash their data first, and for leechers to meet
CHUNK = 4 << 20
ALIVE = 0.5  # seconds between looks whether a process has died


@dataclass
class Shape:
    """How many share, and how many fetch."""

    seeds: int
    leechers: int

    def __str__(self):
        return f"{self.seeds}→{self.leechers}"


class Swarm:
    """The processes of one transfer, which work and log in `work`."""

    def __init__(self, contender: Contender, torrent: Path, data: Path, work: Path):
        self.contender, self.torrent, self.data, self.work = contender, torrent, data, work
        self.seeds: list[Process] = []
        self.leechers: list[Process] = []

    def transfer(self, shape: Shape, gun: StartingGun, before: Callable[[], None] = lambda: None, sync: bool = False) -> Figures:
        """`before` is called when the seeds are ready; with `sync` the copies are synced in the end."""
        try:
            return self.measure(shape, gun, before, sync)
        finally:
            for process in self.everybody():
                process.stop()

    def measure(self, shape: Shape, gun: StartingGun, before: Callable[[], None], sync: bool) -> Figures:
        gun.reset(shape.leechers)
        for number in range(shape.seeds):
            self.seeds.append(self.start(f"seed-{number}", self.contender.seed(self.torrent, self.data.parent)))
        wait_until(lambda: len(gun.seeds) == shape.seeds or self.look(), "the seeds to announce themselves", START)
        before()
        for number in range(shape.leechers):
            folder = self.work / str(number)
            folder.mkdir()
            self.leechers.append(self.start(f"leecher-{number}", self.contender.download(self.torrent, folder)))
        start = gun.first_connection(self.look, START)
        cpu_before = sum(map(cpu_so_far, self.everybody()))
        self.wait_for_all()
        wall = time.monotonic() - start
        synced = self.sync(shape) - start if sync else 0.0
        memory, seed_memory = (max(map(peak_memory, ends)) for ends in (self.leechers, self.seeds))
        cpu = self.end() - cpu_before
        self.compare()
        return Figures(wall, cpu, memory, seed_memory, bytes=self.data.stat().st_size * shape.leechers, synced=synced)

    def sync(self, shape: Shape) -> float:
        """Syncs every copy, and returns when that was done."""
        for number in range(shape.leechers):
            with open(self.work / str(number) / self.data.name, "rb+") as copy:
                os.fsync(copy)
        return time.monotonic()

    def start(self, name: str, command: list) -> Process:
        log, home = self.work / f"{name}.log", self.work / f"{name}-home"
        return Process(f"{self.contender.name} {name}", command, log, home, environment=self.contender.environment)

    def everybody(self) -> list[Process]:
        return self.leechers + self.seeds

    def look(self):
        """Fails if anybody has died."""
        for process in self.everybody():
            if process.process.poll() is not None:
                said = process.text()[-2000:]
                raise Failure(f"{process.name} ended with status {process.process.returncode}:\n{said}")

    def wait_for_all(self):
        """Looks at a log only when it has grown, so that whoever measures takes no time from those who are measured."""
        pattern = re.compile(self.contender.complete, re.MULTILINE)
        sizes = {leecher: 0 for leecher in self.leechers}
        began = looked = time.monotonic()
        while sizes:
            for leecher, size in list(sizes.items()):
                sizes[leecher] = os.stat(leecher.log).st_size
                if sizes[leecher] != size and pattern.search(leecher.text()):
                    del sizes[leecher]
            now = time.monotonic()
            if now - looked > ALIVE:
                looked = now
                self.look()
            if now - began > LIMIT:
                raise Failure(f"{', '.join(leecher.name for leecher in sizes)}: not complete after {LIMIT:.0f} s")
            time.sleep(POLL)

    def end(self) -> float:
        """Ends everybody, and returns the seconds of CPU that all have used."""
        for process in self.everybody():
            process.process.send_signal(signal.SIGTERM)
        return sum(reap(process, POLITE) for process in self.everybody())

    def compare(self):
        for number, leecher in enumerate(self.leechers):
            if not same(self.data, self.work / str(number) / self.data.name):
                raise Failure(f"{leecher.name} has other bytes than the seed")


def same(left: Path, right: Path) -> bool:
    """Whether two files hold the same bytes."""
    if not right.exists() or left.stat().st_size != right.stat().st_size:
        return False
    with open(left, "rb") as one, open(right, "rb") as other:
        while chunk := one.read(CHUNK):
            if chunk != other.read(CHUNK):
                return False
    return True
