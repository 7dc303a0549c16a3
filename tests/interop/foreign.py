"""The clients of the matrix: programs that stay until they are ended, and that get peers from the tracker alone.

Each is set up as its users have it, encryption included, but that it looks for peers by no other way. A class says how the
client is installed, what its version is, and how it is started on a torrent and a folder; what is in the folder already it
checks and seeds.

uTP, which shoal does not speak, is off where it would only add a wait that says nothing: Transmission tries it for 20 s, and
WebTorrent for 40 s, before they dial by TCP.
"""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import debian
from clients import Aria2, Client, Libtorrent, free_port, make_pad_files, run
from processes import Failure, Process, wait_until

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "benches"))

import rqbit  # noqa: E402


class Foreign(Client):
    """A client of the matrix: `name` stands in its table, `where` says where it is from."""

    where: str
    formats = ("v1", "hybrid")  # a hybrid torrent is v1 to most
    ignored = (".pad",)  # padding is a file like any other to some, so a seed must have it on disk

    def install(self):
        """Does nothing if it is there."""

    def version(self) -> str:
        raise NotImplementedError

    def seed(self, case, torrent: Path, folder: Path, peers=(), up: int = 0) -> Process:
        if "v2" not in self.formats:
            make_pad_files(torrent, folder)
        return self.share(case, "seed", torrent, folder)

    def download(self, case, torrent: Path, folder: Path, peers=(), stay: bool = True, name="leecher", files="") -> Process:
        return self.share(case, name, torrent, folder)

    def share(self, case, name: str, torrent: Path, folder: Path) -> Process:
        """Starts it in a home of its own: `name` is the part that it plays."""
        raise NotImplementedError


class Packaged(Foreign):
    """A client out of a Debian release."""

    packages: tuple[str, ...]

    def __init__(self, release: str):
        self.release = release
        self.where = debian.RELEASES[release]

    def install(self):
        debian.unpack(self.release, list(self.packages))

    def version(self) -> str:
        versions = debian.versions(self.release)
        return " with libtorrent ".join(versions[name] for name in (self.packages[0], *self.libraries(versions)))

    def libraries(self, versions: dict[str, str]) -> list[str]:
        """Packages whose version matters as much as the client's own."""
        return []


class Transmission(Packaged):
    packages = ("transmission-daemon",)

    def __init__(self, release: str):
        super().__init__(release)
        if release == "bookworm":
            self.name = "Transmission 3"
            self.formats = ("v1",)  # to it every hybrid, libtorrent's too, is a corrupted torrent
            self.makes_empty_files = False
        else:
            self.name = "Transmission 4"

    def share(self, case, name, torrent, folder):
        home = case.folder(f"{name}-home")
        settings = {
            "bind-address-ipv4": self.host,
            "dht-enabled": False,
            "download-dir": str(folder),
            "lpd-enabled": False,
            "pex-enabled": False,
            "peer-port": free_port(),
            "port-forwarding-enabled": False,
            "rename-partial-files": False,
            "rpc-enabled": False,
            "utp-enabled": False,
            "watch-dir": str(watched(case, name, torrent)),
            "watch-dir-enabled": True,
        }
        (home / "settings.json").write_text(json.dumps(settings))
        program = debian.command(self.release, "usr/bin/transmission-daemon")
        return case.start(f"{self.name} {name}", [*program, "--foreground", "--config-dir", home, "--log-debug"])


def watched(case, name: str, torrent: Path) -> Path:
    """A folder with a copy of the torrent: a client that watches it may rename or remove it."""
    folder = case.folder(f"{name}-watched")
    (folder / "shared.torrent").write_bytes(torrent.read_bytes())
    return folder


