"""History checker: does the server keep its promises while it is killed, lines break and readers stall? (`tapwall chat check`)

In: how many writers, readers, rounds. It starts a server of its own, lets people talk, and every round kills it with signal 9 and
starts it again; lines are cut and readers stall meanwhile; files go up and down through all of it. Out: a report; `violations`
is empty if every acknowledged message is in history exactly once, numbers have no holes, everybody saw the same in the same
order and nothing else, and every file came whole. It uses the public client only: what it sees is what users see.
"""

import asyncio
import contextlib
import hashlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chat import events
from chat.client import Client
from chat.errors import ChatError
from chat.events import Message
from chat.link import Address, LinkError, RefusedError
from chat.trial.load import Plan, run_load

ROOM: Final = "check"
START_S: Final = 20.0  # for the server to say where it listens
QUIET_S: Final = 60.0  # after the last round: until all have the same
PAGE: Final = 200
SHOWN: Final = 20  # violations in the report


LOAD_CONFIG: Final = """
[history]
durable = {durable}
[limits]
connections = {places}
room_members = {places}
[rates]
messages_per_s = 0.0
account_messages_per_s = 0.0
address_messages_per_s = 0.0
room_messages_per_s = 0.0
requests_per_s = 0.0
"""

Teller = Callable[[str], None]  # progress for people, one line a round


class CheckError(ChatError):
    """The check itself could not be carried out."""


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What to do. Seconds are wall time; `seed` decides when what is broken."""

    rounds: int = 20
    writers: int = 4
    readers: int = 4
    slow: int = 1
    round_s: float = 1.5
    pause_s: float = 0.01  # of a writer between two messages
    file_bytes: int = 4 << 20
    seed: int = 1


@dataclass(slots=True)
class Seen:
    """What one client was given: its messages in order, the gaps it was told of."""

    name: str
    begins_after: int = 0
    messages: list[Message] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Sent:
    """What one writer knows: texts with their acknowledged seq, texts that were refused."""

    acked: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)


class Server:
    """A server process of the check's own: started, killed, started again on the same port and data."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.folder, self.options = folder, options
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None
        self.log = folder / "server.log"

    async def start(self) -> Address:
        """Start and wait for `listening on`. CheckError with the end of its log if it does not come up."""
        command = [
            sys.executable,
            "-m",
            "chat",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--data",
            str(self.folder / "data"),
        ]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, *self.options, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=Path(__file__).parents[2]
            )
        assert self.process.stdout is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while line := (await self.process.stdout.readline()).decode():
                    if line.startswith("listening on "):
                        self.port = int(line.rpartition(":")[2])
                        return Address("127.0.0.1", self.port)
        tail = self.log.read_text(errors="replace")[-500:]
        raise CheckError(f"the server did not come up within {START_S:.0f} s: {tail.strip()}")

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, by default without a chance to say goodbye."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self.process.pid if self.process else None


