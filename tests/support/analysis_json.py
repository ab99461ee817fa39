"""An analysis in its JSON form, made by hand: small, complete, and hostile where a peer could write."""

from __future__ import annotations

from typing import Any

HOSTILE = "</script><script>alert(1)</script>\x1b]52;c;aGk=\x07 [red]x[/] $\\frac{1}{2}$ \u202e \"'&"


def finding(
    severity: str = "medium", title: str = "10.0.0.9 tried 60 ports of 10.0.0.5", **changes: Any
) -> dict[str, Any]:
    """One finding as outputs lay it down."""
    made: dict[str, Any] = {
        "id": f"port_scan-{severity}",
        "detector": "port_scan",
        "title": title,
        "severity": severity,
        "confidence": 0.9,
        "accountable": {"address": "10.0.0.9", "side": "source"},
        "hosts": ["10.0.0.9", "10.0.0.5"],
        "conversations": [],
        "first_time": 1.5,
        "last_time": 4.0,
        "packets": 120,
        "bytes": 7_200,
        "frames": list(range(1, 101)),
        "frame_count": 120,
        "numbers": {"distinct_ports": 60, "failed_share": 0.966},
        "thresholds": {"distinct_ports": {"threshold": 15, "unit": "ports", "source": "test"}},
        "explanation": "One host asked for many ports of another, nearly all were refused.",
        "benign_explanation": "A monitoring host; it would ask the same few ports again and again.",
        "attack": [{"id": "T1046", "name": "Network Service Discovery"}],
        "filter": "ip.src == 10.0.0.9",
        "command": "tshark -r CAPTURE",
        "advice": "Ask who runs 10.0.0.9.",
    }
    return made | changes


def analysis_json(findings: list[dict[str, Any]] | None = None, packets: int = 1_163) -> dict[str, Any]:
    """A whole analysis; `packets=0` gives the one of an empty capture."""
    empty = packets == 0
    conversation = {
        "a": "10.0.0.9",
        "b": "10.0.0.5",
        "packets": 120,
        "bytes": 7_200,
        "packets_ab": 62,
        "bytes_ab": 3_600,
        "packets_ba": 58,
        "bytes_ba": 3_600,
        "start_s": 1.5,
        "duration_s": 2.5,
        "bits_per_s_ab": 11_520,
        "bits_per_s_ba": 11_520,
        "stream": None,
        "state": None,
        "names": [],
    }
    row = {
        "packets": packets,
        "bytes": 16_000,
        "pdus": packets,
        "percent_packets": 100.0,
        "percent_bytes": 1.7,
        "bits_per_s": 1_350.0,
    }
    return {
        "capture": {
            "files": [{"path": f"captures/{HOSTILE}.pcap", "format": "pcap", "sha256": "00" * 32, "bytes": 1_011_880}],
            "packets": packets,
            "data_bytes": 0 if empty else 972_199,
            "first_time": None if empty else 1_748_953_842.327095,
            "last_time": None if empty else 1_748_953_887.179495,
            "duration_s": None if empty else 44.8524,
            "link_types": [] if empty else ["ETHERNET"],
            "interfaces": []
            if empty
            else [{"name": HOSTILE, "description": None, "link_type": "ETHERNET", "snaplen": 0, "drops": None}],
            "time_ordered": True,
            "faults": {} if empty else {"truncated": 3},
            "comments": [] if empty else [HOSTILE],
        },
        "hierarchy": []
        if empty
        else [
            row | {"path": "frame", "name": "Frame", "end_packets": 0, "end_bytes": 0},
            row | {"path": "eth", "name": "Ethernet", "end_packets": 0, "end_bytes": 0},
            row
            | {"path": "eth/ip", "name": "Internet Protocol Version 4", "end_packets": packets, "end_bytes": 16_000},
        ],
        "conversations": {"eth": [], "ip": [] if empty else [conversation], "ipv6": [], "tcp": [], "udp": []},
        "endpoints": {
            "eth": [],
            "ip": []
            if empty
            else [
                {
                    "address": host,
                    "packets": 120,
                    "bytes": 7_200,
                    "tx_packets": 60,
                    "tx_bytes": 3_600,
                    "rx_packets": 60,
                    "rx_bytes": 3_600,
                    "names": names,
                }
                for host, names in (("10.0.0.9", [HOSTILE]), ("10.0.0.5", []))
            ],
            "ipv6": [],
            "tcp": [],
            "udp": [],
        },
        "io": {
            "interval_s": 1.0,
            "start_time": None if empty else 1_748_953_842.327095,
            "packets": [] if empty else [10, 20, packets - 30],
            "bytes": [] if empty else [1_000, 2_000, 969_199],
            "tcp_errors": [] if empty else [0, 2, 9],
        },
        "tcp_analysis": {"retransmission": 0 if empty else 6, "duplicate_ack": 0 if empty else 3},
        "packet_lengths": []
        if empty
        else [{"low": 40, "high": 79, "packets": 185}, {"low": 5120, "high": None, "packets": 1}],
        "findings": findings if findings is not None else [],
        "not_assessable": [{"detector": "beacon", "reason": "span too short (45 s)", "needs": "10 intervals"}],
        "timing": {"wall_s": 0.1, "packets_per_s": 11_630, "jit": False},
    }


class Made:
    """An object with the JSON form of an analysis, for code that draws one."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def to_json(self) -> dict[str, Any]:
        """The made analysis."""
        return self.data
