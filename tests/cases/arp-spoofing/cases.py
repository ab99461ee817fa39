"""Scenes of stolen addresses, and of addresses that change hands."""

from cases import fires, silent
from payloads import request, response
from traffic import Wire

GATEWAY, VICTIM, EVIL = ("10.0.0.1", "02:00:00:00:00:01"), ("10.0.0.9", "02:00:00:00:00:09"), ("10.0.0.66", "02:00:00:00:00:66")  # fmt: skip


def _lookup(wire: Wire, asker: tuple[str, str], owner: tuple[str, str], at: float) -> None:
    wire.arp(1, asker[1], asker[0], owner[0], at=at)
    wire.arp(2, owner[1], owner[0], asker[0], asker[1], at=at + 0.001)


@fires("high", title="the gateway is among them")
def both_sides(wire: Wire) -> None:
    """ettercap, arpspoof: the attacker tells the victim it is the gateway and the gateway it is the victim, every second."""
    _lookup(wire, VICTIM, GATEWAY, 0)
    _lookup(wire, EVIL, GATEWAY, 1)
    for number in range(20):
        wire.arp(2, EVIL[1], GATEWAY[0], *VICTIM, at=5.0 + number)
        wire.arp(2, EVIL[1], VICTIM[0], *GATEWAY, at=5.1 + number)
        if number % 5 == 0:
            _lookup(wire, VICTIM, GATEWAY, 5.3 + number)


@fires(title="claims")
def one_victim(wire: Wire) -> None:
    """Only the victim is told, and only the wrong answers are in the capture beside one right one."""
    _lookup(wire, VICTIM, GATEWAY, 0)
    for number in range(30):
        wire.arp(2, EVIL[1], GATEWAY[0], *VICTIM, at=2.0 + number)


@fires(title="gateway")
def announced(wire: Wire) -> None:
    """Gratuitous replies for the gateway to everybody, in turn with the gateway's own."""
    for number in range(12):
        owner = EVIL if number % 2 else GATEWAY
        wire.arp(2, owner[1], GATEWAY[0], GATEWAY[0], "ff:ff:ff:ff:ff:ff", at=2.0 * number)


@silent()
def failover(wire: Wire) -> None:
    """VRRP: the virtual address answers with its virtual MAC, the routers with their own."""
    virtual = ("10.0.0.1", "00:00:5e:00:01:0a")
    for number in range(10):
        _lookup(wire, VICTIM, virtual, 5.0 * number)
        _lookup(wire, VICTIM, (f"10.0.0.{2 + number % 2}", f"02:00:00:00:01:0{2 + number % 2}"), 5.0 * number + 1)


@silent()
def new_lease(wire: Wire) -> None:
    """An address moves to another machine: one change, and no way back."""
    _lookup(wire, GATEWAY, ("10.0.0.30", "02:00:00:00:00:30"), 0)
    wire.arp(1, "02:00:00:00:00:31", "10.0.0.30", "10.0.0.30", at=900)
    _lookup(wire, GATEWAY, ("10.0.0.30", "02:00:00:00:00:31"), 905)
    _lookup(wire, GATEWAY, ("10.0.0.30", "02:00:00:00:00:31"), 1200)


@silent()
def link_up(wire: Wire) -> None:
    """A machine announces itself three times when its link comes up, then looks the gateway up and works."""
    for number in range(3):
        wire.arp(1, VICTIM[1], VICTIM[0], VICTIM[0], at=1.0 * number)
    _lookup(wire, VICTIM, GATEWAY, 4)
    wire.talk(VICTIM[0], "198.51.100.9", 80, [("c", request()), ("s", response())], at=5)


@silent()
def busy_network(wire: Wire) -> None:
    """Twenty hosts look each other and the gateway up for ten minutes."""
    for number in range(120):
        asker, owner = 10 + number % 20, 10 + (7 * number + 3) % 20
        if asker != owner:
            _lookup(wire, (f"10.0.0.{asker}", f"02:00:00:00:00:{asker:02x}"), (f"10.0.0.{owner}", f"02:00:00:00:00:{owner:02x}"), 5.0 * number)  # fmt: skip
        _lookup(wire, (f"10.0.0.{asker}", f"02:00:00:00:00:{asker:02x}"), GATEWAY, 5.0 * number + 1)


@silent()
def damaged_frames(wire: Wire) -> None:
    """A bad cable: single ARP frames of gateway and host with a wrong byte in the sender's MAC, which the Ethernet header belies."""
    for number in range(12):
        _lookup(wire, VICTIM, GATEWAY, 5 + 30.0 * number)
    for number, owner in enumerate((GATEWAY, VICTIM, GATEWAY)):
        broken = owner[1][:-5] + f"{number + 3:02x}" + owner[1][-3:]
        body = bytes.fromhex("0001080006040002") + bytes.fromhex(broken.replace(":", "")) + bytes(map(int, owner[0].split(".")))  # fmt: skip
        wire.frame(body + bytes(28), 0x0806, owner[1], VICTIM[1], 1 + 75.0 * number)


@silent("medium", also=("arp-spoofing",))
def takeover_and_back(wire: Wire) -> None:
    """Two routers without a virtual MAC (keepalived's default): the second takes the address over for 20 minutes, then the first again."""
    first, second = GATEWAY, ("10.0.0.1", "02:00:00:00:00:02")
    for owner, begin, length in ((first, 0, 600), (second, 603, 1200), (first, 1806, 600)):
        for number in range(5 if begin else 0):
            wire.arp(2, owner[1], owner[0], owner[0], "ff:ff:ff:ff:ff:ff", at=begin + number / 5)
        for number in range(length // 60):
            _lookup(wire, VICTIM, owner, begin + 5 + 60.0 * number)


@silent()
def lease_goes_round(wire: Wire) -> None:
    """A short lease in a café: an address goes from one telephone to another and, hours later, back."""
    for hour, last in ((0, 30), (3, 31), (6, 30)):
        owner = ("10.0.0.30", f"02:00:00:00:00:{last}")
        wire.arp(1, owner[1], "10.0.0.30", "10.0.0.30", at=3600.0 * hour)
        for number in range(5):
            _lookup(wire, GATEWAY, owner, 3600.0 * hour + 60 + 300 * number)


@silent()
def lost_questions(wire: Wire) -> None:
    """A capture that drops every eighth packet, questions to the gateway among them."""
    for number in range(200):
        asker = f"10.0.0.{10 + number % 20}", f"02:00:00:00:00:{10 + number % 20:02x}"
        if number % 8:
            wire.arp(1, asker[1], asker[0], GATEWAY[0], at=5.0 * number)
        wire.arp(2, GATEWAY[1], GATEWAY[0], *asker, at=5.0 * number + 0.001)
