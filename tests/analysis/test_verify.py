"""Verify: tshark's packets become the window's tables; differences are grouped by cause."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from analysis.errors import AnalysisError
from analysis.verify import Answer, Frame, _Clean, _Tshark, application, compare, lines, stored_answer, verify_capture

PDML = """
<packet>
  <proto name="geninfo" size="60"/>
  <proto name="frame" size="60"><field name="frame.number" show="1"/><field name="frame.len" show="60"/>
    <field name="frame.time_epoch" show="1.000000000"/></proto>
  <proto name="eth" size="14"><field name="eth.dst" show="02:00:00:00:00:02"/><field name="eth.src" show="02:00:00:00:00:01"/>
    <field name="eth.padding" size="6"/></proto>
  <proto name="ip" size="20"><field name="ip.src" show="10.0.0.1"/><field name="ip.dst" show="10.0.0.2"/></proto>
  <proto name="tcp" size="20"><field name="tcp.srcport" show="4000"/><field name="tcp.dstport" show="80"/>
    <field name="tcp.stream" show="0"/>
    <field name="" show=""><field name="tcp.analysis.flags" show=""><field name="tcp.analysis.retransmission" show=""/></field>
    <field name="tcp.analysis.ack_rtt" show="0.1"/></field></proto>
  <proto name="tls" size="5"/><proto name="tls" size="7"/>
</packet>
"""


def frames(*rows: tuple[str, str, str]) -> dict[int, Frame]:
    """Frames by number."""
    return {number: Frame(*row) for number, row in enumerate(rows, 1)}


def test_tshark_packets_become_tables() -> None:
    """Own bytes with padding, folded repeats, flags without measures, conversations and endpoints by direction."""
    tshark = _Tshark()
    tshark.packet(ElementTree.fromstring(PDML))
    answer = tshark.finish()

    assert answer.frames == frames(("eth/ip/tcp/tls", "0", "retransmission"))
    assert answer.tables["hierarchy"] == {
        ("eth",): (1, 20, 0, 0, 1),
        ("eth", "ip"): (1, 20, 0, 0, 1),
        ("eth", "ip", "tcp"): (1, 20, 0, 0, 1),
        ("eth", "ip", "tcp", "tls"): (1, 12, 1, 7, 2),
    }
    assert answer.tables["conversations_tcp"] == {(("10.0.0.1", 4000, 1, 60), ("10.0.0.2", 80, 0, 0)): (1,)}
    assert answer.tables["endpoints_ip"] == {("10.0.0.1", None): (1, 60, 0, 0), ("10.0.0.2", None): (0, 0, 1, 60)}
    assert answer.tables["io"] == {(0,): (1, 60, 1)}


def test_differences_are_grouped_by_cause() -> None:
    """The same difference in many frames is one line with a count and the first frame numbers."""
    theirs = Answer(frames(*[("eth/ip/tcp/tls", "0", "")] * 9), {"io": {(0,): (9,)}, "hierarchy": None})
    ours = Answer(frames(*[("eth/ip/tcp", "0", "keep_alive")] * 9), {"io": {(0,): (8,)}})
    report = compare("c.pcap", "tshark", theirs, ours)

    assert (report.frames, report.paths_equal, report.tcp_flags_equal, report.streams_equal) == (9, 0, 0, 9)
    assert [(row.what, row.times, row.frames) for row in report.differences[:2]] == [
        ("path", 9, (1, 2, 3, 4, 5)),
        ("tcp flags", 9, (1, 2, 3, 4, 5)),
    ]
    assert report.tables == {"io": {"rows": 1, "equal": False, "different": 1}}
    assert not report.equal
    assert json.loads(json.dumps(report.to_json()))["differences"][0]["tapwall"] == "eth/ip/tcp"
    assert any(line.startswith("difference\t9\tpath") for line in lines(report))


@pytest.mark.parametrize(
    ("path", "cut"),
    [
        ("eth/ip/tcp/tls/x509", "eth/ip/tcp/tls"),
        ("eth/arp", "eth/arp"),
        ("eth/ip/udp/vxlan/eth/ip/tcp", "eth/ip/udp/vxlan"),
        ("eth/ip/udp", "eth/ip/udp"),
    ],
)
def test_application_is_the_first_layer_above_transport(path: str, cut: str) -> None:
    """The path is cut behind that layer."""
    assert application(path) == cut


def test_stored_answers(tmp_path: Path) -> None:
    """A folder with frames, conversations and endpoints is read as tshark's answer."""
    (tmp_path / "meta.json").write_text('{"tshark": "TShark 4"}')
    text = "number\ttime_epoch\tframe_len\tcap_len\tpath\ttcp_stream\ttcp_flags\n1\t-0.5\t60\t60\teth/arp\t\t\n"
    (tmp_path / "frames.tsv.gz").write_bytes(gzip.compress(text.encode()))
    head = "A\tA_port\tB\tB_port\tA_to_B_packets\tA_to_B_bytes\tB_to_A_packets\tB_to_A_bytes\n"
    (tmp_path / "conv_tcp.tsv").write_text(head + "10.0.0.1\t1\t10.0.0.2\t2\t3\t4\t5\t6\n")
    (tmp_path / "endpoints_eth.tsv").write_text(
        "addr\ttx_packets\ttx_bytes\trx_packets\trx_bytes\nAA:BB:CC:00:00:01\t1\t2\t3\t4\n"
    )
    version, answer = stored_answer(tmp_path)

    assert version == "TShark 4"
    assert answer.frames == frames(("eth/arp", "", ""))
    assert answer.tables["conversations_tcp"] == {(("10.0.0.1", 1, 3, 4), ("10.0.0.2", 2, 5, 6)): (1,)}
    assert answer.tables["endpoints_eth"] == {("aa:bb:cc:00:00:01", None): (1, 2, 3, 4)}
    assert answer.tables["hierarchy"] is None


def test_missing_oracle_or_tshark_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without stored answers or without tshark the reason is said."""
    with pytest.raises(AnalysisError, match="no stored oracle"):
        verify_capture("c.pcap", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AnalysisError, match="tshark: not found"):
        verify_capture("c.pcap")


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_what_xml_forbids_does_not_end_the_reading(piece: int) -> None:
    """Payload bytes reach tshark's attributes as they are: controls, half characters, surrogates."""
    raw = b'<pdml><packet><field show="a\x00\x1b[31m\xc3\xa9\xff\xed\xa0\x80\xef\xbf\xbf"/></packet></pdml>'

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(piece, size) if size and size > 0 else piece)

    shown = [element.get("show") for _, element in ElementTree.iterparse(_Clean(Slow(raw))) if element.tag == "field"]
    assert shown[0] is not None
    assert (shown[0][:7], shown[0][7], "\xe9" in shown[0]) == ("a??[31m", "\xe9", True)
