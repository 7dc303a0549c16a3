"""Programs out of Debian's packages, unpacked and not installed: those of another release run too, with their own libraries.

    unpack("trixie", ["aria2"])         # downloads what is missing, checked by apt
    command("trixie", "usr/bin/aria2c")  # how to start it

The packages of one release share a folder of the venv, with all that they depend on down to the C library, so that nothing
of this system is used but its kernel, and nothing of it is changed.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
SUITE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {release} main\n"
VENV = Path(__file__).parent / ".venv"
UNPACKED = VENV / "debian"
LISTED = "packages"  # beside what was unpacked: a line of name and version for each package


class NoArchive(OSError):
    """There is no Debian to get packages from."""


def versions(release: str) -> dict[str, str]:
    """Version of each package that is unpacked."""
    listed = UNPACKED / release / LISTED
    return dict(line.split() for line in listed.read_text().splitlines()) if listed.exists() else {}


def command(release: str, program: str) -> list[str]:
    """How to start an unpacked program: by its own loader, with its own libraries."""
    root = UNPACKED / release
    loaders = sorted([*root.glob("lib*/ld-linux*.so.*"), *root.glob("usr/lib*/ld-linux*.so.*")])
    libraries = sorted([*root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu")])
    libraries += sorted(root.glob("usr/lib/*-linux-gnu/libproxy"))  # what needs it has its absolute path
    return [str(loaders[0]), "--library-path", ":".join(map(str, libraries)), str(root / program)]


def python(release: str) -> tuple[list[str], dict[str, str]]:
    """How to start the unpacked Python, and the environment by which it finds its modules."""
    home = UNPACKED / release / "usr"
    program = max(home.glob("bin/python3.*"), key=lambda path: len(path.name))
    return command(release, f"usr/bin/{program.name}"), {"PYTHONHOME": str(home), "PYTHONNOUSERSITE": "1"}


def mirror() -> str:
    """Where this machine gets its Debian packages from."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    archives = [uri for uri in targets.stdout.split() if uri.rstrip("/").endswith("/debian")]
    if not archives:
        raise NoArchive("this machine has no Debian archive among its package sources")
    return archives[0]


def unpack(release: str, packages: list[str]):
    """Downloads packages and all that they need, and unpacks them; nothing if they are there."""
    if set(packages) <= versions(release).keys():
        return
    wanted = sorted({*packages, *versions(release)})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        (root / "sources.list").write_text(SUITE.format(mirror=mirror(), release=release))
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
        fetch = ["install", "-y", "--no-install-recommends", "--download-only", *wanted]
        subprocess.run([*apt, *fetch], check=True, stdout=subprocess.DEVNULL)
        unpack_all(sorted((root / "cache/archives").glob("*.deb")), UNPACKED / release)


def unpack_all(packages: list[Path], target: Path):
    """The list is written last: a folder without it is one whose unpacking was broken off."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    lines = []
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, target], check=True)
        name, version, _ = package.name.split("_")
        version = re.sub("^[0-9]+%3a", "", version)  # the epoch
        lines.append(f"{name} {version}\n")
    (target / LISTED).write_text("".join(lines))
