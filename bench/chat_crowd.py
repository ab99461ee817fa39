"""The load of bench/chat.py: one compiled loop over epoll, send and recv, so that the generator is never what is measured.

A Python generator costs more CPU per delivery than the servers beside it: then all of them look alike, idle and waiting. This
loop is compiled by numba (no C compiler is needed) and calls the C library itself. It counts the marker `^` in what members
receive, and reads the time of sending behind it where delays are asked for. It knows no protocol: messages come ready-made
from bench/chat_peers.py, with blanks for a number and a time.
"""

import ctypes
import platform
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

READ = 1 << 18  # bytes a recv
EVENT = 12 if platform.machine() == "x86_64" else 16  # struct epoll_event: packed on x86-64 only
EVENTS = 4096  # of one epoll_wait
NUMBER = b"#########"  # in a message: replaced by the message's number, nine digits
STAMP = b"^0000000000000000000"  # the marker and the time of sending in ns, nineteen digits
STUCK_NS = 1_000_000_000  # a server that takes half a message and no more for so long is given up
MARKER = 94  # ^: a byte that no envelope of the peers has (ngircd writes ~ before a name)
DONT_WAIT = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


def _c(name: str, *arguments: Any) -> Any:
    found = ctypes.CDLL(None)[name]
    found.restype, found.argtypes = (
        ctypes.c_int32 if name in {"epoll_wait", "clock_gettime"} else ctypes.c_int64,
        arguments,
    )
    return found


_send = _c("send", ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32)
_recv = _c("recv", ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32)
_epoll_wait = _c("epoll_wait", ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)
_memchr = _c("memchr", ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t)
_clock = _c("clock_gettime", ctypes.c_int32, ctypes.c_void_p)


@njit
def _now(clock: int, spec: Any) -> int:
    """Nanoseconds of a C clock (0: of day, 1: steady)."""
    _clock(clock, spec.ctypes.data)
    return spec[0] * 1_000_000_000 + spec[1]


@njit
def _digits(out: Any, at: int, count: int, value: int) -> None:
    for i in range(count):
        out[at + count - 1 - i] = 48 + value % 10
        value //= 10


@njit
def _take(epoll: int, wait_ms: int, events: Any, buffer: Any, counts: Any, delays: Any, timed: bool, spec: Any) -> int:
    """Read what is there; count markers a connection, note delays. Returns how many were counted."""
    ready = _epoll_wait(epoll, events.ctypes.data, EVENTS, wait_ms)
    total = 0
    for event in range(ready):
        at = event * EVENT + EVENT - 8
        fd = int(events[at]) | int(events[at + 1]) << 8 | int(events[at + 2]) << 16
        size = _recv(fd, buffer.ctypes.data, READ, DONT_WAIT)
        found = 0
        now = _now(0, spec) if timed else 0
        i = 0
        while i < size:
            hit = _memchr(buffer.ctypes.data + i, MARKER, size - i)
            if hit == 0:
                break
            i = hit - buffer.ctypes.data + 1
            found += 1
            if timed and i + 19 <= size and delays[0] < len(delays) - 1:
                sent = 0
                for digit in range(i, i + 19):
                    sent = sent * 10 + buffer[digit] - 48
                delays[0] += 1
                delays[delays[0]] = now - sent
        counts[fd] += found
        total += found
    return total


@njit
def _put(fd: int, message: Any, blanks: Any, many: int, number: int, out: Any, spec: Any) -> int:
    """Send `many` messages over one connection in one piece; how many went out whole (0 when the buffer is full)."""
    size = len(message)
    end_ns = _now(1, spec) + STUCK_NS
    for n in range(many):
        for i in range(size):
            out[n * size + i] = message[i]
        if blanks[0] >= 0:
            _digits(out, n * size + blanks[0], 9, blanks[2] + number + n)
        _digits(out, n * size + blanks[1] + 1, 19, _now(0, spec))
    done = 0
    while done < many * size:
        sent = _send(fd, out.ctypes.data + done, many * size - done, DONT_WAIT)
        if sent > 0:
            done += sent
        elif done == 0 or _now(1, spec) > end_ns:
            return 0
    return many


@njit
def _pipelined(epoll: int, senders: Any, message: Any, blanks: Any, window: int, observer: int, work: Any, end_ns: int) -> int:  # fmt: skip
    """Keep `window` messages a sender under way, as far as the observer has seen; the number sent. It never sleeps: to wake
    a sleeping receiver costs the server more than the send itself, and would be measured instead of the server."""
    events, buffer, counts, delays, out, spec = work
    sent = 0
    while _now(1, spec) < end_ns:
        for _ in range(len(senders) * window - (sent - counts[observer])):
            went = _put(senders[sent % len(senders)], message, blanks, 1, sent, out, spec)
            if went == 0:
                break
            sent += went
        _take(epoll, 0, events, buffer, counts, delays, False, spec)
    return sent


