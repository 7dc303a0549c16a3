"""The machine as a reader of the figures must know it."""

import os
import re
from pathlib import Path

QUIET = 0.5  # processes that ran in the last minute, on average
TELLING = ("sha_ni", "avx2", "avx512f", "sha1", "sha2")


def describe(hidden_sha: bool) -> str:
    """Processor, cores, and the instructions that hashing depends on."""
    info = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", info)
    flags = re.search(r"(?:flags|Features)\s*: (.*)", info)
    known = [flag for flag in TELLING if flags and flag in flags[1].split()]
    hidden = "; the SHA instructions are hidden from those that come with OpenSSL or nettle" if hidden_sha else ""
    return f"{name[1] if name else os.uname().machine}, {os.cpu_count()} cores ({', '.join(known)}){hidden}, load before: {load():.2f}"


def has_sha() -> bool:
    """Whether the processor has SHA instructions."""
    return bool({"sha_ni", "sha1", "sha2"} & set(Path("/proc/cpuinfo").read_text().split()))


def load() -> float:
    return os.getloadavg()[0]


def unrest() -> list[str]:
    """A note if others are busy on the machine."""
    if load() <= QUIET:
        return []
    return [f"the machine is not quiet (load {load():.2f}): only the ratios mean something, and they less"]
