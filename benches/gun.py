"""The tracker of the benchmark: a starting gun. It holds the leechers' announces until all of them have come, and then tells
everybody of everybody.

So no client gains by a quick start, each finds its peers as it would in life, and all are treated alike: some clients can be
told of peers on their command line, aria2 cannot. It runs in threads of the benchmark's own process, and knows one swarm at a
time, whatever the info-hash (libtorrent announces a hybrid torrent twice).

The clock starts when two of the swarm have a connection (`first_connection`), which leaves out how long a client waits before
it dials: libtorrent does at a tick of its clock, up to a tenth of a second later.
"""

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_to_bytes, urlsplit

import connections
from processes import Failure
from standin import bencode

POLL = 0.001  # seconds; the error of the clock
PATIENCE = 15.0  # seconds; the clients give an announce 20 or more
ALIVE = 0.2  # seconds between looks whether a process has died
INTERVAL = 1800  # seconds; nobody asks again during a run


class StartingGun:
    """Who has come, by the port each listens on."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/announce"
        self.lock = threading.Lock()
        self.reset(0)
        threading.Thread(target=self.server.serve_forever, name="tracker", daemon=True).start()

    def reset(self, leechers: int):
        """A new swarm, which starts when that many leechers have announced themselves."""
        with self.lock:
            self.expected, self.fired, self.fired_at = leechers, threading.Event(), 0.0
            self.seeds: set[int] = set()
            self.leechers: set[int] = set()

    def ports(self) -> set[int]:
        with self.lock:
            return self.seeds | self.leechers

    def announce(self, query: dict[str, bytes]) -> bytes:
        port = int(query["port"])
        if query.get("event") == b"stopped":
            return self.answer(set())
        with self.lock:
            fired = self.fired
            if query.get("left") == b"0":
                self.seeds.add(port)
            else:
                self.leechers.add(port)
            if len(self.leechers) >= self.expected and not fired.is_set():
                self.fired_at = time.monotonic()
                fired.set()
        if query.get("left") != b"0":
            fired.wait(PATIENCE)
        return self.answer(self.ports() - {port})

    def answer(self, ports: set[int]) -> bytes:
        peers = b"".join(socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big") for port in sorted(ports))
        return bencode({b"interval": INTERVAL, b"peers": peers})

    def handler(self) -> type[BaseHTTPRequestHandler]:
        gun = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                pairs = (pair.split("=", 1) for pair in urlsplit(self.path).query.split("&") if "=" in pair)
                body = gun.announce({key: unquote_to_bytes(value) for key, value in pairs})
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # a client that goes does not wait for the answer

            def log_message(self, form, *args):
                pass

        return Handler

    def first_connection(self, look: Callable[[], None], limit: float) -> float:
        """Waits until two of the swarm are connected, and returns the last moment when they were not, or that of the shot: a
        benchmark that is kept from looking makes nobody faster. `look` fails if anybody has died."""
        end = time.monotonic() + limit
        while not self.fired.wait(ALIVE):
            look()
            if time.monotonic() > end:
                raise Failure(f"{len(self.leechers)} of {self.expected} leechers announced themselves")
        start = self.fired_at
        while True:
            now = time.monotonic()
            if not connections.local_ports().isdisjoint(self.ports()):
                return start
            start = now
            if now > end:
                look()
                raise Failure("nobody connected to anybody")
            time.sleep(POLL)
