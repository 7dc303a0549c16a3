"""How fast the tracker answers (`make bench-tracker`), beside two real ones, in one run.

    tracker.py [--runs 3] [--seconds 5] [--only udp,http,sessions] [--peers FOLDER] [--bin FOLDER]

- udp: requests a second that `aquatic_udp_load_test` gets answered by shoal and by aquatic_udp, each with one thread and with two;
- http: announces a second that wrk gets answered by shoal and by opentracker, on connections that are kept and on one each;
- sessions: requests a second over one session with 1, 100 and 10,000 torrents in the catalogue, and with one swarm of 100,000
  peers, and the tracker's memory then. Nobody else speaks this language, so there is no rival.

The generators run on the same cores as the trackers. Rivals take turns, each number is the median over the runs. A rival that is not
installed is left out (`make bench-tracker-peers` installs them).
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

INTEROP = Path(__file__).resolve().parents[1] / "tests" / "interop"
sys.path.insert(0, str(INTEROP))

from processes import Failure, Process, end_all_when_told, wait_until  # noqa: E402

LOCALHOST = "127.0.0.1"
CONNECTIONS = 32
TORRENTS = 1000  # that wrk announces to
CATALOGUES = (1, 100, 10_000)
SWARM = 100_000
UDP_THREADS = (1, 2)

# What the generator of aquatic is told; all else is as it comes.
LOAD = {
    "summarize_last": 0,
    "number_of_torrents": 50_000,
    "number_of_peers": 500_000,
    "extra_statistics": "false",
}


class Bench:
    def __init__(self, folder: Path, options: argparse.Namespace):
        self.folder = folder
        self.bin = options.bin
        self.peers = options.peers
        self.seconds = options.seconds
        self.runs = options.runs
        self.started = 0
        self.results: dict[tuple[str, str], list[float]] = {}

    def note(self, what: str, who: str, number: float):
        self.results.setdefault((what, who), []).append(number)
        print(f"  {what:42} {who:12} {number:12,.0f}", flush=True)

    def process(self, name: str, command: list) -> Process:
        self.started += 1
        return Process(name, command, self.folder / f"{self.started}-{name}.log", self.folder / "home")

    def shoal(self, threads: int = 16) -> tuple[Process, int]:
        tracker = self.process("shoal", [self.bin / "tracker", "--listen", f"{LOCALHOST}:0", "--udp-threads", threads])
        return tracker, int(tracker.address().rsplit(":", 1)[1])

    def aquatic(self, threads: int) -> tuple[Process, int]:
        port = free_port()
        program = self.peers / "bin" / "aquatic_udp"
        config = {"address": f'"{LOCALHOST}:{port}"', "socket_workers": threads}
        return self.process("aquatic", [program, "-c", configure(program, config, self.folder / "aquatic.toml")]), port

    def opentracker(self) -> tuple[Process, int]:
        port = free_port()
        allowed = self.folder / "whitelist"
        allowed.write_text("".join(f"{info_hash(number).hex()}\n" for number in range(TORRENTS)))
        allowed.chmod(0o644)
        command = ["opentracker", "-i", LOCALHOST, "-p", str(port), "-P", str(port), "-w", allowed, "-d", self.folder]
        tracker = self.process("opentracker", command)
        wait_until(lambda: takes_connections(port), "opentracker to listen")
        return tracker, port


def info_hash(number: int) -> bytes:
    return number.to_bytes(4, "big") * 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return probe.getsockname()[1]


def takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOCALHOST, port)) == 0


def configure(program: Path, settings: dict, path: Path) -> Path:
    """The program's own configuration with some settings changed."""
    config = subprocess.run([program, "-p"], capture_output=True, text=True, check=True).stdout
    for name, value in settings.items():
        config, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", config, flags=re.MULTILINE)
        if count != 1:
            raise Failure(f"{program.name} has no setting `{name}`")
    path.write_text(config)
    return path


