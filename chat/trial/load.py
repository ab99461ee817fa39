"""Load generator: N members in a room, K of them talking, and what that costs the server (`tapwall chat load`).

In: `Plan` and an address. Out: one JSON-ready dict: deliveries and their rate, delay percentiles, errors, missing deliveries,
CPU of the server per delivery and memory per connection where the server runs on this machine. One thread, one epoll, plain
sockets: MSG frames are counted by their first four bytes, not decoded, so that the generator is not the bottleneck (its own
CPU is in the report). It must not be pointed at a server that is not yours.
"""

import os
import random
import re
import selectors
import socket
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chat import wire
from chat.decoder import CLIENT, Decoder
from chat.errors import ChatError
from chat.link import Address, is_loopback
from chat.safe_text import safe_name
from chat.trial.files import FilePlan, FileWork

READ_BYTES: Final = 1 << 18
SAMPLES: Final = 1_000_000  # delays kept; beyond it every n-th
JOINING: Final = 64  # connections being opened at a time: below every listen backlog
SETTLE_S: Final = 10.0  # for the last deliveries after the last message
KEEP_ALIVE_S: Final = 20.0  # a PONG nobody asked for, before the server's 30 s of silence
PASSED_BYTES: Final = 3  # of one read kept for the next: a frame's first four bytes may be cut anywhere

MSG: Final = wire.MAGIC + bytes([wire.VERSION, wire.Type.MSG])
ACK: Final = wire.MAGIC + bytes([wire.VERSION, wire.Type.ACK])
ERROR: Final = wire.MAGIC + bytes([wire.VERSION, wire.Type.ERROR])
GAP: Final = wire.MAGIC + bytes([wire.VERSION, wire.Type.GAP])
_SENT_AT: Final = re.compile(rb'"text":"@([0-9]{1,19}) ')
_CODE: Final = re.compile(rb'"code":"([a-z0-9-]{1,40})"')


class LoadError(ChatError):
    """The load could not be put on the server."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. rate: messages/s of all senders together; 0: each sender keeps `window` messages unacknowledged."""

    clients: int = 100
    senders: int = 10
    seconds: float = 10.0
    rate: float = 100.0
    size_bytes: int = 100
    window: int = 10
    slow: int = 0  # members that stop reading after they joined
    room: str = "load"
    timed: int = 200  # members whose deliveries are timed; all are counted
    files: FilePlan = field(default_factory=FilePlan)


@dataclass(slots=True, eq=False)
class Member:
    """One connection."""

    name: str
    sock: socket.socket
    decoder: Decoder | None  # until it is in the room; from then on frames are counted, not decoded
    timed: bool
    slow: bool = False
    unsent: bytearray = field(default_factory=bytearray)
    tail: bytes = b""
    received: int = 0
    acked: int = 0
    refused: int = 0
    sent: int = 0
    gone: str = ""


def run_load(plan: Plan, address: Address, server_pid: int | None = None) -> dict[str, Any]:
    """Carry out the plan and report. LoadError if not everybody gets in."""
    run = _Run(plan, address, server_pid if server_pid is not None else find_server(address))
    files = FileWork(plan.files, address)
    try:
        run.join_all()
        files.start()
        run.talk()
        run.settle()
        return run.report() | {"files": files.finish()}
    finally:
        run.close()


