"""The intruder of the lab: real misbehaviour against the lab's own server, bounded in time and rate.

In: the name or address of the target, which must be private or loopback (anything else is refused). Out: connections
that are wrong in five ways (port scan, login guesses, a flood of connections with oversize frames, forged ARP
announcements, a beacon with jitter) and one line a phase of what came back. It says what it could reach, so that the
story can show what it could still reach after the rules. It must never be pointed at anything but the lab.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from chat import wire
from chat.decoder import Caps, Decoder
from chat.errors import WireError
from tapwall.lab.network import Borrowed, leave
from tapwall.lab.story import ATTACK, RULES, Story, moment, read_story

SCAN_PORTS = 120  # ports tried: eight times what a scan detector asks for
SCAN_PAUSE_S = 0.05
GUESSES = 24
GUESS_PAUSE_S = 0.6
FLOOD_CONNECTIONS = 400  # connections in FLOOD_S seconds: 100 a second for four seconds, then it stops
FLOOD_S = 4.0
OVERSIZE = wire.HEADER.pack(wire.MAGIC, wire.VERSION, wire.Type.SEND, 0, 0, 0x7FFFFFFF)
BEACON_S, BEACON_JITTER = 4.0, 0.15
ARP_PACKETS, ARP_PAUSE_S = 16, 0.4
TIMEOUT_S = 1.5  # of one attempt: a dropped SYN looks like this
DROP_PORT = 4444
BEACONS_S = 60.0  # the beacon's length in a round
IS_OVER = " is over"

Tell = Callable[..., None]


@dataclass(slots=True)
class Tally:
    """What came back in one phase: answered, refused, nothing at all."""

    answered: int = 0
    refused: int = 0
    silent: int = 0

    def text(self) -> str:
        """For a person."""
        return f"{self.answered} answered, {self.refused} refused, {self.silent} without any answer"

    def facts(self, phase: str, turn: int) -> dict[str, int | str]:
        """For the page."""
        return {"phase": phase, "round": turn, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Plan:
    """When he comes: seconds, and how often."""

    after_s: float = 15.0
    pause_s: float = 10.0
    patience_s: float = 240.0
    rounds: int = 2


class NotTheLab(ValueError):
    """The target is no private or loopback address: the intruder does not run."""


def lab_address(target: str) -> str:
    """The target's IPv4 address. Raises NotTheLab unless it is private or loopback, OSError if it has none."""
    address = socket.gethostbyname(target)
    parsed = ipaddress.ip_address(address)
    if not (parsed.is_loopback or parsed.is_private) or parsed.is_unspecified or parsed.is_multicast:
        raise NotTheLab(f"{target}: got {address}, expected an address of the lab's own network")
    return address


