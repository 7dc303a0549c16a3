"""A stand-in for our tracker, so that the tests can be tried without our binaries (`run.py --stand-in`).

It knows HTTP announces and scrapes (BEP 3, 23, 48) and forgets nobody but those who say `stopped`.
"""

import socket
import sys
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_to_bytes, urlsplit

swarms: dict[bytes, dict[bytes, bool]] = defaultdict(dict)  # info-hash -> compact address -> is a seed


def bencode(value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        pairs = (pair.split("=", 1) for pair in url.query.split("&") if "=" in pair)
        query = {key: unquote_to_bytes(value) for key, value in pairs}
        answer = self.announce(query) if url.path == "/announce" else self.scrape(query)
        body = bencode(answer)
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # a client that goes does not wait for the answer

    def announce(self, query):
        swarm = swarms[query["info_hash"]]
        me = socket.inet_aton(self.client_address[0]) + int(query["port"]).to_bytes(2, "big")
        if query.get("event") == b"stopped":
            swarm.pop(me, None)
        else:
            swarm[me] = query["left"] == b"0"
        return {b"interval": 60, b"peers": b"".join(peer for peer in list(swarm) if peer != me)}

    def scrape(self, query):
        swarm = swarms.get(query["info_hash"], {})
        seeds = sum(swarm.values())
        counts = {b"complete": seeds, b"incomplete": len(swarm) - seeds, b"downloaded": 0}
        return {b"files": {query["info_hash"]: counts}}

    def log_message(self, form, *args):
        if not self.path.startswith("/scrape"):  # the tests poll it
            print(form % args, file=sys.stderr, flush=True)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"tracker listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
