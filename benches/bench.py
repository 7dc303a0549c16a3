"""shoal beside libtorrent, aria2 and rqbit, in one table and one run (`make bench`).

    bench.py [--size 1GiB] [--runs 5] [--clients shoal,libtorrent,...] [--formats v1,v2,hybrid]
             [--scenarios 1-1,1-4,4-1,create,verify] [--no-sha] [--env CLIENT:NAME=VALUE]... [--output FILE]
             [--against REV]

The files lie in memory, every end is a process of its own, the connections are plain TCP over loopback, and all clients get
the same `.torrent` and the same tracker (`gun.py`). Every leecher checks every hash, and every copy is compared. Each figure
is the median of the runs; the clients take turns at going first. `--against` builds an earlier commit of shoal, and measures it
in turns with the others, under the name `before`. `README.md` beside this says what each column means.

Progress goes to standard error, the table to standard output, and to a file if told: as JSON with every single run if it is
named so.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "interop"))

import against  # noqa: E402
import contenders  # noqa: E402
import goals  # noqa: E402
import hashing  # noqa: E402
import machine  # noqa: E402
import room  # noqa: E402
import table  # noqa: E402
from contenders import Contender  # noqa: E402
from figures import Figures, medians  # noqa: E402
from gun import StartingGun  # noqa: E402
from processes import Failure, end_all_when_told  # noqa: E402
from sizes import bytes_of  # noqa: E402
from swarm import Shape, Swarm  # noqa: E402

FORMATS = ("v1", "v2", "hybrid")
SHAPES = {"1-1": Shape(1, 1), "1-4": Shape(1, 4), "4-1": Shape(4, 1)}
SCENARIOS = (*SHAPES, "create", "verify")

Runs = dict[tuple[str, str], dict[str, list[Figures]]]  # (scenario, format) -> client -> its runs


def say(text: str):
    print(text, file=sys.stderr, flush=True)


class Bench:
    """The data, its torrents, and everything that was measured with them."""

    def __init__(self, args, found: list[Contender], folder: Path):
        self.args, self.contenders, self.folder = args, found, folder
        self.gun = StartingGun()
        self.data = room.make_data(folder, args.size)
        libtorrent, tracker = contenders.LIBTORRENT_CLIENT, self.gun.url
        self.torrents = {form: room.make_torrent(libtorrent, self.data, form, tracker) for form in args.formats}
        self.runs: Runs = {}
        self.failures: list[str] = []

    def run(self):
        room.touch(self.data, copies_of(self.args.scenarios) - 1)
        for scenario in self.args.scenarios:
            for form in self.args.formats:
                able = [contender for contender in self.contenders if can(contender, scenario, form)]
                if able:
                    self.measure(scenario, form, able)

    def measure(self, scenario: str, form: str, able: list[Contender]):
        """All runs of one scenario with one format; with every run another client goes first."""
        say(f"{scenario} {form}")
        taken: dict[str, list[Figures]] = {contender.name: [] for contender in able}
        broken: set[str] = set()
        for run in range(self.args.runs):
            first = run % len(able)
            for contender in able[first:] + able[:first]:
                if contender.name in broken:
                    continue
                try:
                    figures = self.once(scenario, form, contender)
                except Failure as failure:
                    broken.add(contender.name)
                    self.failures.append(f"{scenario} {form}, {contender.name}: {failure}")
                    say(f"  run {run + 1}, {contender.name}: {failure}")
                    continue
                taken[contender.name].append(figures)
                say(f"  run {run + 1}, {contender.name}: {figures.wall:.2f} s, {figures.cpu:.2f} s of CPU")
        self.runs[scenario, form] = {name: runs for name, runs in taken.items() if runs}

    def once(self, scenario: str, form: str, contender: Contender) -> Figures:
        work, torrent = self.folder / "run", self.torrents[form]
        work.mkdir()
        try:
            if scenario in SHAPES:
                return Swarm(contender, torrent, self.data, work).transfer(SHAPES[scenario], self.gun)
            if scenario == "verify":
                return hashing.verify(contender, torrent, self.data, work)
            return hashing.create(contender, torrent, self.data, form, room.piece_length(self.args.size), work)
        finally:
            shutil.rmtree(work)

    def cells(self) -> goals.Cells:
        return {cell: {name: medians(runs) for name, runs in clients.items()} for cell, clients in self.runs.items()}


def can(contender: Contender, scenario: str, form: str) -> bool:
    return form in contender.formats and (scenario in SHAPES or scenario in contender.hashes)


def copies_of(scenarios: list[str]) -> int:
    """Copies of the data that there are at most at once, the seed's among them."""
    return 1 + max((SHAPES[scenario].leechers for scenario in scenarios if scenario in SHAPES), default=0)


