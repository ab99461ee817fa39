"""Hostile packets: any bytes of any link type are a row, never an exception, and nothing outside a packet is read."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from header_bytes import decode, eth, ip4, ip6, records, tcp, udp
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.columns import MAX_LAYERS, MAX_TAPS, Batch
from analysis.decode.frames import Decoder
from analysis.decode.links import LINKS as PYTHON_LINKS
from analysis.decode.tables import ETHERTYPES, PORTS, PPPS, PROTOCOLS, SAPS
from analysis.decode.tables import LINKS as KERNEL_LINKS

ALL_LINKS = sorted({*KERNEL_LINKS, *PYTHON_LINKS, 2, 299, 300, 70000, -1})


def seeds() -> list[tuple[int, bytes]]:
    """A frame for every number in the decoder's tables, so that random changes reach every dissector."""
    rng = random.Random(2)
    body = rng.randbytes(60)
    out = [(1, eth(body, kind)) for kind in ETHERTYPES]
    out += [(1, eth(ip4(body, number))) for number in PROTOCOLS]
    out += [(1, eth(ip6(body, number), 0x86DD)) for number in (0, 43, 44, 60, *PROTOCOLS)]
    out += [(1, eth(ip4(udp(body, destination=port), 17))) for port in PORTS]
    out += [(1, eth(bytes([sap, sap, 3]) + body, 63)) for sap in (*SAPS, 0xAA)]
    out += [(9, kind.to_bytes(2, "big") + body) for kind in PPPS]
    out += [(1, eth(ip4(tcp(body, bytes.fromhex("0103030a") + body[:36]), 6)))]
    out += [(1, eth(ip4(body[:24], 17, place=place, id=1))) for place in (0x2000, 3, 0x2003)]
    return out + [(link, body) for link in ALL_LINKS]


def mutants(count: int, seed: int) -> tuple[list[bytes], list[int], list[int]]:
    """`count` seeds changed at random places and cut at random: frames, link types, lengths on the wire."""
    rng = random.Random(seed)
    frames, links, wire = [], [], []
    for link, frame in rng.choices(seeds(), k=count):
        octets = bytearray(frame)
        for _ in range(rng.randrange(6)):
            octets[rng.randrange(len(octets))] = rng.choice(
                (0, 1, 4, 6, 17, 0x45, 0x60, 0x7F, 0xFF, rng.randrange(256))
            )
        kept = len(octets) if rng.random() < 0.6 else rng.randrange(len(octets) + 1)
        frames.append(bytes(octets[:kept]))
        links.append(link)
        wire.append(kept if rng.random() < 0.5 else len(octets))
    return frames, links, wire


def check(batch: Batch) -> None:
    """What holds for every packet, whatever is in it."""
    p, t = batch.packets, batch.taps
    size = len(batch.data)
    assert (p.n_layers <= MAX_LAYERS).all()
    assert (p.n_taps <= MAX_TAPS).all()
    used = np.arange(MAX_LAYERS) < p.n_layers[:, None]
    assert (p.layers[used] > 0).all()
    assert (p.layers[~used] == 0).all()
    assert (p.layer_bytes >= 0).all()
    assert (p.layer_pdus[used] >= 1).all()
    assert (p.payload_cap >= 0).all()
    assert (p.payload_len >= p.payload_cap).all()
    has = p.payload_start >= 0
    assert (p.payload_start[has] + p.payload_cap[has] <= size).all()
    inside = has & (p.payload_start < p.start + p.cap_len)  # else: in reassembled bytes
    assert (p.payload_start[inside] >= p.start[inside]).all()
    assert ((p.payload_start + p.payload_cap)[inside] <= (p.start + p.cap_len)[inside]).all()
    tapped = p.n_taps > 0
    assert np.array_equal(p.first_tap[tapped], (np.cumsum(p.n_taps, dtype=np.int64) - p.n_taps)[tapped])
    assert np.array_equal(t.packet, np.repeat(np.arange(len(p.number)), p.n_taps))


def fingerprint(batch: Batch) -> str:
    """One digest of every column of packets and taps and of the bytes behind the packets."""
    digest = hashlib.sha256(batch.data.tobytes())
    for column in (*batch.packets, *batch.taps):
        digest.update(str(column.dtype).encode() + np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ALL_LINKS), st.binary(max_size=120), st.integers(0, 40)), max_size=12))