def run(command: list) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{command[0]} ended with status {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def number_in(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if not match:
        raise Failure(f"no `{pattern}` in: {text[-1000:]}")
    return float(match.group(1))


def resident(process: Process) -> int:
    """Bytes."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) << 10


def udp(bench: Bench):
    generator = bench.peers / "bin" / "aquatic_udp_load_test"
    rivals = {"shoal": bench.shoal, "aquatic_udp": bench.aquatic}
    if not generator.exists():
        print(f"udp: left out, {generator} is not there", flush=True)
        return
    for _, threads in product(range(bench.runs), UDP_THREADS):
        for who, start in rivals.items():
            tracker, port = start(threads)
            try:
                load = LOAD | {"server_address": f'"{LOCALHOST}:{port}"', "duration": bench.seconds}
                report = run([generator, "-c", configure(generator, load, bench.folder / "load.toml")])
            finally:
                tracker.stop()
            report = report[report.rindex("load test report"):]
            if number_in(r"Error responses:\s+([\d.]+)", report) > 0:
                raise Failure(f"{who} refused announces")
            how = f"udp, {threads} thread{'s' * (threads > 1)}:"
            bench.note(f"{how} requests", who, number_in(r"responses per second: ([\d.]+)", report))
            bench.note(f"{how} announces among them", who, number_in(r"Announce responses:\s+([\d.]+)", report))


# Each request is another peer of another swarm; the numbers come from a seed, so that all runs are alike.
WRK = """
math.randomseed(7)
local requests = {}
for number = 1, 20000 do
  local torrent = math.random(0, %d)
  local hash = string.rep(string.format("%%%%00%%%%00%%%%%%02x%%%%%%02x", math.floor(torrent / 256), torrent %% 256), 5)
  requests[number] = wrk.format("GET", string.format(
    "/announce?info_hash=%%s&peer_id=-XX0001-%%012d&port=%%d&uploaded=0&downloaded=0&left=%%d&compact=1&key=%%08x&numwant=30",
    hash, number, 1024 + number, number %% 4, number))
end
local next = 0
request = function()
  next = next %% #requests + 1
  return requests[next]
end
done = function(summary)
  io.write(string.format("answered %%d in %%d\\n", summary.requests, summary.duration))
  io.write(string.format("refused %%d\\n", summary.errors.status))
end
"""


def http(bench: Bench):
    script = bench.folder / "announce.lua"
    script.write_text(WRK % (TORRENTS - 1))
    rivals = {"shoal": bench.shoal, "opentracker": bench.opentracker}
    missing = [program for program in ("wrk", "opentracker") if not shutil.which(program)]
    if missing:
        print(f"http: left out, {' and '.join(missing)} not installed", flush=True)
        return
    for _ in range(bench.runs):
        for how, header in {"kept connections": "keep-alive", "Connection: close": "close"}.items():
            for who, start in rivals.items():
                tracker, port = start()
                try:
                    command = ["wrk", "-t", 1, "-c", CONNECTIONS, "-d", f"{bench.seconds}s", "-s", script]
                    report = run([*command, "-H", f"Connection: {header}", f"http://{LOCALHOST}:{port}/announce"])
                finally:
                    tracker.stop()
                if number_in(r"refused (\d+)", report) > 0:
                    raise Failure(f"{who} refused announces")
                microseconds = number_in(r"answered \d+ in (\d+)", report)
                bench.note(f"http: announces, {how}", who, number_in(r"answered (\d+)", report) * 1e6 / microseconds)


def sessions(bench: Bench):
    load = bench.bin / "examples" / "tracker_load"
    cases = [("torrents", count) for count in CATALOGUES] + [("swarm", SWARM)]
    for _ in range(bench.runs):
        for case, count in cases:
            tracker, port = bench.shoal()
            try:
                before = resident(tracker)
                report = run([load, f"{LOCALHOST}:{port}", case, count])
                grown = resident(tracker) - before
            finally:
                tracker.stop()
            thing = "torrents" if case == "torrents" else "peers in a swarm"
            for name, rate in re.findall(r"^(\S+) (\d+)$", report, re.MULTILINE):
                if name == "members":
                    if int(rate) < count:
                        raise Failure(f"the swarm has {rate} members only")
                else:
                    bench.note(f"{count:,} {thing}: {name.replace('-', ' ')}", "shoal", float(rate))
            if count >= 10_000:
                bench.note(f"{count:,} {thing}: bytes each", "shoal", grown / count)


def table(results: dict[tuple[str, str], list[float]]):
    print("\n| a second | shoal | rival | ratio |\n|---|---|---|---|")
    for what in dict.fromkeys(what for what, _ in results):
        medians = {who: statistics.median(numbers) for (name, who), numbers in results.items() if name == what}
        ours = medians.pop("shoal")
        rival, ratio = "–", "–"
        for who, number in medians.items():
            rival, ratio = f"{who} {number:,.0f}", f"{ours / number:.2f}"
        print(f"| {what} | {ours:,.0f} | {rival} | {ratio} |")


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", default="udp,http,sessions")
    parser.add_argument("--bin", type=Path, default=target / "release")
    parser.add_argument("--peers", type=Path, default=target / "peers", help="where the rivals are installed")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="shoal-tracker-"))
    folder.chmod(0o755)  # opentracker gives up its rights before it reads its list
    end_all_when_told(folder)
    try:
        bench = Bench(folder, options)
        for part in options.only.split(","):
            {"udp": udp, "http": http, "sessions": sessions}[part](bench)
        table(bench.results)
    except Failure as failure:
        sys.exit(f"tracker.py: {failure}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
