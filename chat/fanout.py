"""The way out: one join and one write a member a loop tick, and what happens to members who read too slowly.

The contract of the send path. It MUST put a room's frames on every live member's wire in seq order, encoded once; MUST
NOT wait for anybody, MUST NOT queue for a member whose buffer is full: it leaves the live set and comes back from the
room's ring, or is told exactly what it missed. Private frames (answers) go the same way, in one write with the room's.
Knows writers and frames, no loop and no socket: `schedule` is called once when there is something to flush.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

PAUSE_MAX_S: Final = 0.02  # between two flushes: a person does not notice it
PAUSE_MIN_S: Final = 0.0005  # a shorter pause is below the timers' resolution


class Member(Protocol):
    """A connection, as far as sending goes. `lags`: room number -> last seq it was sent, while it is not live there."""

    lags: dict[int, int] | None

    def write(self, data: bytes) -> None:
        """Hand the bytes to the transport; may call Fanout.pause() before it returns."""


def pause_s(ended: float, took: float, now: float) -> float:
    """Seconds to wait before the next flush, when the last one ended at `ended` and took `took`: none on a quiet server.
    On a busy one flushing gets half of the time: what comes in during the other half goes out in the same writes, and a
    write costs nearly the same for one message as for a hundred."""
    wait = ended + min(took, PAUSE_MAX_S) - now
    return wait if wait >= PAUSE_MIN_S else 0.0


class Channel:
    """The sending side of a room."""

    __slots__ = ("dirty", "hot", "name", "number", "ring", "ring_bytes", "seq", "tick")

    def __init__(self, number: int, name: str, seq: int) -> None:
        self.number = number
        self.name = name
        self.seq = seq  # of the last frame posted
        self.hot: dict[Member, None] = {}
        self.tick: list[bytes] = []
        self.ring: deque[tuple[int, bytes]] = deque()
        self.ring_bytes = 0
        self.dirty = False


class Fanout:
    """All channels, and what waits for the next flush."""

    def __init__(self, schedule: Callable[[], object], ring_bytes: int) -> None:
        self.channels: dict[int, Channel] = {}
        self.waiting_bytes = 0  # in ticks not flushed: senders are stopped while this is large
        self.deliveries = 0
        self.writes = 0
        self._schedule = schedule
        self._scheduled = False
        self._ring_bytes = ring_bytes
        self._dirty: list[Channel] = []
        self._private: dict[Member, list[bytes]] = {}

    def open(self, number: int, name: str, seq: int) -> Channel:
        """The channel of a room; made when first asked for, or when the number belongs to another room now."""
        channel = self.channels.get(number)
        if channel is None or channel.name != name:
            channel = self.channels[number] = Channel(number, name, seq)
        return channel

    def post(self, number: int, frame: bytes, seq: int = 0) -> None:
        """A frame for all of a room. seq 0: not a message, not replayed."""
        channel = self.channels.get(number)
        if channel is None:
            return
        if seq:
            channel.seq = seq
            channel.ring.append((seq, frame))
            channel.ring_bytes += len(frame)
            while channel.ring_bytes > self._ring_bytes:
                channel.ring_bytes -= len(channel.ring.popleft()[1])
        channel.tick.append(frame)
        self.waiting_bytes += len(frame)
        if not channel.dirty:
            channel.dirty = True
            self._dirty.append(channel)
            self._wake()

    def send(self, member: Member, frame: bytes) -> None:
        """A frame for one member."""
        parts = self._private.get(member)
        if parts is None:
            self._private[member] = [frame]
            self._wake()
        else:
            parts.append(frame)

    def flush(self) -> None:
        """Write everything that waits: the callback of `schedule`."""
        self._scheduled = False
        private, self._private = self._private, {}
        dirty, self._dirty = self._dirty, []
        self.waiting_bytes = 0
        if len(dirty) == 1:
            self._flush_one(dirty[0], private)
        else:
            for channel in dirty:
                blob = self._take(channel)
                for member in channel.hot:
                    private.setdefault(member, []).append(blob)
        for member, parts in private.items():
            member.write(parts[0] if len(parts) == 1 else b"".join(parts))
        self.writes += len(private)

    def attach(self, member: Member, number: int, after: int) -> tuple[int, int] | None:
        """Make the member live, after the frames beyond seq `after`. None: done, or its buffer is full and it will be
        resumed. Otherwise the messages (first, last) that memory no longer has: send them, then attach() from last."""
        channel = self.channels[number]
        if channel.dirty:
            self.flush()
        if after < channel.seq:
            first = channel.ring[0][0] if channel.ring else channel.seq + 1
            if after + 1 < first:
                return after + 1, first - 1
            frames = [frame for seq, frame in channel.ring if seq > after]
            if member.lags is not None:
                member.lags[number] = after
                return None
            channel.hot[member] = None  # before the write, which may take it out again
            self.send(member, b"".join(frames))
            return None
        if member.lags is not None:
            member.lags[number] = after
        else:
            channel.hot[member] = None
        return None

    def detach(self, member: Member, number: int) -> None:
        """No more frames of the room for this member."""
        channel = self.channels.get(number)
        if channel is None:
            return
        if channel.dirty and member in channel.hot:
            self.flush()
        channel.hot.pop(member, None)
        if member.lags is not None:
            member.lags.pop(number, None)

    def close(self, number: int) -> None:
        """The room is gone."""
        channel = self.channels.get(number)
        if channel is not None and channel.dirty:
            self.flush()
        self.channels.pop(number, None)

    def forget(self, member: Member, numbers: list[int]) -> None:
        """The connection is gone: nothing is written to it any more."""
        self._private.pop(member, None)
        for number in numbers:
            if number in self.channels:
                self.channels[number].hot.pop(member, None)

    def pause(self, member: Member, numbers: list[int]) -> None:
        """The member's buffer is full: out of the live sets, remembering where. All that was posted to it so far is in
        its transport, or in the flush under way."""
        lags: dict[int, int] = {}
        for number in numbers:
            channel = self.channels.get(number)
            if channel is not None and member in channel.hot:
                del channel.hot[member]
                lags[number] = channel.seq
        member.lags = lags

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._schedule()

    def _take(self, channel: Channel) -> bytes:
        """The channel's tick as one piece."""
        tick, channel.tick = channel.tick, []
        channel.dirty = False
        self.deliveries += len(tick) * len(channel.hot)
        return tick[0] if len(tick) == 1 else b"".join(tick)

    def _flush_one(self, channel: Channel, private: dict[Member, list[bytes]]) -> None:
        """The common case: one busy room. Members without private frames are written to directly."""
        blob = self._take(channel)
        for member in list(channel.hot):
            if member in private:
                private[member].append(blob)
            else:
                member.write(blob)
        self.writes += len(channel.hot)
