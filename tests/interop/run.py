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
from clients import Aria2, Libtorrent, Shoal, Tracker
from processes import Failure, Process

HERE = Path(__file__).parent
TAIL = 40  # lines of each log


def tail(process: Process, count: int = TAIL) -> str:
    lines = process.text().splitlines()
    command = " ".join(process.command)
    shown = "\n".join(f"    | {line[:300]}" for line in lines[-count:])
    return f"  {process.name}: {command}\n{shown}"


def run_one(test: Test, root: Path, tracker: Tracker) -> str | None:
    """Runs one case and ends its processes. Returns what went wrong, with the logs, or nothing."""
    case = Case(test.name, root)
    problem = None
    try:
        test.run(case, tracker)
    except Failure as failure:
        problem = str(failure)
    except Exception as error:  # a fault of the tests is a failure too, and ends no other case
        problem = f"{type(error).__name__}: {error}"
    finally:
        logs = "\n".join(tail(process) for process in case.processes)  # before they are told to end
        complaints = case.stop()
    if problem is None and complaints:
        problem = "; ".join(complaints)
        logs = "\n".join(tail(process) for process in case.processes)
    return None if problem is None else f"{problem}\n{logs}\n{tail(tracker.process, 15)}"


class Report:
    """Prints one line a case as they end, and counts."""

    def __init__(self, total: int):
        self.total = total
        self.failed: list[str] = []
        self.skipped = 0
        self.done = 0
        self.lock = threading.Lock()

    def skip(self, test: Test):
        with self.lock:
            self.done += 1
            self.skipped += 1
            print(f"{self.done:3}/{self.total} skip {test.name}: {test.skip}", flush=True)

    def add(self, test: Test, problem: str | None, seconds: float):
        with self.lock:
            self.done += 1
            verdict = "ok  " if problem is None else "FAIL"
            print(f"{self.done:3}/{self.total} {verdict} {test.name} ({seconds:.1f} s)", flush=True)
            if problem is not None:
                self.failed.append(test.name)
                print(f"    {problem}", flush=True)


def run_all(tests: list[Test], root: Path, tracker: Tracker, jobs: int, keep: bool) -> Report:
    report = Report(len(tests))

    def work(numbered):
        number, test = numbered
        if test.skip:
            return report.skip(test)
        folder = root / f"{number:03}"
        start = time.monotonic()
        problem = run_one(test, folder, tracker)
        report.add(test, problem, time.monotonic() - start)
        if problem is None or not keep:
            shutil.rmtree(folder, ignore_errors=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, enumerate(tests)))
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

    us = Libtorrent("stand-in") if args.stand_in else Shoal(args.bin.resolve())
    tests = all_tests(us, Libtorrent(), Aria2())
    tests = [test for test in tests if all(word in test.name for word in args.words)]
    if args.list:
        print("\n".join(test.name for test in tests))
        return 0

    start = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="shoal-interop-"))
    house = Case("tracker", root / "tracker")
    try:
        program = [sys.executable, HERE / "standin.py"] if args.stand_in else [us.program[0].with_name("tracker")]
        options = [] if args.stand_in else ["--listen", "127.0.0.1:0", "--data", house.folder("data")]
        tracker = Tracker(house, [*program, *options], strict=not args.stand_in)
        report = run_all(tests, root, tracker, args.jobs, args.keep)
    finally:
        complaints = house.stop()
        if not args.keep:
            shutil.rmtree(root, ignore_errors=True)
    for line in complaints:
        print(f"FAIL {line}")
    failed = len(report.failed) + len(complaints)
    passed = report.done - report.skipped - len(report.failed)
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    kept = f"; kept in {root}" if args.keep and failed else ""
    print(f"interop: {passed} passed, {failed} failed{skipped} in {time.monotonic() - start:.0f} s{kept}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
