"""Finds aria2, and installs it when it is missing or too old (`python aria2.py`, which `make interop` runs).

aria2 before 1.37 leaves the empty key out when it re-encodes a v2 file tree, so it gets the info-hash of every hybrid
wrong (its pull request 1905) and finds nobody. Debian 12 has such an aria2; Debian 13's runs there too, with the
libraries it was built for. So the packages of Debian 13 are unpacked, not installed, in a folder of the venv.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KNOWS_HYBRID = (1, 37)
SUITE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} trixie main\n"
UNPACKED = Path(__file__).parent / ".venv" / "aria2"


def version(command: list[str]) -> tuple[int, ...]:
    """What `command --version` says, or (0,) if it does not run."""
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=20).stdout
    except OSError:
        return (0,)
    match = re.search(r"aria2 version (\d+)\.(\d+)", said)
    return tuple(int(part) for part in match.groups()) if match else (0,)


def unpacked() -> list[str] | None:
    """The command of the unpacked aria2: started by its own loader, with its own libraries."""
    program = UNPACKED / "usr/bin/aria2c"
    loaders = sorted(UNPACKED.glob("usr/lib*/ld-linux*.so.*"))
    libraries = sorted(UNPACKED.glob("usr/lib/*-linux-gnu"))
    if not (program.exists() and loaders and libraries):
        return None
    return [str(loaders[0]), "--library-path", ":".join(map(str, libraries)), str(program)]


def find() -> tuple[list[str] | None, bool]:
    """The command of the best aria2 there is, and whether it knows hybrid torrents."""
    candidates = [command for command in (["aria2c"], unpacked()) if command and version(command) != (0,)]
    best = max(candidates, key=version, default=None)
    return best, best is not None and version(best) >= KNOWS_HYBRID


def mirror() -> str:
    """Where this machine gets its Debian packages from."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    archives = [uri for uri in targets.stdout.split() if uri.rstrip("/").endswith("/debian")]
    if not archives:
        raise OSError("this machine has no Debian archive among its package sources")
    return archives[0]


def unpack_newer():
    """Downloads aria2 and all it needs from Debian 13, checked by apt, and unpacks it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        (root / "sources.list").write_text(SUITE.format(mirror=mirror()))
        (root / "status").touch()  # as if nothing were installed: the libraries come too
        options = {
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": root / "state",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "APT::Sandbox::User": "",
        }
        apt = ["apt-get", "-q"] + [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
        fetch = ["install", "-y", "--no-install-recommends", "--download-only", "aria2"]
        subprocess.run([*apt, *fetch], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(UNPACKED, ignore_errors=True)
        UNPACKED.mkdir(parents=True)
        for package in sorted((root / "cache/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, UNPACKED], check=True)


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