class Rtorrent(Packaged):
    name = "rTorrent"
    packages = ("rtorrent",)

    def share(self, case, name, torrent, folder):
        home = case.folder(f"{name}-home")
        port = free_port()
        lines = [
            "system.daemon.set = true",
            f"network.bind_address.set = {self.host}",
            f"network.port_range.set = {port}-{port}",
            "network.port_random.set = no",
            "dht.mode.set = disable",
            "protocol.pex.set = no",
            "trackers.use_udp.set = no",
            f'directory.default.set = "{folder}"',
            f'session.path.set = "{home}"',
            f'log.open_file = "log", "{home}/log"',
            'log.add_output = "info", "log"',
            f'schedule2 = load, 0, 0, ((load.start, "{torrent}"))',
        ]
        settings = home / "rtorrent.rc"
        settings.write_text("".join(line + "\n" for line in lines))
        program = debian.command(self.release, "usr/bin/rtorrent")
        return case.start(f"{self.name} {name}", [*program, "-n", "-o", f"import={settings}"])


class WithLibtorrent(Packaged):
    """A face of libtorrent 2.0."""

    formats = ("v1", "hybrid", "v2")

    def libraries(self, versions):
        return [name for name in versions if re.fullmatch(r"libtorrent-rasterbar[0-9.]+(t64)?", name)]


class Qbittorrent(WithLibtorrent):
    packages = ("qbittorrent-nox",)

    def __init__(self, release: str, name: str, paused: str):
        super().__init__(release)
        self.name = name
        self.paused = paused

    def share(self, case, name, torrent, folder):
        home = case.folder(f"{name}-home")
        settings = {
            "LegalNotice": {"Accepted": "true"},
            "Preferences": {r"WebUI\Address": "127.0.0.1", r"WebUI\Port": free_port(), r"WebUI\LocalHostAuth": "false"},
            "BitTorrent": {
                r"Session\DHTEnabled": "false",
                r"Session\LSDEnabled": "false",
                r"Session\PeXEnabled": "false",
                r"Session\Port": free_port(),
                r"Session\UseUPnP": "false",
                r"Session\InterfaceAddress": self.host,
            },
            "Network": {"PortForwardingEnabled": "false"},
        }
        path = home / "qBittorrent/config/qBittorrent.conf"
        path.parent.mkdir(parents=True)
        with path.open("w") as out:
            for section, values in settings.items():
                out.write(f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in values.items()))
        program = debian.command(self.release, "usr/bin/qbittorrent-nox")
        where = [f"--profile={home}", f"--save-path={folder}", f"--add-{self.paused}=false", "--skip-dialog=true"]
        return case.start(f"{self.name} {name}", [*program, *where, torrent])


class Deluge(WithLibtorrent):
    """A daemon, and a console that tells it what to do."""

    packages = ("deluged", "deluge-console")

    def __init__(self, release: str, name: str):
        super().__init__(release)
        self.name = name

    def share(self, case, name, torrent, folder):
        home = case.folder(f"{name}-home")
        port, control = free_port(), free_port()
        settings = {
            "add_paused": False,
            "daemon_port": control,
            "dht": False,
            "listen_interface": self.host,
            "listen_ports": [port, port],
            "lsd": False,
            "natpmp": False,
            "new_release_check": False,
            "outgoing_interface": self.host,
            "random_port": False,
            "upnp": False,
            "utpex": False,
        }
        (home / "core.conf").write_text(json.dumps({"file": 1, "format": 1}) + json.dumps(settings))
        (home / "auth").write_text("localclient:secret:10\n")
        python, environment = debian.python(self.release)
        binaries = debian.UNPACKED / self.release / "usr/bin"
        daemon = [*python, binaries / "deluged", "--do-not-daemonize", "--config", home, "--loglevel", "info"]
        process = case.start(f"{self.name} {name}", daemon, environment=environment)
        wait_until(lambda: answers(process, control), f"{process.name} to take orders")
        console = [*python, binaries / "deluge-console", "--config", home, "--daemon", "127.0.0.1", "--port", control]
        order = ["--username", "localclient", "--password", "secret", f"add --path '{folder}' '{torrent}'"]
        run([*console, *order], f"{self.name} add", environment)
        return process


