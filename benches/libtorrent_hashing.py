"""libtorrent's `set_piece_hashes` and its recheck, timed inside the process: no interpreter's start counts.

    libtorrent_hashing.py create DATA TORRENT FORMAT PIECE_LENGTH
    libtorrent_hashing.py verify TORRENT FOLDER [--fast]

Prints one line of JSON, seconds of wall time and of CPU. The recheck is what libtorrent does when a torrent is added to a
session without resume data.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "interop"))

import libtorrent as lt  # noqa: E402
from libtorrent_client import CREATE_FLAGS, FAST, SETTINGS  # noqa: E402

LIMIT = 600.0


class Clock:
    def __enter__(self):
        self.wall, self.cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.monotonic() - self.wall, time.process_time() - self.cpu


def create(data: str, torrent: str, form: str, piece_length: str) -> Clock:
    with Clock() as clock:
        made = lt.create_torrent(lt.list_files(data), int(piece_length), CREATE_FLAGS[form])
        lt.set_piece_hashes(made, os.path.dirname(data))
        Path(torrent).write_bytes(lt.bencode(made.generate()))
    return clock


def verify(torrent: str, folder: str, *options: str) -> Clock:
    mask = int(lt.alert.category_t.status_notification | lt.alert.category_t.error_notification)
    settings = SETTINGS | {"listen_interfaces": "127.0.0.1:0", "alert_mask": mask}
    session = lt.session(settings | FAST if "--fast" in options else settings)
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.trackers = []
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    with Clock() as clock:
        handle = session.add_torrent(params)
        while not any(isinstance(alert, lt.torrent_checked_alert) for alert in session.pop_alerts()):
            session.wait_for_alert(200)
            if time.monotonic() - clock.wall > LIMIT:
                sys.exit("the recheck did not end")
    if not handle.status().is_seeding:
        sys.exit("the recheck found something missing")
    return clock


def main():
    action, *arguments = sys.argv[1:]
    clock = {"create": create, "verify": verify}[action](*arguments)
    print(json.dumps({"wall": clock.wall, "cpu": clock.cpu}), flush=True)
    os._exit(0)  # a session's tear-down would only wait


if __name__ == "__main__":
    main()
