"""Finds rqbit, and builds it with cargo when it is missing (`python rqbit.py FOLDER`, which `make bench-peers` runs).

It is built without its web page, which wants node, and with the system's OpenSSL, as its author has it by default: that
needs the headers of OpenSSL, which are installed if they are missing.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "^9.1"
FEATURES = ["--no-default-features", "--features", "default-tls"]


def find(folder: Path) -> str | None:
    """The program: in `folder`, where `install` puts it, or on the PATH."""
    program = folder / "bin" / "rqbit"
    return str(program) if program.exists() else shutil.which("rqbit")


def has_openssl() -> bool:
    try:
        return subprocess.run(["pkg-config", "--exists", "openssl"]).returncode == 0
    except OSError:
        return False


def install_openssl():
    apt = [*([] if os.geteuid() == 0 else ["sudo"]), "apt-get", "-q"]
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "install", "-y", "--no-install-recommends", "libssl-dev", "pkg-config"], check=True)


def install(folder: Path):
    if not has_openssl():
        install_openssl()
    cargo = os.environ.get("CARGO", "cargo")
    where = ["--root", folder, "--target-dir", folder / "build"]
    subprocess.run(["nice", cargo, "install", "rqbit", "--locked", "--version", VERSION, *FEATURES, *where], check=True)
    shutil.rmtree(folder / "build")


def main() -> int:
    folder = Path(sys.argv[1])
    try:
        if find(folder) is None:
            install(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"rqbit: {error}", file=sys.stderr)
        return 1
    print(f"rqbit: {find(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