def answers(process: Process, port: int) -> bool:
    if process.process.poll() is not None:
        raise Failure(f"{process.name} ended with status {process.process.returncode}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Rqbit(Foreign):
    name = "rqbit"
    where = "cargo"

    def __init__(self, folder: Path):
        self.folder = folder

    def install(self):
        if rqbit.find(self.folder) is None:
            rqbit.install(self.folder)

    def version(self) -> str:
        said = subprocess.run([rqbit.find(self.folder), "--version"], capture_output=True, text=True, timeout=20).stdout
        return said.split()[-1]

    def share(self, case, name, torrent, folder):
        port = free_port()
        alone = ["--disable-dht", "--disable-lsd", "--disable-upnp-port-forward", "--ipv4-only"]
        listen = ["--listen-ip", self.host, "--listen-port", port, "--announce-port", port]
        share = ["download", "--disable-http-api", "--overwrite", "-o", folder, torrent]
        return case.start(f"{self.name} {name}", [rqbit.find(self.folder), *alone, *listen, *share])


class WebTorrent(Foreign):
    """The library in Node.js, without its WebRTC: what that is made of comes from outside of the registry."""

    name = "WebTorrent"
    where = "npm"
    makes_empty_files = False  # not all of them
    installed = debian.VENV / "webtorrent"

    def install(self):
        for part in ("package.json", "client.mjs", "no-webrtc/package.json", "no-webrtc/index.js"):
            target = self.installed / part
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((HERE / "webtorrent" / part).read_bytes())
        if (self.installed / "node_modules/webtorrent").exists():
            return
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        subprocess.run(["npm", "install", *quiet], cwd=self.installed, check=True, stdout=subprocess.DEVNULL)

    def version(self) -> str:
        return json.loads((self.installed / "node_modules/webtorrent/package.json").read_text())["version"]

    def share(self, case, name, torrent, folder):
        return case.start(f"{self.name} {name}", ["node", self.installed / "client.mjs", torrent, folder, free_port()])


class NewestLibtorrent(Libtorrent):
    """The one that plays our part in control runs too."""

    name = "libtorrent 2.1"
    where = "PyPI"
    python = Path(sys.executable)

    def install(self):
        """The venv in which this runs has it."""

    def version(self) -> str:
        command = [self.python, "-c", "import libtorrent; print(libtorrent.__version__)"]
        try:
            return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""


class OlderLibtorrent(NewestLibtorrent):
    """Debian 13's version. It asks for the last block of a v2 file as a whole 16 KiB; 2.0.15 does not any more."""

    name = "libtorrent 2.0"
    python = debian.VENV / "libtorrent-2.0/bin/python"
    program = [python, HERE / "libtorrent_client.py"]

    def install(self):
        if not self.version().startswith("2.0.11"):
            subprocess.run([sys.executable, "-m", "venv", "--clear", self.python.parents[1]], check=True)
            subprocess.run([self.python, "-m", "pip", "install", "--quiet", "libtorrent==2.0.11"], check=True)


class PackagedAria2(Aria2, Packaged):
    packages = ("aria2",)

    def __init__(self, release: str, name: str, formats: tuple[str, ...]):
        Packaged.__init__(self, release)
        self.name = name
        self.formats = formats

    @property
    def program(self) -> list[str]:
        return debian.command(self.release, "usr/bin/aria2c")


def all_clients(peers: Path) -> list:
    """Every client of the matrix. `peers` is the folder in which rqbit is built."""
    return [
        NewestLibtorrent(),
        OlderLibtorrent(),
        PackagedAria2("bookworm", "aria2 1.36", ("v1",)),  # it gets the info-hash of hybrids wrong (aria2.py)
        PackagedAria2("trixie", "aria2 1.37", ("v1", "hybrid")),
        Transmission("bookworm"),
        Transmission("trixie"),
        Rtorrent("bookworm"),
        Qbittorrent("bookworm", "qBittorrent 4", "paused"),
        Qbittorrent("trixie", "qBittorrent 5", "stopped"),
        Deluge("bookworm", "Deluge 2.0"),
        Deluge("trixie", "Deluge 2.2"),
        Rqbit(peers),
        WebTorrent(),
    ]
