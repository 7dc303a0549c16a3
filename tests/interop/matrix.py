"""The matrix: each client as the only seed and as the only leecher, in each format that it speaks, a file and a folder.

    matrix.py [WORD]...      the cells whose name has every WORD; all of them without one

`make interop-matrix` builds the binaries, installs the clients, runs this and writes the table of `docs/INTEROP.md` from the
results; those of cells that did not run are kept from before. A cell that fails is tried again with libtorrent 2.1 in our
place, and so is every cell whose result is saved. What fails then too is the other side's fault; what does not is ours, and
ends this with status 1. `--short` runs the few cells that `make interop` has time for; all of them are known to finish, so
none is excused.

All of it happens in a network namespace of its own, so nothing of it can leave this machine. It has an address that is no
loopback address, since Transmission takes no peers from there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import debian
from cases import Case
from clients import Client, Shoal, StandIn, Tracker
from foreign import all_clients
from inputs import file_tree, single_file
from processes import Failure, end_all_when_told
from run import tail

HOST = "10.9.0.1"
LIMIT = 90.0  # seconds for one transfer
FORMATS = ("v1", "hybrid", "v2")
CONTENTS = {"file": partial(single_file, size=12_345_677), "folder": partial(file_tree, odd=8_000_007)}
WAYS = ("seeds", "leeches")
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"


@dataclass
class Cell:
    """What a client does, and on what."""

    client: Client
    way: str
    form: str
    content: str

    @property
    def name(self) -> str:
        return f"{self.client.name} {self.way}, {self.form} {self.content}"


@dataclass
class Run:
    """How one transfer went: its seconds, from when the leecher is told until everything is there, or what was wrong."""

    seconds: float | None = None
    problem: str = ""
    logs: str = ""
    is_ours: bool = False  # whether no control run can excuse it

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s" if self.seconds is not None else self.problem


def transfer(case: Case, tracker: Tracker, cell: Cell, us: Client, maker: Client) -> float:
    """Returns the seconds that it took. The two meet at the tracker."""
    source = CONTENTS[cell.content](case.folder("source"), cell.content, case.name)
    torrent = case.torrent(maker, source, cell.form, tracker.announce)
    seeder, leecher = (cell.client, us) if cell.way == "seeds" else (us, cell.client)
    seed = seeder.seed(case, torrent, source.parent)
    tracker.wait_for_seed(torrent, seed)
    target = case.folder("target")
    got = leecher.download(case, torrent, target, stay=leecher is not us)
    start = time.monotonic()
    if leecher is us:
        got.finish(LIMIT)
    else:
        case.wait_for_copy(source, target, leecher, got, LIMIT)
    seconds = time.monotonic() - start
    case.compare(source, target, leecher)
    return seconds


def run_one(cell: Cell, root: Path, tracker: Tracker, us: Client, maker: Client) -> Run:
    case = Case(f"{cell.name}, with {us.name}", root)
    run = Run()
    try:
        run.seconds = transfer(case, tracker, cell, us, maker)
    except Failure as failure:
        run.problem = str(failure)
    except Exception as error:  # a fault of the tests is a failure too, whatever the control run says, and ends no other cell
        run.problem, run.is_ours = f"{type(error).__name__}: {error}", True
    complaints = case.stop()
    if complaints:
        run.seconds, run.problem = None, "; ".join([*filter(None, [run.problem]), *complaints])
    if run.problem:
        run.logs = "\n".join(map(tail, case.processes))
    return run


class Matrix:
    """Runs cells, prints a line for each, and keeps the results."""

    def __init__(self, cells: list[Cell], root: Path, tracker: Tracker, args):
        self.cells = cells
        self.root = root
        self.tracker = tracker
        self.shoal = Shoal(args.bin.resolve())
        self.args = args
        self.results: dict[str, dict] = {}
        self.counts = {"ok": 0, "slow": 0, "theirs": 0, "FAIL": 0}
        self.lock = threading.Lock()

    def run(self):
        with ThreadPoolExecutor(self.args.jobs) as pool:
            list(pool.map(self.run_cell, self.cells))

    def run_cell(self, cell: Cell):
        ours = self.run_with(cell, self.shoal)
        control = self.run_with(cell, StandIn()) if self.args.save or ours.problem else None
        verdict = judge(ours, control)
        with self.lock:
            self.counts[verdict] += 1
            self.results[cell.name] = {"ours": ours.seconds, "control": control and control.seconds}
            beside = f"; with libtorrent in our place: {control}" if control else ""
            print(f"{sum(self.counts.values()):3}/{len(self.cells)} {verdict:6} {cell.name}: {ours}{beside}", flush=True)
            if verdict == "FAIL" or (verdict == "theirs" and self.args.short):
                print(ours.logs, flush=True)

    def run_with(self, cell: Cell, us: Client) -> Run:
        folder = self.root / f"{cell.name} with {us.name}".replace(" ", "-").replace(",", "")
        run = run_one(cell, folder, self.tracker, us, self.shoal)
        if not (self.args.keep and run.problem):
            shutil.rmtree(folder, ignore_errors=True)
        return run


def judge(ours: Run, control: Run | None) -> str:
    """A machine may be slow, and so `slow` fails nothing: but the control run was on the same machine."""
    if not ours.problem:
        return "slow" if control and control.seconds and ours.seconds > 3 * control.seconds + 3 else "ok"
    return "theirs" if control.problem and not ours.is_ours else "FAIL"


def cells_of(clients: list[Client], words: list[str], short: bool) -> list[Cell]:
    cells = []
    for client, way, form, content in product(clients, WAYS, FORMATS, CONTENTS):
        cell = Cell(client, way, form, content)
        if form in client.formats and all(word in cell.name for word in words):
            cells.append(cell)
    return [cell for cell in cells if is_short(cell)] if short else cells


def is_short(cell: Cell) -> bool:
    """Clients that are installed within seconds; each format once, and the folder where there is padding."""
    quick = ("libtorrent 2.0", "aria2 1.37", "Transmission 3", "Transmission 4", "rTorrent", "qBittorrent 5", "WebTorrent")
    return cell.client.name in quick and (cell.form, cell.content) in (("v1", "file"), ("hybrid", "folder"), ("v2", "folder"))


def row(client: Client, way: str, results: dict) -> str:
    shown = []
    for form, content in product(FORMATS, CONTENTS):
        result = results.get(Cell(client, way, form, content).name)
        if form not in client.formats:
            shown.append("–")
        elif result is None:
            shown.append("not run")
        else:
            shown.append(f"{figure(result['ours'])} ({figure(result['control'])})")
    return f"| {client.name} | {way} | {' | '.join(shown)} |\n"


def figure(seconds: float | None) -> str:
    return "fails" if seconds is None else f"{seconds:.1f}"


def table(clients: list[Client], saved: dict) -> str:
    kinds = [f"{form} {content}" for form, content in product(FORMATS, CONTENTS)]
    lines = [f"| client |  | {' | '.join(kinds)} |\n", f"|---|---|{'---:|' * len(kinds)}\n"]
    lines += [row(client, way, saved["cells"]) for client, way in product(clients, WAYS)]
    lines += ["\n| client | version | from |\n", "|---|---|---|\n"]
    lines += [f"| {name} | {version} | {where} |\n" for name, (version, where) in saved["versions"].items()]
    return "".join(lines)


def save(matrix: Matrix, clients: list[Client], results: Path, page: Path):
    """Adds what was found to the results of earlier runs, and writes the page's tables anew."""
    saved = json.loads(results.read_text()) if results.exists() else {"versions": {}, "cells": {}}
    saved["cells"] |= matrix.results
    ran = {cell.client.name for cell in matrix.cells}
    fresh = {client.name: (client.version(), client.where) for client in clients if client.name in ran}
    saved["versions"] = {c.name: (saved["versions"] | fresh).get(c.name, ("?", c.where)) for c in clients}
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(saved, indent=1))
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + table(clients, saved) + END + rest.split(END)[1])


