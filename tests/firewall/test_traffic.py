"""Conversations as a stateful firewall keys them: numbered over a whole capture, opener first, exact for any key."""

from __future__ import annotations

import firewall_packets as fp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firewall.headers import read
from firewall.traffic import MIX, MIX2, Conversations, _unique_pair

A, B = "10.0.0.1", "192.0.2.5"


def numbered(*chunks: list[bytes]) -> tuple[Conversations, list[list[int]]]:
    """Conversation numbers per chunk."""
    conversations, out = Conversations(), []
    first = 1
    for packets in chunks:
        batch = fp.batch(packets, first=first)
        out.append(conversations.update(read(batch)[0], batch.data).conversation.tolist())
        first += len(packets)
    return conversations, out


def test_both_directions_are_one_conversation_over_chunks() -> None:
    """A talk cut in two, beside another on the next port."""
    talk, other = fp.talk(A, 1024, B, 80), fp.talk(A, 1025, B, 80)
    _, found = numbered(talk[:4] + other[:1], talk[4:] + other[1:])

    assert set(found[0][:4]) == set(found[1][:7]) != set(found[0][4:]) == set(found[1][7:])


def test_the_opener_stands_first() -> None:
    """Whoever sent the first packet, whatever the addresses' order; packets and bytes are added up."""
    conversations, _ = numbered(fp.talk(B, 5000, A, 80))

    assert conversations.describe(0) == {
        "source": B, "source_port": 5000, "destination": A, "port": 80, "protocol": "tcp", "packets": 11, "bytes": 11 * 40 + 120, "first_frame": 1,
    }  # fmt: skip


def test_icmp_queries_are_keyed_by_their_identifier() -> None:
    """Request and reply are one, another identifier is another; an error belongs to none."""
    _, found = numbered([fp.icmp(A, B, 8), fp.icmp(B, A, 0), fp.icmp(A, B, 8, ident=9), fp.icmp(B, A, 3, 1)])
    one, reply, other, error = found[0]

    assert one == reply and len({one, other, error}) == 3


def test_families_do_not_mix() -> None:
    """An IPv4 address and an IPv6 one of the same number are two."""
    conversations, found = numbered([fp.udp("1.2.3.4", 1, "1.2.3.5", 2), fp.udp("::102:304", 1, "::102:305", 2)])

    assert found[0][0] != found[0][1]
    assert len(conversations.address_words) == 4


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3)), min_size=1, max_size=50))
def test_pairs_are_exact(pairs: list[tuple[int, int]]) -> None:
    """Equal pairs have equal numbers, others do not, and `first` points at one of each."""
    one, two = (np.array(column, np.int64) for column in zip(*pairs))
    key, first = _unique_pair(one, two)

    assert [pairs[at] for at in first[key]] == pairs
    assert len(set(key.tolist())) == len(set(pairs))


def test_pairs_made_to_collide_are_told_apart() -> None:
    """Whoever chooses addresses so that the mixed keys meet gets the exact way, not a wrong number."""
    word = 2**64
    inverse = pow(int(MIX2) % word, -1, word)
    # (0, 0) mixes to 0; so does (k, t) where t ^ (t >> 29) = -k * MIX / MIX2, solvable for t >= 0 where that is positive
    k, want = next((k, v) for k in range(1, 99) if (v := -k * int(MIX) * inverse % word) < 2**63)
    t = want
    for _ in range(3):
        t = want ^ (t >> 29)
    one, two = np.array([0, k], np.int64), np.array([0, t], np.int64)
    mixed = one * MIX + (two ^ (two >> 29)) * MIX2
    key, _ = _unique_pair(one, two)

    assert mixed[0] == mixed[1]
    assert key[0] != key[1]