async def attempt(address: str, port: int, tally: Tally, then: Callable[..., Awaitable[None]] | None = None) -> bool:
    """One connection; counts what came back, runs `then(reader, writer)` on it, closes. True if it was answered."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), TIMEOUT_S)
    except TimeoutError:
        tally.silent += 1
        return False
    except OSError:
        tally.refused += 1
        return False
    tally.answered += 1
    try:
        if then is not None:
            with contextlib.suppress(OSError, TimeoutError, WireError):
                await asyncio.wait_for(then(reader, writer), 2 * TIMEOUT_S)
    finally:
        writer.transport.abort() if then is None else writer.close()
    return True


async def scan(address: str, rng: random.Random) -> tuple[Tally, list[int]]:
    """Try SCAN_PORTS ports once each; the tally and the open ones."""
    tally, found = Tally(), []
    ports = rng.sample([port for port in range(20, 10_000) if port not in (1234, 4444)], SCAN_PORTS - 2) + [1234, 4444]
    rng.shuffle(ports)
    waiting: set[asyncio.Task[None]] = set()

    async def one(port: int) -> None:
        if await attempt(address, port, tally):
            found.append(port)

    for port in ports:
        task = asyncio.create_task(one(port))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        await asyncio.sleep(SCAN_PAUSE_S)
    await asyncio.gather(*waiting)
    return tally, sorted(found)


async def guess(address: str, port: int, rng: random.Random) -> Tally:
    """GUESSES logins as `admin`, a connection each, with words nobody uses."""
    tally = Tally()

    async def login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.encode(wire.Hello(versions=[wire.VERSION], agent="guess")))
        writer.write(
            wire.encode(wire.Auth(mechanism="password", user="admin", secret=f"letmein{rng.randrange(10**6)}"))
        )
        await writer.drain()
        heard = Decoder(wire.FROM_SERVER, Caps(control=wire.CONTROL_CAP, data=0))
        while data := await reader.read(4096):
            if any(frame.type in (wire.Type.ERROR, wire.Type.AUTH_OK) for frame in heard.feed(data)):
                return

    for _ in range(GUESSES):
        await attempt(address, port, tally, login)
        await asyncio.sleep(GUESS_PAUSE_S)
    return tally


async def flood(address: str, port: int) -> Tally:
    """FLOOD_CONNECTIONS connections within FLOOD_S seconds, each with the header of a frame of two gigabytes."""
    tally = Tally()

    async def oversize(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OVERSIZE)
        await writer.drain()
        await reader.read(256)

    tasks = []
    for _ in range(FLOOD_CONNECTIONS):
        tasks.append(asyncio.create_task(attempt(address, port, tally, oversize)))
        await asyncio.sleep(FLOOD_S / FLOOD_CONNECTIONS)
    await asyncio.gather(*tasks)
    return tally


async def beacon(address: str, seconds: float, rng: random.Random) -> Tally:
    """A short connection to the drop every BEACON_S seconds (jitter BEACON_JITTER) for `seconds`."""
    tally, until = Tally(), asyncio.get_running_loop().time() + seconds

    async def report(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(rng.randbytes(64))
        await writer.drain()
        await reader.read(32)

    while asyncio.get_running_loop().time() < until:
        await attempt(address, DROP_PORT, tally, report)
        await asyncio.sleep(BEACON_S * (1 + rng.uniform(-BEACON_JITTER, BEACON_JITTER)))
    return tally


def arp_frames(own_mac: bytes, claimed: str, victim_mac: bytes, victim: str) -> bytes:
    """An ARP reply (RFC 826) to `victim` saying that `claimed` is at `own_mac`, as an Ethernet frame."""
    body = (
        b"\x00\x01\x08\x00\x06\x04\x00\x02"
        + own_mac
        + socket.inet_aton(claimed)
        + victim_mac
        + socket.inet_aton(victim)
    )
    return victim_mac + own_mac + b"\x08\x06" + body


async def arp_games(address: str, interface: str, claimed: str) -> str:
    """Tell the server ARP_PACKETS times that `claimed` is here. Returns what happened; needs CAP_NET_RAW."""
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind((interface, 0))
    except OSError as error:
        return f"no ARP games: {error.strerror}"
    with raw:
        own = raw.getsockname()[4][:6]
        target = neighbour(address)
        if target is None:
            return "no ARP games: the server's MAC is not known"
        for _ in range(ARP_PACKETS):
            raw.send(arp_frames(own, claimed, target, address))
            await asyncio.sleep(ARP_PAUSE_S)
    return f"told the server {ARP_PACKETS} times that {claimed} is at this MAC"


def neighbour(address: str) -> bytes | None:
    """The MAC that the kernel knows for `address`, None if it knows none."""
    with open("/proc/net/arp", encoding="ascii") as table:
        for line in table.read().splitlines()[1:]:
            fields = line.split()
            if len(fields) >= 4 and fields[0] == address and fields[3] != "00:00:00:00:00:00":
                return bytes.fromhex(fields[3].replace(":", ""))
    return None


def unused_neighbour(address: str) -> str:
    """An address of the same /24 that nobody of the lab has: claiming it hurts nobody."""
    return str(ipaddress.ip_address((int(ipaddress.ip_address(address)) & 0xFFFFFF00) | 250))


async def misbehave(target: str, port: int, interface: str, beacon_s: float, tell: Tell, turn: int = 1) -> None:
    """All five, the beacon beside the others; `tell` hears one line a phase. `turn` is the round, and the seed of ports,
    guesses and jitter. Raises NotTheLab, OSError."""
    address, rng = lab_address(target), random.Random(turn)
    calls = asyncio.create_task(beacon(address, beacon_s, rng))
    tell(f"scans {SCAN_PORTS} ports of the server")
    tally, found = await scan(address, rng)
    tell(f"scan: {tally.text()}; open: {', '.join(map(str, found)) or 'none'}", facts=tally.facts("scan", turn))
    tell(f"guesses {GUESSES} passwords of admin")
    tally = await guess(address, port, rng)
    tell(f"guesses: {tally.text()}", facts=tally.facts("guesses", turn))
    tell(f"floods: {FLOOD_CONNECTIONS} connections in {FLOOD_S:g} s, each with a frame of 2 GB announced")
    tally = await flood(address, port)
    tell(f"flood: {tally.text()}", facts=tally.facts("flood", turn))
    tell(f"ARP: {await arp_games(address, interface, unused_neighbour(address))}")
    tally = await calls
    tell(f"beacon to port {DROP_PORT}: {tally.text()}", facts=tally.facts("beacon", turn))


def play(story: Story, target: str, port: int, interface: str, plan: Plan) -> None:
    """All rounds that are not over yet: the first after `after_s`, the others once the rules stand, at the latest after
    `patience_s`, and not before `pause_s` are over. Raises NotTheLab."""
    done = sum(event["what"].endswith(IS_OVER) for event in read_story(story.folder) if event["who"] == story.who)
    for turn in range(done + 1, plan.rounds + 1):
        if turn == 1:
            time.sleep(plan.after_s)
        else:
            _wait_for_rules(story, plan)
        first = moment(read_story(story.folder), ATTACK) is None
        story.tell(f"round {turn} of {plan.rounds} begins", mark=ATTACK if first else "")
        try:
            asyncio.run(misbehave(target, port, interface, BEACONS_S, story.tell, turn))
        except OSError as error:
            story.tell(f"gives up: {error.strerror or error}")
        story.tell(f"round {turn} of {plan.rounds}{IS_OVER}")
    if done < plan.rounds:
        story.tell("goes away")


def _wait_for_rules(story: Story, plan: Plan) -> None:
    """An intruder who comes back finds the wall: he waits until the story says that it stands."""
    time.sleep(plan.pause_s)
    until = time.monotonic() + plan.patience_s - plan.pause_s
    while moment(read_story(story.folder), RULES) is None and time.monotonic() < until:
        time.sleep(1)


async def listen(port: int, story: Story) -> None:
    """The drop: takes what the beacon brings, answers 32 bytes, for as long as the server's network is there."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(reader.read(1024), 5)
            writer.write(bytes(32))
            await writer.drain()
        writer.close()

    borrowed = Borrowed()
    async with await asyncio.start_server(take, "0.0.0.0", port, backlog=16):
        while not borrowed.lost():
            await asyncio.sleep(1)
    leave(story)