def test_any_bytes_of_any_link_type_are_rows(packets: list[tuple[int, bytes, int]]) -> None:
    """Random bytes never raise, and every row keeps the schema's promises."""
    frames = [frame for _, frame, _ in packets]
    batch = Decoder().update(
        records(frames, [link for link, _, _ in packets], [len(f) + more for _, f, more in packets])
    )

    assert len(batch.packets.number) == len(packets)
    check(batch)


@pytest.mark.parametrize("seed", range(4))
def test_changed_and_cut_headers_are_rows(seed: int) -> None:
    """Frames that reach every dissector, with bytes changed and ends cut."""
    frames, links, wire = mutants(1500, seed)

    check(Decoder().update(records(frames, links, wire)))


@pytest.mark.parametrize(("link", "frame"), seeds(), ids=lambda v: f"{v:d}" if isinstance(v, int) else v[:16].hex())
def test_no_byte_outside_a_packet_is_read(link: int, frame: bytes) -> None:
    """Cut at every byte, between neighbours of zeros and of ones: the row is the same, so it came from the packet alone."""
    cuts = [frame[:size] for size in range(len(frame))]
    answers = []
    for filler in (b"\x00", b"\xff"):
        between = [part for cut in cuts for part in (filler * 64, cut)] + [filler * 64]
        batch = Decoder().update(records(between, [1, link] * len(cuts) + [1], [len(x) for x in between]))
        check(batch)
        p = batch.packets
        answers.append(
            [p.layers[1::2], p.layer_bytes[1::2], p.ttl[1::2], p.tcp_seq[1::2], p.fault[1::2], p.n_taps[1::2]]
        )
        answers[-1].append(np.where(p.payload_start < 0, -1, p.payload_start - p.start)[1::2])
    for zeros, ones in zip(*answers, strict=True):
        assert np.array_equal(zeros, ones)


def test_chunks_make_no_difference() -> None:
    """One chunk or many, down to one packet each: the same layers, lengths and faults, fragments included."""
    frames, links, wire = mutants(300, 9)
    whole = Decoder().update(records(frames, links, wire)).packets
    for size in (1, 7, 100):
        decoder = Decoder()
        parts = [
            decoder.update(records(frames[k : k + size], links[k : k + size], wire[k : k + size])).packets
            for k in range(0, len(frames), size)
        ]
        for name in (
            "layers",
            "layer_bytes",
            "layer_pdus",
            "fault",
            "n_taps",
            "payload_len",
            "tcp_seq",
            "fragment",
            "ttl",
        ):
            assert np.array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))


def test_endless_headers_end() -> None:
    """Sixty-five thousand bytes of MPLS labels, of VLAN tags and of nested IP are walked in bounded steps."""
    labels = eth(bytes(4) * 16000, 0x8847)
    tags = eth(b"\0\1\x81\0" * 16000, 0x8100)
    nested = ip4(b"", 4)
    for _ in range(200):
        nested = ip4(nested, 4)

    for frame in (labels, tags, eth(nested)):
        check(decode(frame))


TWIN = """
import sys
from test_hostile import fingerprint, mutants
from analysis.kernel import choose, enabled
choose(0)
from header_bytes import records
from analysis.decode.frames import Decoder
decoder = Decoder()
for seed in range(20, 26):
    print(fingerprint(decoder.update(records(*mutants(1500, seed)))))
print(enabled(), file=sys.stderr)
"""


@pytest.mark.slow
def test_compiled_and_interpreted_kernels_agree() -> None:
    """Two processes, one source: every column of 9,000 hostile packets is equal, bit for bit."""
    answers = {}
    for setting in ("on", "off"):
        path = os.pathsep.join((os.path.dirname(__file__), *sys.path))
        ran = subprocess.run(
            [sys.executable, "-c", TWIN],
            env=os.environ | {"TAPWALL_JIT": setting, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.strip().endswith(str(setting == "on"))
        answers[setting] = ran.stdout.split()

    assert answers["on"] == answers["off"]
    assert len(set(answers["on"])) == 6
