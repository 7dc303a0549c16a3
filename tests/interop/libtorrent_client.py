"""One libtorrent session as a process, with the command line of our own `torrent`.

    libtorrent_client.py create PATH -o FILE [--tracker URL] [--format hybrid|v2|v1] [--piece-length N]
    libtorrent_client.py seed FILE DIR [--peer IP:PORT]... [--trust] [--fast]
    libtorrent_client.py download FILE -d DIR [--peer IP:PORT]... [--files 1,3] [--seed] [--fast]

It prints `listening on IP:PORT`, then `connected` at the first peer, `complete` when it has everything, and at
the end its payload counters as one JSON line. A download ends by itself unless `--seed` is given; SIGTERM ends it
at any time. Everything that looks for peers by itself is off, and so are uTP and encryption: shoal speaks plain TCP.
"""

import argparse
import json
import os
import signal
import sys
import threading
import warnings

import libtorrent as lt

warnings.filterwarnings("ignore", category=DeprecationWarning)

CREATE_FLAGS = {"hybrid": 0, "v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only}

LOG_ALERTS = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.peer_notification
    | lt.alert.category_t.tracker_notification
    | lt.alert.category_t.connect_notification
    | lt.alert.category_t.peer_log_notification
)

SETTINGS = {
    "user_agent": "interop-libtorrent",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "in_enc_policy": int(lt.enc_policy.disabled),
    "out_enc_policy": int(lt.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,  # on loopback every peer has the same address
    "min_reconnect_time": 1,
    "tick_interval": 100,  # peers are dialled at a tick: ten a second rather than two
    "stop_tracker_timeout": 1,
}

# For few peers on a fast network (`--fast`): more in the send buffer, and a hashing thread for each core.
FAST = {
    "send_buffer_low_watermark": 1 << 20,
    "send_buffer_watermark": 4 << 20,
    "send_buffer_watermark_factor": 150,
    "hashing_threads": os.cpu_count(),
}


def create(args):
    files = lt.list_files(args.path)
    torrent = lt.create_torrent(files, args.piece_length, CREATE_FLAGS[args.format])
    for url in args.tracker:
        torrent.add_tracker(url)
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(args.path)))
    with open(args.output, "wb") as out:
        out.write(lt.bencode(torrent.generate()))


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def parameters(args):
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(args.file)
    params.save_path = args.dir
    params.peers = [endpoint(peer) for peer in args.peer]
    params.upload_limit = args.up
    params.download_limit = args.down
    # An auto-managed torrent may be queued behind others; there are no others.
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if args.trust:
        params.flags |= lt.torrent_flags.seed_mode
    if args.files:
        numbers = real_files(params.ti)  # as people count: pad files apart
        chosen = {numbers[int(number) - 1] for number in args.files.split(",")}
        params.file_priorities = [4 if index in chosen else 0 for index in range(params.ti.num_files())]
    return params


def real_files(info):
    layout = info.files()
    return [index for index in range(info.num_files()) if not layout.file_flags(index) & lt.file_flags_t.flag_pad_file]


def worth_saying(alert):
    """Of what goes on with a peer only the messages and the end; the rest is many lines a block."""
    if not isinstance(alert, lt.peer_log_alert):
        return True
    return any(mark in alert.message() for mark in ("==>", "<==", "CLOSED", "INVALID", "hash failure"))


def say(line):
    print(line, flush=True)


def share(args):
    """Runs the session until it is told to stop, or, for a download that need not stay, until it has all."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    wanted = LOG_ALERTS if args.verbose else lt.alert.category_t.connect_notification
    wanted |= lt.alert.category_t.status_notification | lt.alert.category_t.storage_notification
    settings = dict(SETTINGS, listen_interfaces=args.listen, alert_mask=int(wanted))
    session = lt.session(settings | FAST if args.fast else settings)
    handle = session.add_torrent(parameters(args))
    status = follow(session, handle, stop, args)
    say(json.dumps({"uploaded": status.total_payload_upload, "downloaded": status.total_payload_download}))
    # All data is flushed. The session's own tear-down would only wait: it says goodbye to its trackers.
    sys.stdout.flush()
    os._exit(0 if status.is_finished else 1)  # all that it wanted


def follow(session, handle, stop, args):
    """Prints what happens until it is time to go, and returns the last status."""
    connected = flushing = complete = False
    while not stop.is_set():
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if args.verbose and worth_saying(alert):
                say(f"{type(alert).__name__}: {alert.message()}")
            if isinstance(alert, lt.torrent_checked_alert):
                say(f"listening on {endpoint(args.listen)[0]}:{session.listen_port()}")  # before that it turns peers away
            if isinstance(alert, lt.peer_connect_alert) and not connected:
                connected = True
                say("connected")
            if isinstance(alert, lt.torrent_finished_alert) and not flushing:
                flushing = True
                handle.flush_cache()
            if isinstance(alert, lt.cache_flushed_alert) and flushing and not complete:
                complete = True
                say("complete")
                if args.action == "download" and not args.seed:
                    return handle.status()
            if isinstance(alert, (lt.torrent_error_alert, lt.listen_failed_alert)):
                sys.exit(alert.message())
    return handle.status()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    make = actions.add_parser("create")
    make.add_argument("path")
    make.add_argument("-o", "--output", required=True)
    make.add_argument("--tracker", action="append", default=[])
    make.add_argument("--format", choices=CREATE_FLAGS, default="hybrid")
    make.add_argument("--piece-length", type=int, default=0)

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--peer", action="append", default=[])
    shared.add_argument("--listen", default="127.0.0.1:0")
    shared.add_argument("--up", type=int, default=0, help="bytes a second")
    shared.add_argument("--down", type=int, default=0, help="bytes a second")
    shared.add_argument("--trust", action="store_true", help="do not hash the data first (seed_mode)")
    shared.add_argument("--files", default="", help="numbers from 1 on; without, all")
    shared.add_argument("--fast", action="store_true", help="settings for few peers on a fast network")
    shared.add_argument("-v", "--verbose", action="store_true", help="print every alert")
    seed = actions.add_parser("seed", parents=[shared])
    seed.add_argument("file")
    seed.add_argument("dir")
    download = actions.add_parser("download", parents=[shared])
    download.add_argument("file")
    download.add_argument("-d", "--dir", required=True)
    download.add_argument("--seed", action="store_true", help="stay when complete")

    args = parser.parse_args()
    create(args) if args.action == "create" else share(args)


if __name__ == "__main__":
    main()
