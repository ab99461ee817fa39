"""Compiles kernels into the cache by using each of them once: `python -m analysis.warm reading|counting`.

In: one of the two shares of the kernels, which take equally long. Out: nothing but what the cache holds afterwards.
`reading` indexes and decodes a capture of a dozen packets, and searches it for marks. `counting` does all the rest with
the same packets, which it decodes interpreted: what a kernel is given is of the same types then.
"""

from __future__ import annotations

import gc
import os
import struct
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from analysis import kernel

READERS = ("analysis.pcap", "analysis.pcapng", "analysis.decode", "analysis.protocols.marks")
CLIENT, SERVER = bytes((192, 0, 2, 1)), bytes((198, 51, 100, 1))  # RFC 5737
TCP, ICMP = 6, 1
SYN, PSH, ACK = 2, 8, 16
REQUEST = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99999\r\n\r\n"


def _ipv4(source: bytes, target: bytes, protocol: int, payload: bytes) -> bytes:
    """A packet without checksum (RFC 791 3.1)."""
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, source, target) + payload


def _segment(source_port: int, target_port: int, seq: int, ack: int, flags: int, payload: bytes = b"") -> bytes:
    """A TCP segment without checksum (RFC 9293 3.1)."""
    return struct.pack(">HHIIBBHHH", source_port, target_port, seq, ack, 0x50, flags, 8192, 0, 0) + payload


def packets() -> list[bytes]:
    """Ethernet frames: a connection with a request and a long answer, bytes that nobody knows, and an ICMP error."""
    talk = [
        (CLIENT, SERVER, _segment(50_000, 80, 100, 0, SYN)),
        (SERVER, CLIENT, _segment(80, 50_000, 500, 101, SYN | ACK)),
        (CLIENT, SERVER, _segment(50_000, 80, 101, 501, ACK)),
        (CLIENT, SERVER, _segment(50_000, 80, 101, 501, PSH | ACK, REQUEST)),
        (SERVER, CLIENT, _segment(80, 50_000, 501, 101 + len(REQUEST), ACK, ANSWER)),
        *(
            (SERVER, CLIENT, _segment(80, 50_000, 501 + len(ANSWER) + 1000 * i, 138, ACK, bytes(1000)))
            for i in range(4)
        ),
        (CLIENT, SERVER, _segment(50_001, 9, 7, 0, PSH | ACK, b"\xee" * 64)),
    ]
    frames = [_ipv4(source, target, TCP, segment) for source, target, segment in talk]
    frames.append(_ipv4(SERVER, CLIENT, ICMP, struct.pack(">BBHI", 3, 1, 0, 0) + frames[-1][:28]))
    return [bytes(12) + b"\x08\x00" + frame for frame in frames]


def pcap(frames: Sequence[bytes]) -> bytes:
    """A pcap file of Ethernet frames, a second apart."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    return head + b"".join(struct.pack("<IIII", i, 0, len(f), len(f)) + f for i, f in enumerate(frames))


def pcapng(frames: Sequence[bytes]) -> bytes:
    """The same as pcapng."""

    def block(kind: int, body: bytes) -> bytes:
        size = 12 + len(body)
        return struct.pack("<II", kind, size) + body + struct.pack("<I", size)

    head = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("<HHI", 1, 0, 65_535))
    return head + b"".join(
        block(6, struct.pack("<IIIII", 0, 0, i, len(f), len(f)) + f + bytes(-len(f) % 4)) for i, f in enumerate(frames)
    )


def reading(folder: Path) -> None:
    """Index and decode both formats, and look into the packets."""
    from analysis.capture import open_captures
    from analysis.decode.frames import Decoder
    from analysis.protocols import marks

    for make in (pcap, pcapng):
        path = folder / make.__name__
        path.write_bytes(make(packets()))
        with open_captures([str(path)]) as capture:
            for records in capture.chunks():
                batch = Decoder().update(records)
                start = batch.packets.start
                marks.found(batch.data, start, start + batch.packets.cap_len)


def counting(folder: Path) -> None:
    """Conversations, TCP, names, statistics and JSON; and a hash table that grows."""
    import numpy as np

    from analysis import growing, json_out
    from analysis.run import analyse

    path = folder / "counted"
    path.write_bytes(pcap(packets()))
    json_out.write_json(analyse([str(path)]), BytesIO())
    growing.wider(np.zeros(64, np.int64))


SHARES = {"reading": reading, "counting": counting}


def main(shares: Sequence[str]) -> None:
    """Compile the kernels of these shares."""
    gc.set_threshold(50_000, 20, 20)  # the compiler makes millions of objects that live: a sixth of its time less
    os.environ["TAPWALL_JIT"] = "on"
    if "reading" not in shares:
        kernel.leave(*READERS)
    kernel.choose(0)
    with tempfile.TemporaryDirectory() as folder:
        for share in shares:
            SHARES[share](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
