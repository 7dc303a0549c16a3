"""What a run is measured by, and how that is read from the system."""

import os
import re
import statistics
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path

from processes import Failure, Process

POLL = 0.002  # seconds; the error of the clock
LOOK = 0.01  # seconds between looks at the memory of a process that ends by itself
MIB = 1 << 20


@dataclass
class Figures:
    """One run, or the medians of several."""

    wall: float  # seconds
    cpu: float  # seconds, of all ends together
    memory: float  # MiB, the largest resident set of a leecher, or of the process that creates or verifies
    seed_memory: float = 0.0  # MiB, the largest resident set of a seed
    bytes: float = 0.0  # verified, at all leechers together
    synced: float = 0.0  # seconds until the copies are safe on the disk, if that was waited for

    def rate(self) -> float:
        """MiB a second."""
        return self.bytes / MIB / self.wall

    def cpu_per_gib(self) -> float:
        return self.cpu / (self.bytes / (1 << 30))


def medians(runs: list[Figures]) -> Figures:
    """The median of each figure by itself."""
    names = [field.name for field in fields(Figures)]
    return Figures(**{name: statistics.median(getattr(run, name) for run in runs) for name in names})


def cpu_so_far(process: Process) -> float:
    """User and system seconds of a process that runs."""
    stat = Path(f"/proc/{process.process.pid}/stat").read_text()
    spent = stat.rpartition(")")[2].split()
    return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(process: Process) -> float:
    """The largest resident set of a process so far, MiB; 0 when it has ended.

    Not `ru_maxrss`: Linux lets a new program begin with that of the process it was forked from, which is our own.
    """
    try:
        status = Path(f"/proc/{process.process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) / 1024 if peak else 0.0


def reap(process: Process, limit: float) -> float:
    """Waits for the end of a process and returns the seconds of CPU that it used."""
    end = time.monotonic() + limit
    while True:
        pid, status, usage = os.wait4(process.process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            raise Failure(f"{process.name} was not done after {limit:.0f} s")
        time.sleep(POLL)
    process.process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def reap_and_watch(process: Process, limit: float) -> tuple[float, float]:
    """The same for a process that ends by itself; also the peak of its memory, as it was at the last look."""
    done, peak = threading.Event(), 0.0

    def watch():
        nonlocal peak
        while not done.wait(LOOK):
            peak = max(peak, peak_memory(process))

    watcher = threading.Thread(target=watch, name="memory")
    watcher.start()
    try:
        return reap(process, limit), peak
    finally:
        done.set()
        watcher.join()
