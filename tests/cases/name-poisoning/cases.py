"""Scenes of a host that answers for names of others, and of hosts that answer for their own."""

from cases import fires, silent
from payloads import A, dns_answer, dns_query, llmnr_answer, nbns_answer, nbns_query
from traffic import Wire

EVIL, VICTIM = "10.0.0.66", "10.0.0.9"


def _llmnr(wire: Wire, name: str, owner: str, at: float, asker: str = VICTIM) -> None:
    port = wire.port()
    wire.udp(asker, port, "224.0.0.252", 5355, dns_query(name, id=7), at=at)
    wire.udp(owner, 5355, asker, port, llmnr_answer(name, owner), at=at + 0.01)


@fires("high", title="answers for")
def responder(wire: Wire) -> None:
    """Responder answers every mistyped name with its own address."""
    for number, name in enumerate(("filesrv", "printre", "wpad", "intranett", "sharepiont")):
        _llmnr(wire, name, EVIL, 10.0 * number, f"10.0.0.{9 + number % 2}")


@fires(title="answers for")
def netbios(wire: Wire) -> None:
    """The same over NetBIOS names."""
    for number, name in enumerate(("FILESRV", "PRINTRE", "INTRANETT", "OLDDC")):
        wire.udp(VICTIM, 137, "10.0.0.255", 137, nbns_query(name), at=10.0 * number)
        wire.udp(EVIL, 137, VICTIM, 137, nbns_answer(name, EVIL), at=10.0 * number + 0.01)


@fires(title="wpad")
def proxy_bait(wire: Wire) -> None:
    """Only the name of the automatic proxy is answered."""
    _llmnr(wire, "wpad", EVIL, 0)


@silent()
def own_name(wire: Wire) -> None:
    """A file server answers for its name and its old alias."""
    for number in range(6):
        _llmnr(wire, ("filesrv", "fs01")[number % 2], "10.0.0.5", 10.0 * number)


@silent()
def office(wire: Wire) -> None:
    """Six machines answer for their own names, each for one."""
    for number in range(12):
        _llmnr(wire, f"pc{number % 6}", f"10.0.0.{20 + number % 6}", 5.0 * number)


@silent()
def nobody_answers(wire: Wire) -> None:
    """Mistyped names that nobody has."""
    for number in range(10):
        wire.udp(VICTIM, 137, "10.0.0.255", 137, nbns_query(f"GONE{number}"), at=number)


@fires("high", title="answers for")
def over_ipv6(wire: Wire) -> None:
    """Responder over IPv6: the answers go from its link-local address and name its IPv4 address, for five names."""
    for number, name in enumerate(("filesrv", "printre", "intranett", "sharepiont", "olddc")):
        port = wire.port()
        wire.udp("fe80::9", port, "ff02::1:3", 5355, dns_query(name, id=7), at=10.0 * number)
        wire.udp("fe80::66", 5355, "fe80::9", port, llmnr_answer(name, EVIL), at=10.0 * number + 0.01)


@fires(title="answers for")
def over_mdns(wire: Wire) -> None:
    """The same over multicast DNS: whatever .local name is asked for is answered with one address."""
    for number, name in enumerate(("filesrv.local", "printre.local", "intranett.local", "olddc.local")):
        wire.udp(VICTIM, 5353, "224.0.0.251", 5353, dns_query(name, id=0), at=10.0 * number)
        wire.udp(
            EVIL, 5353, "224.0.0.251", 5353, dns_answer(name, A, (EVIL,), id=0, flags=0x8400), at=10.0 * number + 0.01
        )


@silent()
def wins_server(wire: Wire) -> None:
    """A WINS server confirms the four names that a client registers, with the client's address in each answer."""
    for number, name in enumerate(("WORKSTATION", "OFFICE", "ANNA", "SERVICE")):
        wire.udp(VICTIM, 137, "10.0.0.2", 137, nbns_query(name), at=number)
        wire.udp("10.0.0.2", 137, VICTIM, 137, nbns_answer(name, VICTIM), at=number + 0.01)


@silent()
def sleep_proxy(wire: Wire) -> None:
    """A sleep proxy answers over multicast DNS for four sleeping hosts, with the address of each."""
    for number in range(4):
        wire.udp(VICTIM, 5353, "224.0.0.251", 5353, dns_query(f"mac{number}.local", id=0), at=10.0 * number)
        wire.udp("10.0.0.3", 5353, "224.0.0.251", 5353, dns_answer(f"mac{number}.local", A, (f"10.0.0.{40 + number}",), id=0, flags=0x8400), at=10.0 * number + 0.01)  # fmt: skip
