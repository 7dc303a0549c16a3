"""TCP connections of this machine that are established, as the kernel tells them (`sock_diag(7)`).

`/proc/net/tcp` would say the same, but it also lists every connection that has ended in the last minute: with some hundreds of
them a look takes ten milliseconds, and the benchmark looks every millisecond.
"""

import socket
import struct

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301  # NLM_F_REQUEST, and NLM_F_DUMP: all that match
ERROR, DONE = 2, 3
ESTABLISHED = 1 << 1  # of the states asked for
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
QUESTION = struct.Struct("=BBBBI48x")  # family, protocol, extensions, padding, states, an address that is left open
PORTS = struct.Struct(">HH")  # of the answer: the local one and the other's
PORTS_AT = HEADER.size + 4
ANSWER = 1 << 16


def local_ports() -> set[int]:
    """The local ports of all established IPv4 connections."""
    question = QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, ESTABLISHED)
    header = HEADER.pack(HEADER.size + len(question), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0)
    ports: set[int] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + question)
        while True:
            answer = kernel.recv(ANSWER)
            while answer:
                length, kind = HEADER.unpack_from(answer)[:2]
                if kind == DONE:
                    return ports
                if kind == ERROR:
                    raise OSError("the kernel does not tell its connections")
                ports.add(PORTS.unpack_from(answer, PORTS_AT)[0])
                answer = answer[length + 3 & ~3:]
