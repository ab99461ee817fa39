"""Attempts to log in by source, target and protocol, and sessions that may hide one."""

from __future__ import annotations

from pathlib import Path

import pytest
from payloads import request, response, smb2
from traffic import Said, Wire

from analysis.attempts import Attempts, alike, attempts, hidden_logins
from analysis.evidence import Evidence, gather
from analysis.run import analyse

ME, SERVER = "203.0.113.66", "10.0.0.5"
BASIC = "Authorization: Basic YWRtaW46c2VjcmV0\r\n"  # admin:secret


def _ftp(user: str, answer: bytes) -> list[Said]:
    return [("s", b"220 ready\r\n"), ("c", b"USER %s\r\n" % user.encode()), ("s", b"331 ?\r\n"), ("c", b"PASS x\r\n"), ("s", answer)]  # fmt: skip


def _setups(*statuses: int) -> list[Said]:
    said: list[Said] = []
    for number, status in enumerate(statuses):
        said += [("c", smb2(1, bytes(400), message=number)), ("s", smb2(1, bytes(8), reply=True, status=status, message=number))]  # fmt: skip
    return said


def seen(folder: Path, *talks: tuple[int, list[Said]]) -> Evidence:
    """Evidence of one talk after the other with the ports of a server."""
    wire = Wire("attempts")
    for port, said in talks:
        wire.talk(ME, SERVER, port, said)
    return gather(analyse([wire.write(folder / "a.pcap")], judge=False), ())


def brief(found: list[Attempts]) -> list[tuple[str, list[str], list[str]]]:
    """Protocol, and users of refused and of accepted attempts."""
    return [(one.protocol, [t.user for t in one.refused], [t.user for t in one.accepted]) for one in found]


@pytest.mark.parametrize(
    ("talks", "expected"),
    [
        ([(21, _ftp("ann", b"530 no\r\n")), (21, _ftp("bob", b"230 in\r\n"))], [("ftp", ["ann"], ["bob"])]),
        ([(21, _ftp("bob", b"230 in\r\n"))], []),
        ([(80, [("c", request(headers=BASIC)), ("s", response(401))])], [("http", ["admin"], [])]),
        ([(80, [("c", request()), ("s", response(401))])], []),
        ([(445, _setups(0xC0000016, 0xC000006D, 0xC0000234))], [("smb", ["", ""], [])]),
        ([(445, _setups(0xC000006D)), (445, _setups(0xC0000016, 0))], [("smb", [""], [""])]),
    ],
    ids=["ftp", "never-refused", "basic", "challenge-only", "smb", "smb-then-accepted"],
)
def test_refused_and_accepted(
    talks: list[tuple[int, list[Said]]], expected: list[tuple[str, list[str], list[str]]], tmp_path: Path
) -> None:
    """Who was refused is there with what was accepted; a second round of a session setup is neither."""
    assert brief(attempts(seen(tmp_path, *talks))) == expected


def test_sessions_with_an_accepted_login_hide_none(tmp_path: Path) -> None:
    """Of two sessions of a file service the one whose setup succeeded is left out; too little sent is no login."""
    evidence = seen(tmp_path, (445, _setups(0xC000006D)), (445, _setups(0)), (22, [("c", bytes(20)), ("s", bytes(20))]))
    assert hidden_logins(evidence, 300, 12).tolist() == [0]


def test_how_much_sessions_are_alike(tmp_path: Path) -> None:
    """Sizes 400, 420 and 480: the middle is 420, the differences are 20, 0 and 60, their middle 20 of 420."""
    talks = [(22, [("c", bytes(size - 100)), ("s", bytes(100))]) for size in (400, 420, 480)]
    evidence = seen(tmp_path, *talks)
    size, deviation, length = alike(evidence, hidden_logins(evidence, 300, 12))
    assert (size, round(deviation, 4)) == (420, round(20 / 420, 4)) and 0 < length < 1
