"""torf's creation of a torrent, timed inside the process: no interpreter's start counts.

    torf_create.py DATA TORRENT PIECE_LENGTH
"""

import json
import sys
import time

import torf


def main():
    if sys.argv[1:] == ["--version"]:
        print("torf", torf.__version__)
        return
    data, path, piece_length = sys.argv[1:]
    wall, cpu = time.monotonic(), time.process_time()
    torrent = torf.Torrent(path=data, piece_size_max=int(piece_length))
    torrent.piece_size = int(piece_length)
    torrent.generate()
    torrent.write(path)
    print(json.dumps({"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
