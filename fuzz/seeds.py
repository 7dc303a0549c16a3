#!/usr/bin/env python3
"""Writes the seeds of every fuzz target to fuzz/corpus/TARGET: small inputs that reach deep, from which the fuzzer goes on.

They come from the torrents in tests/fixtures, the examples in docs/PROTOCOL.md, and from what is spelled out here. The
files are committed, so this runs only when something is added.
"""

import base64
import json
import re
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
HASH, PEER_ID = bytes(range(0xA0, 0xB4)), b"-SH0100-abcdefghijkl"
HEX = "133ee747eef87abbfdaccbb1069c3a23d0fd741a"
HEX_V2 = "9b76ef310c013136ffed5dcf903d4456dc715b0f062995c4148cbfb91506c2a1"


def message(number: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IB", 1 + len(payload), number) + payload


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def percent(data: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in data)


def bencode():
    yield from (b"i-12e", b"4:spam", b"le", b"de", b"l4:spami3ed1:a0:ee", b"d1:ai1e1:bl1:x1:yee", b"d1:bi1e1:ai2ee")
    yield b"l" * 100 + b"e" * 100
    yield b"d8:intervali120e5:peers6:abcdef6:peers618:0123456789abcdefghe"


def metainfo():
    for path in sorted((HERE.parent / "tests" / "fixtures").glob("*.torrent")):
        yield path.read_bytes()
    pieces = b"6:pieces20:" + b"x" * 20
    yield b"d4:infod6:lengthi5e4:name1:a12:piece lengthi16384e" + pieces + b"ee"
    files = b"5:filesld6:lengthi3e4:pathl1:b1:ceed4:attr1:p6:lengthi2e4:pathl4:.pad1:2eee"
    yield b"d13:announce-listll8:http://aee4:infod" + files + b"4:name1:a12:piece lengthi16384e" + pieces + b"ee"
    for path in (b"2:..1:c", b"0:3:A/B", b"3:CON2:\\\xe9"):
        twice = (b"d6:lengthi3e4:pathl" + path + b"ee") * 2
        yield b"d4:infod5:filesl" + twice + b"e4:name2:..12:piece lengthi16384e" + pieces + b"ee"


def wire():
    yield b"\x13BitTorrent protocol" + bytes([0, 0, 0, 0, 0, 0x10, 0, 0x14]) + HASH + PEER_ID
    yield bytes(4) + b"".join(message(number) for number in (0, 1, 2, 3, 14, 15))
    yield message(4, u32(7)) + message(5, b"\xf0") + message(6, u32(1, 16384, 16384)) + message(8, u32(1, 0, 16384))
    yield message(7, u32(1, 0) + b"block") + message(9, b"\x1a\xe1") + message(13, u32(3)) + message(17, u32(2))
    yield message(16, u32(1, 0, 16384)) + message(20, b"\0d1:md11:ut_metadatai1ee1:pi6881e4:reqqi500e1:v5:helloe")
    yield message(21, HASH + bytes(12) + u32(0, 0, 2, 1)) + message(22, HASH + bytes(12) + u32(0, 0, 2, 1) + bytes(64))
    yield message(23, HASH + bytes(12) + u32(0, 0, 2, 1)) + message(99, b"who knows")
    yield b"d1:md11:ut_metadatai1ee1:pi6881e4:reqqi500e1:v5:helloe"


def session():
    """Programs: see src/session.rs. The first byte is the kind of session, then steps and their operands."""
    for kind in (0, 3, 7, 15):
        start = bytes([kind])
        # Unchoke, fetch pieces 0 and 1, ask, answer everything.
        yield start + bytes([6, 26, 1, 1, 16, 0, 16, 1, 29, 14, 14])
        # The same with a choke in the middle, and blocks that come late.
        yield start + bytes([1, 16, 2, 29, 11, 0, 0, 11, 0, 11, 1, 1, 16, 2, 29, 14])
        # Refusals.
        yield start + bytes([1, 16, 0, 29] + [12, 0] * 5 + [16, 1, 29, 12, 1, 9, 3, 1, 0])
        # Lending and helping.
        yield start + bytes([1, 16, 0, 29, 19, 0, 0, 19, 0, 1, 21, 0, 3, 21, 0, 2, 14, 20, 0, 4, 1, 29, 14, 23, 0, 0])
        # Somebody wants our blocks.
        yield start + bytes([2, 25, 7, 3, 0, 0, 7, 3, 0, 1, 28, 4, 0, 8, 3, 0, 1, 7, 3, 2, 0, 24, 3])
        # Time passes: snubbed, encouraged, silent.
        yield start + bytes([1, 16, 0, 29, 31, 200, 11, 0, 16, 1, 29, 31, 120, 31, 120, 4, 2, 31, 255, 31, 255, 31, 255])
        # Raw messages.
        yield start + bytes([15, 25]) + message(2) + message(6, u32(0, 0, 16384)) + message(4, u32(5))
        yield start + bytes([13, 10]) + b"d4:reqqi2e" + bytes([13, 2]) + b"de"


def tracker_lines():
    text = (HERE.parent / "docs" / "PROTOCOL.md").read_text()
    examples = [line.encode() for line in text.splitlines() if re.match(r"\s*\{.*\}\s*$", line)]
    yield from (line.strip() for line in examples)
    yield b"\x07" + b"\r\n".join(examples[:3]) + b"\n\nrest"


def http():
    announce = f"info_hash={percent(HASH)}&peer_id={percent(PEER_ID)}&port=6881&uploaded=1&downloaded=2&left=3"
    announce += "&event=started&numwant=5&key=ab%20c&compact=1&no_peer_id=1"
    yield f"GET /announce?{announce} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    yield announce.encode()
    yield f"HEAD /scrape?info_hash={percent(HASH)}&info_hash=%61 HTTP/1.0\r\nContent-Length: 0\r\n\r\nGET /".encode()
    yield b"GET /torrents?search=a+b&skip=3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield b"d8:completei1e11:external ip4:\x0a\x00\x00\x0110:incompletei2e8:intervali120e12:min intervali60e5:peers6:\x0a\x00\x00\x01\x1a\xe1e"
    yield b"d8:intervali120e5:peersld2:ip8:10.0.0.17:peer id20:" + PEER_ID + b"4:porti1eee6:peers618:" + bytes(15) + b"\x01\x1a\xe115:warning message2:noe"
    yield b"d14:failure reason4:nonee"


def magnet():
    yield f"magnet:?xt=urn:btih:{HEX}&xt=urn:btmh:1220{HEX_V2}&dn=a%20b+c&tr=http%3A%2F%2Ft%3A1%2Fa&x.pe=10.0.0.1:6881".encode()
    yield f"  MAGNET:?xt.1=urn%3Abtih%3A{base64.b32encode(bytes.fromhex(HEX)).decode()}&tr.1=udp://t:1&tr.2=\n".encode()
    yield f"magnet:?xt=urn:btmh:1220{HEX_V2}&xl=5&nonsense".encode()


def resume():
    def state(n_parts, bits, **more):
        return json.dumps({"dir": "/downloads", "pieces": base64.b64encode(bits).decode(), "n_parts": n_parts, **more}).encode()

    yield state(19, b"\x00\x00\x20", paused=True)
    yield state(8, b"\xff", files=[{"size": 5, "modified": 1_700_000_000_000_000_000}])
    yield state(0, b"")
    yield state(9, b"\xff\x81")
    yield state(8, b"\xf0", trouble="no space left")


def udp():
    def announce(connection, options=b"", want=0xFFFFFFFF):
        head = struct.pack(">QII", connection, 1, 7) + HASH + PEER_ID + struct.pack(">QQQ", 1, 2, 3)
        return head + u32(2, 0, 0xBEEF, want) + struct.pack(">H", 6881) + options

    yield struct.pack(">QII", 0x41727101980, 0, 7)
    yield announce(1)
    yield announce(2, b"\x01\x02\x09/announce\x4d\x01x\x02\x04?a=b\x00rest", 50)
    yield struct.pack(">QII", 3, 2, 7) + HASH + PEER_ID
    yield u32(0, 7) + bytes(8)
    yield u32(1, 7, 120, 1, 2) + b"\x0a\x00\x00\x01\x1a\xe1" * 3
    yield u32(2, 7, 1, 2, 3, 4, 5, 6)
    yield u32(3, 7) + b"no"


for target in (bencode, metainfo, wire, session, tracker_lines, http, magnet, resume, udp):
    folder = HERE / "corpus" / target.__name__
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target()):
        (folder / f"seed-{number:02}").write_bytes(seed)