class _Run:
    """The state of one run: members by socket, what was sent, delays in nanoseconds."""

    def __init__(self, plan: Plan, address: Address, pid: int | None) -> None:
        self.plan, self.address, self.pid = plan, address, pid
        self.selector = selectors.DefaultSelector()
        self.members: list[Member] = []
        self.errors: Counter[str] = Counter()
        self.gaps = 0
        self.delays = array("q")
        self.every = 1
        self.skipped = 0
        self.tag = f"{random.getrandbits(40):010x}"
        self.number = 0
        self.rss_kib_before = _rss_kib(pid)
        self.rss_kib_joined: int | None = None
        self.cpu_s = self.own_cpu_s = self.wall_s = 0.0
        self.pad = b"x" * max(plan.size_bytes - 21, 0)  # "@", 19 digits, a blank

    # --- joining ---------------------------------------------------------------------------------------------------

    def join_all(self) -> None:
        """Connect everybody, a few at a time."""
        opening: set[Member] = set()
        deadline = time.monotonic() + 30 + self.plan.clients * 0.05
        while len(self.members) < self.plan.clients or opening:
            while len(self.members) < self.plan.clients and len(opening) < JOINING:
                opening.add(self._connect(len(self.members)))
            for member, mask in self._ready(0.5):
                if mask & selectors.EVENT_READ and member.decoder is not None:
                    self._greet(member)
                elif mask & selectors.EVENT_READ:
                    self._receive(member)
                self._flush(member)
                if member.decoder is None or member.gone:
                    opening.discard(member)
                if member.gone:
                    raise LoadError(
                        f"{self.address}: member {len(self.members)} of {self.plan.clients} was refused: {member.gone}"
                    )
            if time.monotonic() > deadline:
                raise LoadError(f"{self.address}: {len(opening)} members were not let in in time")
        self._drain(0.5)
        self.rss_kib_joined = _rss_kib(self.pid)
        for member in self.members[len(self.members) - self.plan.slow :]:
            member.slow = True
            self.selector.unregister(member.sock)

    def _connect(self, number: int) -> Member:
        try:
            sock = socket.create_connection((self.address.host, self.address.port), timeout=10)
        except OSError as error:
            raise LoadError(f"{self.address}: {error.strerror or error}") from error
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stride = max(self.plan.clients // max(self.plan.timed, 1), 1)
        member = Member(f"l{self.tag}-{number}", sock, Decoder(wire.FROM_SERVER, CLIENT), number % stride == 0)
        member.unsent += wire.encode(wire.Hello([wire.VERSION], agent="load"))
        member.unsent += wire.encode(wire.Auth("guest", member.name))
        self.members.append(member)
        self.selector.register(sock, selectors.EVENT_READ, member)
        self._flush(member)
        return member

    def _greet(self, member: Member) -> None:
        """The answers to HELLO, AUTH and JOIN, decoded."""
        data = self._read(member)
        assert member.decoder is not None
        for frame in member.decoder.feed(data):
            match frame.body:
                case wire.AuthOk():
                    member.unsent += wire.encode(wire.Join(self.plan.room))
                case wire.Error():
                    member.gone = f"{frame.body.code}: {frame.body.text}"
                case wire.Members():
                    member.decoder = None
                    return

    # --- talking ---------------------------------------------------------------------------------------------------

    def talk(self) -> None:
        """Send as planned for the planned time, receiving all the while."""
        cpu, own, began = _cpu_s(self.pid), time.process_time(), time.monotonic()
        end = alive = began
        senders = self.members[: self.plan.senders]
        end += self.plan.seconds
        while (now := time.monotonic()) < end:
            if now - alive > KEEP_ALIVE_S:
                alive = now
                self._keep_alive()
            if self.plan.rate:
                due = int((now - began) * self.plan.rate)
                while self.number < due and now < end:
                    self._say(senders[self.number % len(senders)], began + self.number / self.plan.rate)
                pause = max(began + (self.number + 1) / self.plan.rate - time.monotonic(), 0.0)
            else:
                self._fill_windows(senders)
                pause = 0.05
            self._turn(min(pause, 0.05))
        self._measure = (cpu, own, began)

    def _fill_windows(self, senders: list[Member]) -> None:
        for member in senders:
            while not member.gone and member.sent - member.acked - member.refused < self.plan.window:
                self._say(member, time.monotonic())

    def _say(self, member: Member, at: float) -> None:
        """One message whose text says when it was due: a generator that is late does not flatter the server."""
        self.number += 1
        if member.gone:
            return
        text = f"@{int(at * 1e9)} " + self.pad.decode()
        member.unsent += wire.encode(wire.Send(self.plan.room, f"{self.tag}-{self.number}", text))
        member.sent += 1
        self._flush(member)

    def _keep_alive(self) -> None:
        for member in self.members:
            if not member.slow:
                member.unsent += wire.encode(wire.Pong())
                self._flush(member)

    def settle(self) -> None:
        """Wait until everybody has everything, or SETTLE_S; then read the meters."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and self._missing():
            self._turn(0.05)
        cpu, own, began = self._measure
        now_s = _cpu_s(self.pid)
        self.cpu_s = now_s - cpu if now_s is not None and cpu is not None else 0.0
        self.own_cpu_s = time.process_time() - own
        self.wall_s = time.monotonic() - began

    def _missing(self) -> int:
        """Deliveries that readers did not get, and messages without an answer. What was refused is an error, not missing."""
        taken = sum(member.acked for member in self.members)
        waiting = sum(max(member.sent - member.acked - member.refused, 0) for member in self.members if not member.gone)
        return waiting + sum(
            max(taken - member.received, 0) for member in self.members if not member.slow and not member.gone
        )

    # --- sockets ---------------------------------------------------------------------------------------------------

    def _turn(self, timeout_s: float) -> None:
        for member, mask in self._ready(timeout_s):
            if mask & selectors.EVENT_READ:
                self._receive(member)
            if mask & selectors.EVENT_WRITE:
                self._flush(member)

    def _drain(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._turn(left)

    def _ready(self, timeout_s: float) -> list[tuple[Member, int]]:
        return [(key.data, mask) for key, mask in self.selector.select(timeout_s)]

    def _read(self, member: Member) -> bytes:
        try:
            data = member.sock.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._lose(member, error.strerror or str(error))
            return b""
        if not data:
            self._lose(member, "closed by the server")
        return data

    def _receive(self, member: Member) -> None:
        """Count what came. A frame's beginning may be cut: the last bytes are looked at again, with the next read."""
        data = self._read(member)
        if not data:
            return
        now = time.monotonic_ns()
        seen = member.tail + data
        member.tail = seen[-PASSED_BYTES:]
        member.received += seen.count(MSG)
        if member.sent:
            member.acked += seen.count(ACK)
        if ERROR in seen:
            member.refused += seen.count(ERROR)
            codes = [code.decode() for code in _CODE.findall(seen)]
            self.errors.update(codes or ["error"] * seen.count(ERROR))
        if GAP in seen:
            self.gaps += seen.count(GAP)
        if member.timed:
            self._time(data, now)

    def _time(self, data: bytes, now: int) -> None:
        for sent in _SENT_AT.findall(data):
            self.skipped += 1
            if self.skipped >= self.every:
                self.skipped = 0
                self.delays.append(now - int(sent))
        if len(self.delays) > SAMPLES:
            del self.delays[::2]
            self.every *= 2

    def _flush(self, member: Member) -> None:
        if member.unsent and not member.gone:
            try:
                del member.unsent[: member.sock.send(member.unsent)]
            except BlockingIOError:
                pass
            except OSError as error:
                self._lose(member, error.strerror or str(error))
                return
        if not member.slow and not member.gone:
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.unsent else 0)
            if self.selector.get_key(member.sock).events != mask:
                self.selector.modify(member.sock, mask, member)

    def _lose(self, member: Member, why: str) -> None:
        member.gone = member.gone or why
        self.errors["disconnected"] += 1
        if not member.slow:
            self.selector.unregister(member.sock)

    # --- report ----------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """Everything as JSON-ready numbers."""
        deliveries = sum(member.received for member in self.members)
        delays = sorted(self.delays)
        rss = _rss_kib(self.pid)
        server: dict[str, Any] | None = None
        if self.pid is not None and self.rss_kib_before is not None and self.rss_kib_joined is not None:
            server = {
                "pid": self.pid,
                "cpu_s": round(self.cpu_s, 3),
                "cpu_us_per_delivery": round(self.cpu_s * 1e6 / deliveries, 4) if deliveries else None,
                "rss_kib": rss,
                "rss_kib_per_connection": round((self.rss_kib_joined - self.rss_kib_before) / self.plan.clients, 2),
                "rss_kib_growth": rss - self.rss_kib_joined if rss is not None else None,
            }
        return {
            "clients": self.plan.clients, "senders": self.plan.senders, "slow": self.plan.slow, "seconds": round(self.wall_s, 3),
            "size_bytes": self.plan.size_bytes, "rate": self.plan.rate or None, "window": None if self.plan.rate else self.plan.window,
            "sent": sum(member.sent for member in self.members), "acked": sum(member.acked for member in self.members),
            "deliveries": deliveries, "deliveries_per_s": round(deliveries / self.wall_s, 1) if self.wall_s else 0.0,
            "missing": self._missing(), "gaps": self.gaps, "errors": dict(self.errors),
            "delay_ms": {
                "p50": _percentile_ms(delays, 0.5), "p90": _percentile_ms(delays, 0.9), "p99": _percentile_ms(delays, 0.99),
                "max": _percentile_ms(delays, 1.0), "samples": len(delays),
            },
            "server": server, "generator_cpu_s": round(self.own_cpu_s, 3),
        }  # fmt: skip

    def close(self) -> None:
        """Close all sockets."""
        self.selector.close()
        for member in self.members:
            member.sock.close()