@njit
def _paced(epoll: int, senders: Any, message: Any, blanks: Any, gap_ns: int, work: Any, begin_ns: int, end_ns: int) -> int:  # fmt: skip
    """A message every `gap_ns`, whatever comes back; the number sent."""
    events, buffer, counts, delays, out, spec = work
    sent = 0
    now = begin_ns
    while now < end_ns:
        if now >= begin_ns + sent * gap_ns:
            sent += _put(senders[sent % len(senders)], message, blanks, 1, sent, out, spec)
        wait_ms = max(0, (begin_ns + sent * gap_ns - now) // 1_000_000)
        _take(epoll, wait_ms, events, buffer, counts, delays, True, spec)
        now = _now(1, spec)
    return sent


@njit
def _drain(epoll: int, wanted: int, done: int, work: Any, end_ns: int) -> int:
    """Read until `wanted` markers have come in all, or the time is over; how many came."""
    events, buffer, counts, delays, _, spec = work
    while done < wanted and _now(1, spec) < end_ns:
        done += _take(epoll, 20, events, buffer, counts, delays, False, spec)
    return done


@dataclass(frozen=True, slots=True)
class Talk:
    """What a run has done: messages sent, markers that members received, seconds it took, delays in ns where asked for."""

    sent: int
    received: int
    took_s: float
    delays: Any


class Crowd:
    """All connections of one run, joined already."""

    def __init__(self, members: list[socket.socket], senders: list[socket.socket]) -> None:
        self.members, self.senders = members, senders
        self.everybody = list({sock.fileno(): sock for sock in [*members, *senders]}.values())
        self.epoll = select.epoll()
        self.reading = list(members)
        for sock in self.everybody:
            sock.setblocking(False)
            self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.counts = np.zeros(max(sock.fileno() for sock in self.everybody) + 1, np.int64)
        self.delays = np.zeros(1 << 20, np.int64)  # the first is how many there are
        self.work = (
            np.zeros(EVENTS * EVENT, np.uint8), np.zeros(READ, np.uint8), self.counts, self.delays,
            np.zeros(1 << 16, np.uint8), np.zeros(2, np.int64),
        )  # fmt: skip
        self.said = 0
        self._fds = np.array([sock.fileno() for sock in senders], np.int64)

    def stop(self, sock: socket.socket) -> None:
        """Read no more from a member."""
        self.epoll.unregister(sock.fileno())
        self.reading.remove(sock)

    def go_on(self, sock: socket.socket) -> None:
        """Read from it again."""
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.reading.append(sock)

    def settle(self, seconds: float = 1.5) -> None:
        """Let the joins die down; what came by then does not count."""
        _drain(self.epoll.fileno(), 1 << 60, 0, self.work, time.monotonic_ns() + int(seconds * 1e9))
        self.counts[:] = 0

    def pipelined(self, message: bytes, window: int, seconds: float, echoed: int, drain: bool = True) -> Talk:
        """Talk as fast as the first member receives. `echoed`: members that receive each message."""
        begun = time.monotonic_ns()
        sent = _pipelined(self.epoll.fileno(), self._fds, *self._blanks(message), window, self.reading[0].fileno(), self.work, begun + int(seconds * 1e9))  # fmt: skip
        took = (time.monotonic_ns() - begun) / 1e9
        self.said += sent
        if drain:
            _drain(self.epoll.fileno(), sent * echoed, self.received(), self.work, time.monotonic_ns() + 5_000_000_000)
        return Talk(sent, self.received(), took, self.delays[:0])

    def paced(self, message: bytes, rate: float, seconds: float) -> Talk:
        """Talk at a rate, and note the delay of every delivery."""
        begun = time.monotonic_ns()
        self.delays[0] = 0
        sent = _paced(self.epoll.fileno(), self._fds, *self._blanks(message), int(1e9 / rate), self.work, begun, begun + int(seconds * 1e9))  # fmt: skip
        self.said += sent
        return Talk(sent, self.received(), (time.monotonic_ns() - begun) / 1e9, self.delays[1 : self.delays[0] + 1])

    def _blanks(self, message: bytes) -> tuple[Any, Any]:
        """The message as an array; where its number (-1: none) and its time are to be written, and the first number."""
        places = [message.find(NUMBER), message.index(b"^"), self.said]
        return np.frombuffer(message, np.uint8), np.array(places, np.int64)

    def received(self) -> int:
        """Markers that members have received."""
        return int(sum(self.counts[sock.fileno()] for sock in self.reading))

    def close(self) -> None:
        """Hang up."""
        for sock in self.everybody:
            sock.close()
        self.epoll.close()