async def run_check(
    plan: CheckPlan, talk: Teller | None = None, server_options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Carry out the plan in a temporary folder; the report."""
    with tempfile.TemporaryDirectory(prefix="tapwall-check-") as folder:
        server = Server(Path(folder), server_options)
        try:
            return await _Check(plan, server, Path(folder), talk or (lambda line: None)).run()
        finally:
            await server.kill()


class _Check:
    """One run: clients and what they saw, writers and what they were promised."""

    def __init__(self, plan: CheckPlan, server: Server, folder: Path, talk: Teller) -> None:
        self.plan, self.server, self.folder, self.talk = plan, server, folder, talk
        self.chance = random.Random(plan.seed)
        self.seen: list[Seen] = []
        self.sent: dict[str, Sent] = {}
        self.writing = True
        self.cuts = self.stalls = 0
        self.files_whole = 0
        self.violations: list[str] = []

    async def run(self) -> dict[str, Any]:
        """Start, break things for the planned rounds, calm down, compare."""
        address = await self.server.start()
        began = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            writers = [
                await stack.enter_async_context(self._client(f"writer{n}", address)) for n in range(self.plan.writers)
            ]
            readers = [
                await stack.enter_async_context(self._client(f"reader{n}", address)) for n in range(self.plan.readers)
            ]
            async with asyncio.TaskGroup() as group:
                for client in writers:
                    group.create_task(self._write(client))
                if self.plan.file_bytes:
                    group.create_task(self._share(writers[0], readers[0]))
                group.create_task(self._break_lines([*writers, *readers]))
                for reader in readers[: self.plan.slow]:
                    group.create_task(self._stall(reader))
                await self._kill_rounds(address)
                self.writing = False
            history = await self._converge(readers[0])
        self._compare(history)
        return self._report(history, time.monotonic() - began)

    @contextlib.asynccontextmanager
    async def _client(self, name: str, address: Address) -> AsyncIterator[Client]:
        client = Client(name, address, patience_s=START_S)
        seen = Seen(name)
        self.seen.append(seen)
        async with client:
            seen.begins_after = (await client.join(ROOM)).seq
            watching = asyncio.create_task(self._watch(client, seen))
            try:
                yield client
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, client: Client, seen: Seen) -> None:
        async for event in client:
            match event:
                case events.Message(room=room) if room == ROOM:
                    seen.messages.append(event)
                case events.Gap():
                    seen.gaps.append((event.first, event.last))

    # --- what happens ----------------------------------------------------------------------------------------------

    async def _write(self, client: Client) -> None:
        """Numbered texts, each of them once in the world; what is acknowledged is written down."""
        mine = self.sent[client.account] = Sent()
        number = 0
        while self.writing:
            number += 1
            text = f"{client.account} {number} " + "x" * self.chance.randrange(200)
            mine.open.add(text)
            try:
                ack = await client.send(ROOM, text)
                mine.acked[text] = ack.seq
            except RefusedError as error:
                self.violations.append(f"{client.account}: message {number} was refused: {error}")
            mine.open.discard(text)
            await asyncio.sleep(self.plan.pause_s)

    async def _share(self, sender: Client, receiver: Client) -> None:
        """Files up and down, again and again, whatever breaks."""
        number = 0
        while self.writing:
            number += 1
            path = self.folder / f"file{number}.bin"
            body = self.chance.randbytes(self.plan.file_bytes)
            path.write_bytes(body)
            try:
                sent = await sender.send_file(ROOM, path)
                file = events.file_of(sent)
                assert file is not None
                saved = await receiver.fetch(file, self.folder / "received")
                if hashlib.sha256(saved.read_bytes()).digest() != hashlib.sha256(body).digest():
                    self.violations.append(f"{path.name}: received bytes differ")
                self.files_whole += 1
                saved.unlink()
            except ChatError as error:
                self.violations.append(f"{path.name}: {error}")
            path.unlink()
            await asyncio.sleep(0.05)

    async def _break_lines(self, clients: list[Client]) -> None:
        while self.writing:
            await asyncio.sleep(self.chance.uniform(0.1, 0.6))
            self.chance.choice(clients).drop()
            self.cuts += 1

    async def _stall(self, client: Client) -> None:
        while self.writing:
            await asyncio.sleep(self.chance.uniform(0.2, 1.0))
            await client.stop_reading(self.chance.uniform(0.5, 2.0))
            self.stalls += 1

    async def _kill_rounds(self, address: Address) -> None:
        for number in range(1, self.plan.rounds + 1):
            await asyncio.sleep(self.chance.uniform(0.3, 1.0) * self.plan.round_s)
            await self.server.kill()
            await self.server.start()
            acked = sum(len(one.acked) for one in self.sent.values())
            self.talk(f"round {number} of {self.plan.rounds}: killed and back, {acked} messages acknowledged so far")
        await asyncio.sleep(self.plan.round_s)

    # --- what is compared ------------------------------------------------------------------------------------------

    async def _converge(self, client: Client) -> list[Message]:
        """Wait until every client has the last message; the whole history from the server."""
        deadline = time.monotonic() + QUIET_S
        while True:
            history = await self._history(client)
            last = history[-1].seq if history else 0
            if all(one.messages and one.messages[-1].seq >= last for one in self.seen) or time.monotonic() > deadline:
                return history
            await asyncio.sleep(0.2)

    async def _history(self, client: Client) -> list[Message]:
        whole: list[Message] = []
        more = True
        while more:
            with contextlib.suppress(LinkError):
                page, more = await client.history(ROOM, after=whole[-1].seq if whole else 0, limit=PAGE)
                whole += page
                more = more and bool(page)
        return whole

    def _compare(self, history: list[Message]) -> None:
        self.violations += compare(history, self.seen, self.sent)

    def _report(self, history: list[Message], wall_s: float) -> dict[str, Any]:
        acked = sum(len(one.acked) for one in self.sent.values())
        if not acked:
            self.violations.append("nothing was acknowledged: nothing was checked")
        return {
            "ok": not self.violations,
            "rounds": self.plan.rounds, "kills": self.plan.rounds, "cuts": self.cuts, "stalls": self.stalls,
            "clients": len(self.seen), "acknowledged": acked, "history": len(history),
            "seen": sum(len(one.messages) for one in self.seen), "gaps": sum(len(one.gaps) for one in self.seen),
            "files": self.files_whole, "file_bytes": self.plan.file_bytes, "wall_s": round(wall_s, 1),
            "violations": self.violations[:SHOWN], "violation_count": len(self.violations),
        }  # fmt: skip


async def spawned_load(plan: Plan, durable: bool) -> dict[str, Any]:
    """A load run against a server of its own: no rate limits, enough places, history on disk or in memory."""
    with tempfile.TemporaryDirectory(prefix="tapwall-load-") as folder:
        settings = Path(folder) / "load.toml"
        settings.write_text(LOAD_CONFIG.format(durable=str(durable).lower(), places=plan.clients + 100))
        server = Server(Path(folder), ("--config", str(settings)))
        try:
            address = await server.start()
            return await asyncio.to_thread(run_load, plan, address, server.pid) | {"durable": durable}
        finally:
            await server.kill(signal.SIGTERM)


def compare(history: list[Message], seen: list[Seen], sent: dict[str, Sent]) -> list[str]:
    """What breaks a promise of docs/wire.md, in words. Pure: history, views and acknowledgements in."""
    wrong: list[str] = []
    by_seq = {message.seq: message for message in history}
    numbers = [message.seq for message in history]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"history: numbers are not 1..{len(numbers)} in order")
    places: dict[str, list[int]] = {}
    for message in history:
        if not message.file:
            places.setdefault(message.raw, []).append(message.seq)
    allowed: set[str] = set()
    for name, one in sent.items():
        allowed |= one.acked.keys() | one.open
        wrong += _kept(name, one, places)
    wrong += [f"history: {seqs} holds a text nobody sent" for text, seqs in places.items() if text not in allowed]
    wrong += [f"history: a text is there {len(seqs)} times: {seqs}" for seqs in places.values() if len(seqs) > 1]
    for view in seen:
        wrong += _same_view(view, by_seq, numbers[-1] if numbers else 0)
    return wrong


def _kept(name: str, one: Sent, places: dict[str, list[int]]) -> list[str]:
    """Acknowledged means: in history under that number; and one writer's messages stand in the order they were sent."""
    wrong = [
        f"{name}: acknowledged as {seq}, in history at {places.get(text, 'no place')}"
        for text, seq in one.acked.items()
        if places.get(text) != [seq]
    ]
    order = list(one.acked.values())
    return wrong + ([f"{name}: own messages are out of order"] if order != sorted(order) else [])


def _same_view(view: Seen, by_seq: dict[int, Message], last: int) -> list[str]:
    """A client saw every number from where it began, once, in order, with the same content."""
    wrong = [f"{view.name}: was told that {first}..{until} are gone" for first, until in view.gaps]
    got = [message.seq for message in view.messages]
    expected = list(range(view.begins_after + 1, last + 1))
    if got != expected:
        missing, twice = set(expected) - set(got), len(got) - len(set(got))
        wrong.append(
            f"{view.name}: saw {len(got)} of {len(expected)}, {len(missing)} missing, {twice} twice, in order: {got == sorted(got)}"
        )
    for message in view.messages:
        kept = by_seq.get(message.seq)
        if kept is not None and (kept.raw, kept.sender, kept.id) != (message.raw, message.sender, message.id):
            wrong.append(f"{view.name}: saw another message {message.seq} than history has")
    return wrong


def summary(report: dict[str, Any]) -> str:
    """The report in a few lines for people."""
    head = "every promise held" if report["ok"] else f"{report['violation_count']} violations"
    lines = [
        f"{head}: {report['acknowledged']} messages acknowledged, {report['history']} in history, {report['seen']} seen by {report['clients']} clients",
        f"{report['kills']} kills, {report['cuts']} cut lines, {report['stalls']} stalled readers, {report['files']} files of {report['file_bytes']} bytes, {report['wall_s']} s",
    ]
    return "\n".join([*lines, *(f"  {one}" for one in report["violations"])])
