"""Tables of the whole corpus and of the seed against Wireshark's, hostile input, and both ways of running kernels."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.errors import AnalysisError
from analysis.run import analyse
from analysis.verify import Report, compare, our_answer, stored_answer

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "captures" / "corpus"
SEED = CORPUS.parent / "seed" / "home-wifi-45s.pcapng"

# Rows that differ for a reason that is no table's business: each with the reason.
EXPLAINED = {
    "wireshark__wireguard-ping-tcp-dsb.pcapng": "the file carries keys, and tshark decrypts the tunnel with them",
    "arkime__gtp-iphone.pcap": "UDP stream split where a dissector had announced half of the conversation",
    "arkime__snmpv3_synthetic.pcap": "UDP stream split where a dissector had announced half of the conversation",
    "goffinet__sip-2phones-B2BUA-Asterisk.pcapng": "UDP stream split by an announced RTP session",
}
HIERARCHY_EQUAL = 0.84  # of the captures; asked for: 0.6

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/captures"),
    pytest.mark.timeout(900),
]


def manifest() -> list[dict[str, str]]:
    """Rows of the corpus."""
    with open(CORPUS / "manifest.csv") as file:
        return list(csv.DictReader(file))


def exit_code(row: dict[str, str]) -> int:
    """How tshark ended on a capture."""
    return int(json.loads((CORPUS / "oracle" / row["file"] / "meta.json").read_text())["exit"])


def report_of(name: str) -> Report:
    """Our answer beside the stored one."""
    version, theirs = stored_answer(CORPUS / "oracle" / name)
    return compare(name, version, theirs, our_answer(str(CORPUS / name)))


def doubtful(row: dict[str, str], table: str) -> bool:
    """The manifest names tables where tshark's own counts disagree with each other (fuzzed, cut, fragmented files)."""
    short = table.replace("conversations", "conv")
    kind = table.rpartition("_")[2]
    return short in row["agg_vs_tshark_diff"] or f"conv_{kind}" in row["agg_vs_tshark_diff"]


def test_tables_of_the_corpus() -> None:
    """Conversations, endpoints and I/O equal Wireshark's on every capture but the explained ones."""
    equal: Counter[str] = Counter()
    total: Counter[str] = Counter()
    unexplained = []
    for row in manifest():
        if exit_code(row) != 0:
            continue
        report = report_of(row["file"])
        for table, result in report.tables.items():
            if doubtful(row, table):
                continue
            total[table] += 1
            equal[table] += result["equal"]
            if not result["equal"] and table not in ("hierarchy", "io") and row["file"] not in EXPLAINED:
                unexplained.append((row["file"], table))
    for table in total:
        print(f"{table}: {equal[table]} of {total[table]} captures equal")

    assert unexplained == []
    assert equal["hierarchy"] >= HIERARCHY_EQUAL * total["hierarchy"]
    assert equal["io"] >= 0.98 * total["io"]


# The must-pass numbers of the seed capture, equal in the Wireshark 4.4.6 window and tshark 4.0.17.
SEED_HIERARCHY = {
    "frame": (1163, 972199, 0, 0, 1163),
    "eth": (1163, 16534, 0, 0, 1163),
    "eth/ip": (1104, 22080, 0, 0, 1104),
    "eth/ip/udp": (758, 6064, 0, 0, 758),
    "eth/ip/udp/quic": (738, 711314, 738, 710826, 742),
    "eth/ip/udp/dns": (10, 612, 10, 612, 10),
    "eth/ip/udp/data": (9, 334, 9, 334, 9),
    "eth/ip/udp/mdns": (1, 769, 1, 769, 1),
    "eth/ip/tcp": (345, 11220, 231, 7572, 345),
    "eth/ip/tcp/tls": (114, 195655, 114, 195655, 114),
    "eth/ip/icmp": (1, 36, 1, 36, 1),
    "eth/ipv6": (1, 40, 0, 0, 1),
    "eth/ipv6/udp": (1, 8, 0, 0, 1),
    "eth/ipv6/udp/mdns": (1, 769, 1, 769, 1),
    "eth/homeplug-av": (21, 966, 21, 966, 21),
    "eth/data": (20, 920, 20, 920, 20),
    "eth/arp": (17, 476, 17, 476, 17),
}


@pytest.fixture(scope="module")
def seed() -> dict[str, Any]:
    """The seed's analysis."""
    return analyse([str(SEED)]).to_json()


def test_seed_properties(seed: dict[str, Any]) -> None:
    """File, packets, bytes, span, rates."""
    capture = seed["capture"]

    assert capture["files"][0]["sha256"] == "95f72990c9b8ab1108405eff860b9c6c62e57103494ab4cc87bf16bc5e937307"
    assert (capture["packets"], capture["data_bytes"], capture["duration_s"]) == (1163, 972199, 44.8524)
    assert (capture["first_time"], capture["time_ordered"]) == (1748953842.327095, True)
    assert capture["files"][0]["bytes"] == 1_011_880
    assert [round(capture[key], 2) for key in ("average_packet_bytes", "packets_per_s", "bytes_per_s", "bits_per_s")] == [
        835.94, 25.93, 21675.52, 173404.14,
    ]  # fmt: skip
    assert capture["interfaces"][0]["drops"] == 0


def test_seed_hierarchy(seed: dict[str, Any]) -> None:
    """All 17 rows, all five counters."""
    names = ("packets", "bytes", "end_packets", "end_bytes", "pdus")

    assert {row["path"]: tuple(row[name] for name in names) for row in seed["hierarchy"]} == SEED_HIERARCHY


