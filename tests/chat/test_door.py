"""chat.door: counts, rates and bans per address."""

import pytest

from chat.door import Door
from chat.errors import Refusal
from chat.limits import Limits, Rates
from chat.rooms import Ban


def door(**limits: int) -> Door:
    return Door(Limits(**limits), Rates(connects_per_10min=6), ("10.0.0.0/8", "127.0.0.0/8"), [])


def refused(the: Door, address: str, now: float = 0.0) -> str:
    try:
        the.admit(address, now, 1e9)
    except Refusal as no:
        return no.code
    return ""


def test_an_address_has_so_many_places_and_gets_them_back() -> None:
    """16 by default; exempt networks are not counted; a place given back is there again."""
    the = door(connections_per_address=2)

    assert [refused(the, "192.0.2.1") for _ in range(3)] == ["", "", "too-many"]
    assert refused(the, "192.0.2.2") == ""
    assert {refused(the, "10.1.2.3") for _ in range(50)} == {""}
    the.release("192.0.2.1", logged_in=False)
    assert refused(the, "192.0.2.1") == ""


def test_ipv6_is_counted_by_its_64() -> None:
    """A host has 2^64 addresses."""
    the = door(connections_per_address=2)

    assert [refused(the, f"2001:db8::{i}") for i in range(3)] == ["", "", "too-many"]
    assert refused(the, "2001:db8:0:1::1") == ""


def test_connecting_too_often_is_refused_for_a_while() -> None:
    """6 in ten minutes here."""
    the = door()
    for _ in range(6):
        assert refused(the, "192.0.2.1") == ""
        the.release("192.0.2.1", logged_in=False)

    assert refused(the, "192.0.2.1") == "too-many"
    assert refused(the, "192.0.2.1", now=101.0) == ""


def test_handshakes_are_counted_by_address_and_in_all() -> None:
    """Beyond the places of an address, or of the pool before login, none begins; one that ends gives its place back."""
    the = door(connections_per_address=2, connections_before_login=4)

    assert [the.begin_handshake("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [the.begin_handshake("127.0.0.1") for _ in range(3)] == [True, True, False]
    the.end_handshake("192.0.2.1")
    assert [the.begin_handshake("192.0.2.1") for _ in range(2)] == [True, False]


def test_half_open_connections_have_a_pool_of_their_own() -> None:
    """Slow-loris fills the pool before login; who is in stays in, and the pool empties with logins."""
    the = door(connections_before_login=3)

    assert [refused(the, "127.0.0.1") for _ in range(4)] == ["", "", "", "full"]
    the.logged_in()
    assert refused(the, "127.0.0.1") == ""


@pytest.mark.parametrize("target", ["192.0.2.0/24", "192.0.2.7/32"])
def test_banned_networks_do_not_get_in(target: str) -> None:
    """Until the ban ends."""
    the = door()
    the.bans.append(Ban(target, until=2e9, by="op"))

    assert refused(the, "192.0.2.7") == "banned"
    assert refused(the, "192.0.3.7") == ""
    the.admit("192.0.2.7", 0.0, wall=2e9 + 1)


def test_wrong_secrets_cost_the_address_and_the_account() -> None:
    """After the burst both wait; another address may not try the same account, the same address not another account."""
    the = Door(Limits(), Rates(logins_per_minute=3, login_burst=2), (), [])
    for _ in range(2):
        the.try_secret("192.0.2.1", "ann", 0.0)

    for address, account in (("192.0.2.1", "ann"), ("192.0.2.9", "ann"), ("192.0.2.1", "bob")):
        with pytest.raises(Refusal, match="wrong secrets"):
            the.try_secret(address, account, 1.0)
    the.try_secret("192.0.2.9", "bob", 1.0)
    the.try_secret("192.0.2.1", "ann", 21.0)


def test_guesses_at_once_are_not_more_than_one_after_the_other() -> None:
    """The token is taken before the check: a hundred connections that guess at the same moment have the burst, no more."""
    the = Door(Limits(), Rates(logins_per_minute=3, login_burst=2), (), [])
    let = 0
    for i in range(100):
        try:
            the.try_secret(f"192.0.2.{i}", "ann", 0.0)
            let += 1
        except Refusal:
            pass

    assert let == 2


def test_right_secrets_cost_nothing() -> None:
    """Whoever logs in all day is not taken for somebody who guesses; a try without an account costs the address alone."""
    the = Door(Limits(), Rates(logins_per_minute=3, login_burst=2), (), [])
    for _ in range(50):
        the.try_secret("192.0.2.1", "ann", 0.0)
        the.secret_was_right("192.0.2.1", "ann")
    for _ in range(2):
        the.try_secret("192.0.2.1", "", 0.0)

    the.try_secret("192.0.2.2", "", 0.0)


def test_another_configuration_holds_at_once() -> None:
    """Fewer places an address, no exemption any more, and guesses at the new rate; who is in stays in."""
    the = Door(Limits(), Rates(), ("192.0.2.0/24",), [])
    for _ in range(3):
        the.admit("192.0.2.1", 0.0, 0.0)
    the.admit("198.51.100.1", 0.0, 0.0)
    the.try_secret("198.51.100.1", "ann", 0.0)

    the.adjust(Limits(connections_per_address=1), Rates(logins_per_minute=60, login_burst=1), ())

    assert refused(the, "198.51.100.1") == "too-many"
    assert (refused(the, "192.0.2.1"), refused(the, "192.0.2.1")) == ("", "too-many")
    assert the.total == 5
    the.try_secret("198.51.100.1", "ann", 0.0)
    with pytest.raises(Refusal):
        the.try_secret("198.51.100.1", "ann", 0.5)
    the.try_secret("198.51.100.1", "ann", 1.0)
