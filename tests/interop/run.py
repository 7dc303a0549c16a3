"""Runs our binaries against clients that we did not write: libtorrent and aria2.

    run.py [WORD]...      the cases whose name has every WORD; all of them without one

`make interop` builds the binaries, installs what is missing and runs this. The last line counts the cases. When one
fails, the end of every log is printed; `--keep` leaves its folder. `--stand-in` lets libtorrent play our part: a case that
fails so too is a fault of the tests.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cases import Case, Test, all_tests
from clients import Aria2, Libtorrent, Shoal, StandIn, Tracker
from processes import Failure, Process, end_all_when_told

HERE = Path(__file__).parent
TAIL = 40  # lines of each log
GIVE_UP = 8  # failed cases; each may have waited out its limit, and the first few tell enough


def tail(process: Process, count: int = TAIL) -> str:
    lines = process.text().splitlines()
    command = " ".join(process.command)
    shown = "\n".join(f"    | {line[:300]}" for line in lines[-count:])
    return f"  {process.name}: {command}\n{shown}"


def run_one(test: Test, root: Path, tracker: Tracker) -> str | None:
    """Runs one case and ends its processes. Returns what went wrong, with the logs, or nothing."""
    case = Case(test.name, root)
    problems = []
    try:
        test.run(case, tracker)
    except Failure as failure:
        problems.append(str(failure))
    except Exception as error:  # a fault of the tests is a failure too, and ends no other case
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        problems += case.stop()
    if not problems:
        return None
    return "\n".join(["; ".join(problems), *map(tail, case.processes), tail(tracker.process, 15)])


class Report:
    """Prints one line a case as they end, and counts."""

    def __init__(self, total: int):
        self.total = total
        self.passed = self.failed = self.skipped = 0
        self.start = time.monotonic()
        self.lock = threading.Lock()

    def line(self, verdict: str, name: str):
        done = self.passed + self.failed + self.skipped
        print(f"{done:3}/{self.total} {verdict} {name}", flush=True)

    def skip(self, test: Test, reason: str):
        with self.lock:
            self.skipped += 1
            self.line("skip", f"{test.name}: {reason}")

    def add(self, test: Test, problem: str | None, seconds: float):
        with self.lock:
            self.passed += problem is None
            self.failed += problem is not None
            self.line("ok  " if problem is None else "FAIL", f"{test.name} ({seconds:.1f} s)")
            if problem is not None:
                print(f"    {problem}", flush=True)

    def fail(self, problem: str):
        """What went wrong outside of any case."""
        with self.lock:
            self.failed += 1
            print(f"FAIL {problem}", flush=True)

    def summary(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        seconds = time.monotonic() - self.start
        return f"interop: {self.passed} passed, {self.failed} failed{skipped} in {seconds:.0f} s"


def run_all(tests: list[Test], root: Path, tracker: Tracker, report: Report, args):
    def work(numbered):
        number, test = numbered
        reason = "too many failed" if report.failed >= GIVE_UP else test.skip
        if reason:
            return report.skip(test, reason)
        folder = root / f"{number:03}"
        start = time.monotonic()
        problem = run_one(test, folder, tracker)
        report.add(test, problem, time.monotonic() - start)
        if problem is None or not args.keep:
            shutil.rmtree(folder, ignore_errors=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(work, enumerate(tests)))


def run_with_tracker(tests: list[Test], root: Path, us, args) -> Report:
    """Runs the cases around one tracker, which has to survive them and to end politely."""
    report = Report(len(tests))
    house = Case("tracker", root / "tracker")
    try:
        run_all(tests, root, Tracker(house, us), report, args)
    except Failure as failure:  # without a tracker there is nothing to run
        report.fail("\n".join([str(failure), *map(tail, house.processes)]))
    finally:
        for complaint in house.stop():
            report.fail(complaint)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run only cases whose name has all of these")
    parser.add_argument("--bin", type=Path, default=HERE.parents[1] / "target/debug", help="folder of our binaries")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a case that fails")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--stand-in", action="store_true", help="let libtorrent play our part")
    args = parser.parse_args()

    us = StandIn() if args.stand_in else Shoal(args.bin.resolve())
    tests = all_tests(us, Libtorrent(), Aria2())
    tests = [test for test in tests if all(word in test.name for word in args.words)]
    if args.list:
        print("\n".join(test.name for test in tests))
        return 0

    root = Path(tempfile.mkdtemp(prefix="shoal-interop-"))
    end_all_when_told(root)
    report = None
    try:
        report = run_with_tracker(tests, root, us, args)
    finally:
        if args.keep and report and report.failed:
            print(f"kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    print(report.summary())
    return 1 if report.failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
