"""libtorrent under test: carries out one order of the experiment after the other. Orders come as JSON, one a line, on
standard input; each has one answer of one line. When standard input ends, so does this.

    {"order": "serve", "torrent": BASE64, "dir": DIR}                            "serving"
    {"order": "fetch", "torrent": BASE64, "dir": DIR, "peers": [...], "limit": S}  {"fetched": {"seconds": ..., "received": ..., "sent": ...}}

One session serves. Each fetch has a session of its own, which runs when the clock starts. The clock stops when every hash
is checked and every byte written.

Told of a peer, libtorrent connects to it once a second; told of it by a tracker, it connects at once, if it does not miss the
moment. So that what is measured is not that wait, it hears of the peers from a tracker, one in here which knows nothing else,
and ticks ten times a second rather than two. Everything else that looks for peers is off, and so are uTP and encryption. The
rest are libtorrent's defaults.
"""

import base64
import json
import os
import queue
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(value):
    print(json.dumps(value), flush=True)


try:
    import libtorrent as lt
except ImportError as error:
    answer({"failed": str(error)})
    sys.exit(1)

SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(lt.enc_policy.disabled),
    "out_enc_policy": int(lt.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,  # all roles may be on one machine
    "stop_tracker_timeout": 1,
    "tick_interval": 100,
    "alert_mask": int(
        lt.alert.category_t.error_notification
        | lt.alert.category_t.status_notification
        | lt.alert.category_t.storage_notification
    ),
}
PATIENCE = 60.0  # seconds; for what takes no time


class Failed(Exception):
    """An order that was not carried out."""


class Tracker(BaseHTTPRequestHandler):
    """Names the peers of the one torrent that is being fetched."""

    peers: list = []

    def do_GET(self):
        body = lt.bencode({b"interval": 3600, b"peers": Tracker.peers})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class TrackerServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A session that ends does not wait for the answer to its goodbye."""


def start_tracker() -> str:
    server = TrackerServer(("127.0.0.1", 0), Tracker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/announce"


def start_session(listen: str) -> lt.session:
    host, port = listen.rsplit(":", 1)
    if port == "0":  # libtorrent would take another one for each interface
        with socket.create_server((host.strip("[]"), 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
            port = free.getsockname()[1]
    session = lt.session(dict(SETTINGS, listen_interfaces=f"{host}:{port}"))
    end = time.monotonic() + PATIENCE
    while not session.listen_port():
        if time.monotonic() > end:
            raise Failed(f"cannot listen on {listen}")
        time.sleep(0.002)
    return session


def wait_for(session: lt.session, kind: type, limit: float):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, kind):
                return alert
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                raise Failed(alert.message())
    raise Failed(f"waited {limit:.0f} s for libtorrent's {kind.__name__}")


def parameters(order: dict) -> lt.add_torrent_params:
    params = lt.load_torrent_buffer(base64.b64decode(order["torrent"]))
    params.save_path = order["dir"]
    # An auto-managed torrent may be queued behind others.
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return params


def serve(session: lt.session, order: dict):
    params = parameters(order)
    params.flags |= lt.torrent_flags.seed_mode  # the harness has compared the content
    session.add_torrent(params)
    wait_for(session, lt.torrent_checked_alert, PATIENCE)
    return "serving"


def fetch(session: lt.session, tracker: str, order: dict):
    Tracker.peers = [{b"ip": peer["ip"].encode(), b"port": peer["port"]} for peer in order["peers"]]
    start = time.monotonic()
    params = parameters(order)
    params.trackers = [tracker]
    handle = session.add_torrent(params)
    wait_for(session, lt.torrent_finished_alert, order["limit"])
    handle.flush_cache()
    wait_for(session, lt.cache_flushed_alert, PATIENCE)
    seconds = time.monotonic() - start
    session.remove_torrent(handle)
    wait_for(session, lt.torrent_removed_alert, PATIENCE)
    session.post_session_stats()
    values = wait_for(session, lt.session_stats_alert, PATIENCE).values
    # Payload and protocol, without what TCP and IP add; what the tracker was told is counted apart.
    return {"fetched": {"seconds": seconds, "received": values["net.recv_bytes"], "sent": values["net.sent_bytes"]}}


def read_orders() -> queue.Queue:
    """The orders as they come. The end of them is the end of this process, whatever it is doing."""
    orders: queue.Queue = queue.Queue()

    def read():
        for line in sys.stdin:
            orders.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return orders


def main():
    listen = sys.argv[1]
    orders = read_orders()
    tracker = start_tracker()
    try:
        serving = start_session(listen)
        answer({"listening": {"port": serving.listen_port()}})
        while True:
            order = orders.get()
            if order["order"] == "serve":
                answer(serve(serving, order))
            else:
                answer(fetch(start_session(f"{listen.rpartition(':')[0]}:0"), tracker, order))
    except (Failed, RuntimeError) as error:
        answer({"failed": str(error)})
        sys.stdout.flush()
        os._exit(1)


main()