def test_seed_rows(seed: dict[str, Any]) -> None:
    """Rows per table, and the conversations and the endpoint that the reference names."""
    kinds = ("eth", "ip", "ipv6", "tcp", "udp")
    ip = {(row["a"], row["b"]): row for row in seed["conversations"]["ip"]}
    quic = ip["192.168.178.25", "172.64.144.52"]
    host = next(row for row in seed["endpoints"]["ip"] if row["address"] == "192.168.178.25")

    assert [len(seed["conversations"][kind]) for kind in kinds] == [6, 9, 1, 3, 19]
    assert [len(seed["endpoints"][kind]) for kind in kinds] == [8, 12, 2, 6, 26]
    assert [quic[key] for key in ("packets", "bytes", "packets_ab", "bytes_ab", "packets_ba", "bytes_ba")] == [
        720, 733077, 128, 19595, 592, 713482,
    ]  # fmt: skip
    assert (quic["start_s"], round(quic["duration_s"], 4)) == (31.278294, 0.3478)
    assert (ip["104.18.43.204", "192.168.178.25"]["packets"], ip["104.18.43.204", "192.168.178.25"]["bytes"]) == (
        2,
        134,
    )
    assert [host[key] for key in ("packets", "bytes", "tx_packets", "tx_bytes", "rx_packets", "rx_bytes")] == [
        1095, 966483, 297, 147929, 798, 818554,
    ]  # fmt: skip


def test_seed_io_and_lengths(seed: dict[str, Any]) -> None:
    """Bins of 1 s, 15 TCP errors and where, length ranges, the burst."""
    io = seed["io"]
    bins = {second: (io["packets"][second], io["bytes"][second]) for second in (29, 30, 31)}
    lengths = analyse([str(SEED)]).lengths

    assert bins == {29: (94, 76817), 30: (239, 143379), 31: (746, 741310)}
    assert max(count for second, count in enumerate(io["packets"]) if second not in bins) == 11
    errors = {second: count for second, count in enumerate(io["tcp_errors"]) if count}
    assert errors == {21: 1, 22: 1, 23: 1, 24: 1, 25: 1, 27: 1, 30: 9}
    assert io["bad_tcp"] == io["tcp_errors"]
    assert {row["low"]: row["packets"] for row in seed["packet_lengths"] if row["packets"]} == {
        40: 185, 80: 185, 160: 9, 320: 49, 640: 619, 1280: 116,
    }  # fmt: skip
    total = lengths.total()
    assert (total["min"], total["max"], total["burst_per_ms"], round(total["burst_start_s"], 3)) == (
        42,
        1474,
        6.77,
        31.543,
    )


def test_seed_outcomes(seed: dict[str, Any]) -> None:
    """One failed connection in 7 SYN, one datagram refused with port unreachable."""
    analysis = analyse([str(SEED)])
    flows = analysis.flows

    assert [row["state"] for row in seed["conversations"]["tcp"]].count("S0") == 1
    assert sorted(flows.syn_ab[flows.kind == 3].tolist()) == [0, 0, 7]
    assert flows.icmp_error[flows.icmp_error >= 0].tolist() == [3 * 256 + 3]
    assert seed["tcp_analysis"]["retransmission"] == 12
    assert seed["tcp_analysis"]["spurious_retransmission"] == 4
    assert seed["tcp_analysis"]["duplicate_ack"] == 3


def hostile() -> list[Path]:
    """Some captures of the corpus: the smallest of each link type and format."""
    chosen: dict[tuple[str, str], dict[str, str]] = {}
    for row in sorted(manifest(), key=lambda row: int(row["bytes"])):
        if int(row["packets"] or 0) > 1:
            chosen.setdefault((row["link_type"], row["file_type"]), row)
    return [CORPUS / row["file"] for row in chosen.values()]


def test_no_capture_of_the_corpus_is_refused_with_a_traceback() -> None:
    """Every file, also those that tshark cannot read, gives an analysis or the package's one-line error."""
    for row in manifest():
        if exit_code(row) == 0:
            continue  # read by test_tables_of_the_corpus
        try:
            json.dumps(analyse([str(CORPUS / row["file"])]).to_json(), allow_nan=False)
        except AnalysisError as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_cuts_and_flipped_bytes(tmp_path: Path) -> None:
    """Captures cut anywhere or with some bytes changed: an analysis or the one-line error, nothing else."""
    chance = random.Random(7)
    path = tmp_path / "hostile"
    for capture in hostile():
        content = capture.read_bytes()[:200_000]
        for _ in range(6):
            changed = bytearray(content[: chance.randrange(len(content) + 1)])
            for _ in range(chance.randrange(8)):
                if changed:
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
            path.write_bytes(changed)
            try:
                json.dumps(analyse([str(path)]).to_json(), allow_nan=False)
            except AnalysisError as error:
                assert "\n" not in str(error)


@pytest.mark.slow
def test_compiled_and_interpreted_kernels_agree_on_the_corpus() -> None:
    """Two processes over every capture: the same JSON but for the timing."""
    code = (
        "import sys, json, zlib\n"
        "from analysis.errors import AnalysisError\n"
        "from analysis.run import analyse\n"
        "for path in sys.stdin.read().split('\\n'):\n"
        "    try:\n"
        "        found = analyse([path]).to_json()\n"
        "        del found['timing']\n"
        "        print(path, zlib.crc32(json.dumps(found).encode()))\n"
        "    except AnalysisError as error:\n"
        "        print(path, str(error).replace('\\n', ' '))\n"
    )
    paths = "\n".join(str(CORPUS / row["file"]) for row in manifest())
    found = []
    for setting in ("on", "off"):
        environment = {**os.environ, "TAPWALL_JIT": setting, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], input=paths, capture_output=True, text=True, check=True, env=environment
        )
        found.append(done.stdout.splitlines())

    assert found[0] == found[1]