def install(clients: list[Client]):
    """The packages of one release at once, since they share what they need."""
    for release in debian.RELEASES:
        packages = [name for client in clients if getattr(client, "release", "") == release for name in client.packages]
        debian.unpack(release, packages)
    for client in clients:
        client.install()
        print(f"{client.name}: {client.version()} from {client.where}", flush=True)


class NoNamespace(OSError):
    """There is no network in which the clients are alone."""


def enter_namespace():
    """Starts this again where there is no network but its own, as root or as root of a namespace of users."""
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, "ip", "link", "set", "lo", "up"]).returncode != 0:
        raise NoNamespace("it needs a network namespace: root, or namespaces of users")
    sys.stdout.flush()
    os.execvp("unshare", [*unshare, sys.executable, *sys.argv, "--inside"])


def set_up_network():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{HOST}/32", "dev", "lo"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run only cells whose name has all of these")
    parser.add_argument("--bin", type=Path, required=True, help="folder of our binaries")
    parser.add_argument("--peers", type=Path, required=True, help="folder where rqbit is, or is built")
    parser.add_argument("--short", action="store_true", help="only what is quick to install and to run")
    files = {"type": Path, "nargs": 2, "metavar": ("RESULTS", "PAGE")}
    parser.add_argument("--save", **files, help="keep the results, with those of control runs, and write the page")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a cell that fails")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()

    clients = all_clients(args.peers.resolve())
    cells = cells_of(clients, args.words, args.short)
    if not cells:
        print("matrix: no cell has all of these words")
        return 0 if args.short else 1
    if not args.inside:
        try:
            install([client for client in clients if any(cell.client is client for cell in cells)])
            enter_namespace()
        except (debian.NoArchive, NoNamespace) as lacking:
            print(f"matrix: skipped: {lacking}")
            return 0 if args.short else 1
    set_up_network()
    Client.host = HOST
    return run_all(clients, cells, args)


def run_all(clients: list[Client], cells: list[Cell], args) -> int:
    root = Path(tempfile.mkdtemp(prefix="shoal-matrix-"))
    end_all_when_told(root)
    house = Case("tracker", root / "tracker")
    start = time.monotonic()
    matrix = Matrix(cells, root, Tracker(house, Shoal(args.bin.resolve())), args)
    try:
        matrix.run()
    finally:
        complaints = house.stop()
        if args.keep and matrix.counts["FAIL"] + matrix.counts["theirs"]:
            print(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    if args.save:
        save(matrix, clients, *args.save)
    for complaint in complaints:
        print(complaint)
    counts = matrix.counts
    failed = counts["FAIL"] + (counts["theirs"] if args.short else 0)
    apart = f", {counts['slow']} of them slow" * (counts["slow"] > 0)
    apart += f", {counts['theirs']} the other side's fault" * (counts["theirs"] > 0)
    passed = counts["ok"] + counts["slow"]
    print(f"matrix: {passed} passed{apart}, {counts['FAIL']} failed in {time.monotonic() - start:.0f} s")
    return 1 if failed or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