def words_of(known: tuple[str, ...]):
    def split(text: str) -> list[str]:
        words = text.split(",")
        unknown = set(words) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"no such thing as {', '.join(unknown)}; there are {', '.join(known)}")
        return [word for word in known if word in words]

    return split


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=bytes_of, default="1GiB")
    parser.add_argument("--runs", type=int, default=5, help="of which the median counts")
    parser.add_argument("--clients", type=words_of(contenders.NAMES), default=",".join(contenders.NAMES))
    parser.add_argument("--formats", type=words_of(FORMATS), default=",".join(FORMATS))
    parser.add_argument("--scenarios", type=words_of(SCENARIOS), default=",".join(SCENARIOS))
    parser.add_argument("--no-sha", action="store_true", help="hide the SHA instructions from the programs' hashing")
    parser.add_argument("--env", action="append", default=[], metavar="CLIENT:NAME=VALUE", help="in the environment of one client")
    parser.add_argument("--against", metavar="REV", help="a commit of shoal to compare with, which is built for it")
    parser.add_argument("--output", type=Path, help="write the results there too: NAME.json all runs, any other name the text")
    parser.add_argument("--bin", type=Path, default=ROOT / "target/release", help="folder of our binaries")
    parser.add_argument("--peers", type=Path, default=ROOT / "target/peers", help="where `make bench-peers` installed")
    return parser.parse_args()


def add_environment(found: list[Contender], settings: list[str]):
    """`shoal:NAME=VALUE`, as given with `--env`."""
    for setting in settings:
        client, _, rest = setting.partition(":")
        name, equals, value = rest.partition("=")
        if client not in (*contenders.NAMES, "before") or not equals:
            sys.exit(f"bench: `{setting}` is not of the form CLIENT:NAME=VALUE")
        for contender in found:
            if contender.name == client:
                contender.environment[name] = value


def header(args, found: list[Contender], notes: list[str]) -> str:
    programs = ", ".join(f"{contender.name} {contender.version}" for contender in found)
    what = f"{args.size >> 20} MiB, medians of {args.runs}: {programs}"
    return "\n".join([machine.describe(args.no_sha), what, *(f"note: {note}" for note in notes)])


def write(path: Path, text: str, head: str, bench: Bench):
    if path.suffix == ".json":
        rows = [
            {"scenario": scenario, "format": form, "client": name, "runs": [asdict(figures) for figures in runs]}
            for (scenario, form), clients in bench.runs.items()
            for name, runs in clients.items()
        ]
        text = json.dumps({"about": head.splitlines(), "failures": bench.failures, "rows": rows}, indent=1)
    path.write_text(text + "\n")


def main() -> int:
    args = parse()
    found, notes = contenders.find(args.clients, args.bin.resolve(), args.peers.resolve(), args.no_sha)
    if args.against:
        binaries, revision = against.build(args.against, ROOT / "target/against")
        before = contenders.find_before(binaries, revision)
        before.environment.update(contenders.HIDDEN_SHA if args.no_sha else {})
        found.insert(0, before)
    add_environment(found, args.env)
    notes += machine.unrest()
    wanted, args.size = args.size, room.fitting(args.size, copies_of(args.scenarios))
    if args.size < wanted:
        notes.append(f"no room in memory for more: {args.size >> 20} MiB instead of {wanted >> 20}")
    folder, note = room.folder()
    notes += [note] if note else []
    end_all_when_told(folder)
    head = header(args, found, notes)
    try:
        say(head)
        bench = Bench(args, found, folder)
        kernels = [contender.name + " hashes " + how for contender in found for how in hashing.kernels(contender, bench.data, folder)]
        bench.run()
    finally:
        shutil.rmtree(folder)
    cells = bench.cells()
    failures = [f"failed: {failure.strip()}" for failure in bench.failures]
    with_sha = machine.has_sha() and not args.no_sha
    verdicts = [*goals.report(cells, with_sha), *goals.progress(cells)]
    text = "\n".join([head, *kernels, "", table.render(cells), "", *verdicts, *failures])
    print(text)
    if args.output:
        write(args.output, text, head, bench)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
