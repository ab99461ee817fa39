"""chat.metrics: Prometheus' text format, and the little HTTP around it."""

from dataclasses import fields

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chat.metrics import HELP, Counters, Page, exposition


def test_the_text_is_what_prometheus_reads() -> None:
    """Every counter with type and help, gauges too, by Prometheus' own parser."""
    families = {
        family.name: family
        for family in text_string_to_metric_families(exposition(Counters(messages=5), {"users": 3.0}))
    }

    assert families["tapwall_chat_messages"].samples[0].value == 5
    assert families["tapwall_chat_users"].samples[0].value == 3
    assert {f.name for f in fields(Counters)} == set(HELP)
    assert all(family.type in {"counter", "gauge"} for family in families.values())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        (b"HEAD /healthz HTTP/1.0\r\n\r\n", "200"),
        (b"GET /readyz?x=1 HTTP/1.1\r\n\r\n", "503"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "400"),
        (b"\xff\xfe\x00\r\n\r\n", "400"),
        (b"\r\n\r\n", "400"),
    ],
)
def test_requests(head: bytes, status: str) -> None:
    """The three pages, nothing else."""
    page = Page(lambda: "m 1\n", lambda: False)

    assert page.answer(head)[0].startswith(status)