def _percentile_ms(ordered: "list[int]", share: float) -> float | None:
    """Nearest rank, in milliseconds; None of nothing."""
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1e6, 3) if ordered else None


def find_server(address: Address) -> int | None:
    """The process on this machine that listens on the address's port; None if it is elsewhere or somebody else's."""
    inodes = _listening(address.port) if is_loopback(address.host) else set()
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(fd) in wanted:
                return int(fd.parts[2])
        except OSError:
            continue
    return None


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            words = row.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                found.add(words[9])
    return found


def _cpu_s(pid: int | None) -> float | None:
    """User and system time of a process, 10 ms resolution."""
    if pid is None:
        return None
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _rss_kib(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        return None


def summary(report: dict[str, Any]) -> str:
    """The report in a few lines for people."""
    delay, server = report["delay_ms"], report["server"]
    lines = [
        f"{report['clients']} members, {report['senders']} talking, {report['slow']} not reading, {report['seconds']} s",
        f"sent {report['sent']}, acknowledged {report['acked']}, delivered {report['deliveries']} ({report['deliveries_per_s']:.0f}/s), missing {report['missing']}",
        f"delay p50 {delay['p50']} ms, p99 {delay['p99']} ms, most {delay['max']} ms",
        f"errors: {', '.join(f'{safe_name(code)} {count}' for code, count in report['errors'].items()) or 'none'}; gaps {report['gaps']}",
    ]
    if files := report.get("files"):
        lines.append(
            f"files: {files['sent']} of {files['count']} sent at {files['upload_mb_per_s']} MB/s, fetched {files['fetched']} times at "
            f"{files['fetch_mb_per_s']} MB/s; failures: {'; '.join(safe_name(one) for one in files['failures']) or 'none'}"
        )
    if server:
        lines.append(
            f"server {server['pid']}: {server['cpu_s']} s CPU, {server['cpu_us_per_delivery']} us a delivery, "
            f"{server['rss_kib_per_connection']} KiB a connection, {server['rss_kib_growth']} KiB growth under load"
        )
    return "\n".join(lines)
