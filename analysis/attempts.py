"""Attempts to log in that a capture shows: refused and accepted ones whatever the protocol, and sessions that may hide one.

In: the evidence of an analysis. Out: `Attempts` by source, target and protocol, and the links of services whose logins
are encrypted. Refused are an answer that says so in clear text, HTTP Basic answered 401, a SIP registration beyond its
challenge, Kerberos errors about client and password, SMB session setups that fail, AUTH frames of tapwall's own chat.
Knows no threshold: how many are guessing is what detectors judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis import columns, layers
from analysis.columns import Array, among
from analysis.evidence import Evidence
from analysis.facts import Smb
from analysis.named_tuples import NamedTuple

SERVICES = (21, 22, 23, 25, 110, 143, 389, 445, 1433, 1521, 2323, 3306, 3389, 5432, 5900, 5985)
SHORT = (23, 1433, 2323, 5900)  # their logins are shorter than an encrypted one
REMOTE = (22, 23, 3389, 5900)
SPOKEN = tuple(layers.BY_NAME[name] for name in ("ssh", "rdp", "vnc", "telnet", "tpkt") if name in layers.BY_NAME)
KERBEROS_REFUSED = (6, 18, 24)  # RFC 4120 7.5.9: no such client, revoked, wrong password
KERBEROS_TICKET = 11  # AS-REP: the client knew its password
SMB1_SETUP, SMB2_SETUP = 0x73, 1  # [MS-CIFS] 2.2.4.53, [MS-SMB2] 2.2.5
# [MS-ERREF] 2.3: logon failure, wrong password, no such user, account locked out
SMB_REFUSED = (0xC000006D, 0xC000006A, 0xC0000064, 0xC0000234)
CHAT_AUTH, CHAT_AUTH_OK = 0x03, 0x04  # docs/wire.md
GUESSING = ("T1110.001", "Brute Force: Password Guessing")
SPRAYING = ("T1110.003", "Brute Force: Password Spraying")


class Try(NamedTuple):
    """One attempt, whatever the protocol. `user` is "" where the capture does not show it."""

    number: int
    time_ns: int
    flow: int
    user: str


class Attempts(NamedTuple):
    """What one host tried at another, in order of the facts."""

    source: str
    target: str
    protocol: str
    refused: list[Try]
    accepted: list[Try]


def attempts(evidence: Evidence) -> list[Attempts]:
    """Everybody's, in order of the first refused attempt; who was never refused is left out."""
    refused: defaultdict[tuple[str, str, str], list[Try]] = defaultdict(list)
    accepted: defaultdict[tuple[str, str, str], list[Try]] = defaultdict(list)

    def put(row: Any, protocol: str, user: str, good: bool) -> None:
        key = (evidence.source_of(row.flow), evidence.target_of(row.flow), protocol)
        (accepted if good else refused)[key].append(Try(row.number, row.time_ns, row.flow, user))

    for login in evidence.facts.login:
        if login.result == 0 or (login.result == 1 and login.user):
            put(login, login.protocol, login.user, login.result == 1)
    for message in evidence.facts.kerberos:
        if message.error in KERBEROS_REFUSED:
            put(message, "kerberos", message.client, False)
        elif message.message == KERBEROS_TICKET:
            put(message, "kerberos", message.client, True)
    for setup in _share_logins(evidence):
        put(setup, "smb", "", setup.status == 0)
    good_chats = {row.flow for row in evidence.facts.chat if row.type == CHAT_AUTH_OK}
    for row in evidence.facts.chat:
        if row.type == CHAT_AUTH and row.user:  # a guest whose name is taken tries again and guesses nothing
            put(row, "tapwall chat", row.user, row.flow in good_chats)
    found = []
    for key, tries in refused.items():
        good = accepted[key]
        if key[2] == "sip":
            tries = tries[: max(0, len(tries) - len(good))]  # each registration is challenged once
        found.append(Attempts(*key, tries, good))
    return found


def _share_logins(evidence: Evidence) -> Iterator[Smb]:
    """Answers to SMB session setups that accept or refuse; a second round (STATUS_MORE_PROCESSING_REQUIRED) does neither."""
    for row in evidence.facts.smb:
        if row.response and row.command == (SMB1_SETUP if row.version == 1 else SMB2_SETUP):
            if row.status == 0 or row.status in SMB_REFUSED:
                yield row


def hidden_logins(evidence: Evidence, least_bytes: float, short_bytes: float) -> Array:
    """int64[n]: links of services with encrypted logins, over which at least as much was sent as a login takes.

    Those whose login the capture shows to be accepted are left out.
    """
    links = evidence.links
    spoken = among(links.application, SPOKEN)
    banners = [evidence.link_of(row.flow) for row in evidence.facts.opening if row.data.startswith(b"SSH-")]
    spoken[[link for link in banners if link >= 0]] = True
    enough = links.sent_payload >= np.where(among(links.target_port, SHORT), short_bytes, least_bytes)
    established = links.unicast & ~links.failed & (links.synacks > 0) & (links.got_payload > 0)
    served = spoken | among(links.target_port, SERVICES)
    found = np.flatnonzero((links.kind == columns.TCP) & established & served & enough)
    welcome = {row.flow for row in evidence.facts.login if row.result == 1}
    welcome |= {row.flow for row in _share_logins(evidence) if row.status == 0}
    return found[~np.isin(links.row[found], list(welcome))] if welcome and len(found) else found


class Alike(NamedTuple):
    """How much some sessions are like each other: `size` and `deviation` are medians, `length_s` too."""

    size: float
    deviation: float  # median of the differences from `size`, as a share of it
    length_s: float


def alike(evidence: Evidence, chosen: Array) -> Alike:
    """Compare sessions by payload and duration."""
    links = evidence.links
    size = (links.sent_payload[chosen] + links.got_payload[chosen]).astype(float)
    middle = columns.median(size)
    deviation = columns.median(np.abs(size - middle)) / middle if middle else 1.0
    return Alike(middle, deviation, columns.median((links.last_ns[chosen] - links.first_ns[chosen]) / 1e9))
