"""What a delivered message, a connection, a slow reader and a relayed file cost: tapwall beside established servers.

    python -m bench.chat [--members 100,1000] [--seconds 3] [--rounds 5] [--only fan-out,latency,memory,slow,files] [--json]

Servers run one at a time, pinned to core 0, interleaved round by round; the generator (this process, one epoll, counting
markers) runs on core 1. The figure to trust on a shared machine is the server's CPU per delivery and its ratio between
servers of the same round; wall-clock figures are indications. Load goes to loopback only, to servers started here.
"""

import argparse
import gc
import json
import os
import re
import select
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.chat_files import relay_costs
from bench.chat_peers import Peer, Running, installed

SERVER_CORE, OWN_CORE = 0, 1
SENDERS, WINDOW = 10, 10
READ = 1 << 18
STAMP = re.compile(rb"~(\d{19})")


class Crowd:
    """All connections of one run."""

    def __init__(self, peer: Peer, port: int, members: int, senders: int) -> None:
        self.peer = peer
        self.senders = [connect(peer, port, 100_000 + i, True) for i in range(senders)] if peer.apart else []
        self.members = [connect(peer, port, i, False) for i in range(members)]
        if not peer.apart:
            self.senders = self.members[-senders:]
        self.observer = self.members[0]
        self.epoll = select.epoll()
        self.by_fd = {sock.fileno(): sock for sock in {*self.members, *self.senders}}
        for sock in self.by_fd.values():
            sock.setblocking(False)
            self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.counts = dict.fromkeys(self.by_fd, 0)
        self.stamps: list[int] = []
        self.dead: set[int] = set()
        self.buffer = bytearray(READ)
        self.view = memoryview(self.buffer)

    def read(self, timeout: float, stamps: bool = False) -> None:
        """Take what is there; count markers a connection."""
        for fd, _ in self.epoll.poll(timeout):
            try:
                size = self.by_fd[fd].recv_into(self.buffer)
            except BlockingIOError:
                continue
            except OSError:
                size = 0
            if size == 0:
                self.epoll.unregister(fd)
                self.dead.add(fd)
                continue
            self.counts[fd] += self.buffer.count(b"~", 0, size)
            if stamps:
                now = time.time_ns()
                self.stamps += [now - int(found) for found in STAMP.findall(self.view[:size])]

    def deliveries(self) -> int:
        """Markers that members have received."""
        return sum(self.counts[sock.fileno()] for sock in self.members if sock.fileno() >= 0)

    def drain(self, sent: int, seconds: float = 5.0) -> None:
        """Wait for what is under way."""
        wanted = sent * (len(self.members) - (0 if self.peer.echoes or self.peer.apart else 1))
        end = time.monotonic() + seconds
        while self.deliveries() < wanted and time.monotonic() < end:
            self.read(0.05)

    def close(self) -> None:
        """Hang up."""
        for sock in self.by_fd.values():
            sock.close()
        self.epoll.close()


def connect(peer: Peer, port: int, i: int, sender: bool) -> socket.socket:
    """A joined connection."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.join(sock, i, sender)
    return sock


def text(now_ns: int = 0) -> bytes:
    """100 bytes with one marker."""
    return b"~%019d" % now_ns + b"x" * 80


def fan_out(peer: Peer, members: int, seconds: float, stopped: int = 0) -> dict[str, float]:
    """Pipelined: 10 senders with 10 messages under way each. CPU us a delivery, deliveries a second."""
    server = Running(peer, SERVER_CORE)
    try:
        crowd = Crowd(peer, server.port, members, SENDERS)
        for sock in crowd.members[1 : 1 + stopped]:
            crowd.epoll.unregister(sock.fileno())
        settle(crowd)
        before, begun, sent = server.cpu_s(), time.monotonic(), 0
        start = crowd.deliveries()
        while time.monotonic() - begun < seconds:
            behind = sent - crowd.counts[crowd.observer.fileno()]
            for _ in range(SENDERS * WINDOW - behind):
                sock = crowd.senders[sent % len(crowd.senders)]
                try:
                    sock.send(peer.send(text(), sent))
                except BlockingIOError:
                    break
                sent += 1
            crowd.read(0.05)
        took = time.monotonic() - begun
        if not stopped:
            crowd.drain(sent)
        done = crowd.deliveries() - start
        cpu = server.cpu_s() - before
        wanted = sent * (members - stopped - (0 if peer.echoes or peer.apart else 1))
        lost = max(0, wanted - done)
        crowd.close()
        return {"cpu_us": 1e6 * cpu / max(1, done), "per_s": done / took, "lost": lost, "messages": sent}
    finally:
        server.stop()


def settle(crowd: Crowd) -> None:
    """Let the joins die down; what came by then does not count."""
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        crowd.read(0.05)
    for fd in crowd.counts:
        crowd.counts[fd] = 0


def latency(peer: Peer, members: int, rate: float, seconds: float) -> dict[str, float]:
    """Open loop: `rate` messages a second; the delay of every delivery."""
    server = Running(peer, SERVER_CORE)
    try:
        crowd = Crowd(peer, server.port, members, SENDERS)
        settle(crowd)
        begun, sent = time.monotonic(), 0
        gc.disable()
        while (now := time.monotonic()) - begun < seconds:
            if now - begun >= sent / rate:
                crowd.senders[sent % len(crowd.senders)].send(peer.send(text(time.time_ns()), sent))
                sent += 1
            crowd.read(max(0.0, min(0.01, begun + sent / rate - time.monotonic())), stamps=True)
        gc.enable()
        delays = sorted(crowd.stamps)
        crowd.close()
        return {
            "p50_ms": delays[len(delays) // 2] / 1e6,
            "p99_ms": delays[len(delays) * 99 // 100] / 1e6,
            "samples": len(delays),
        }
    finally:
        server.stop()


def memory(peer: Peer, connections: int) -> dict[str, float]:
    """KiB of server memory an idle joined connection."""
    server = Running(peer, SERVER_CORE)
    try:
        warm = [connect(peer, server.port, 200_000 + i, False) for i in range(50)]
        time.sleep(1.5)
        before = server.rss_kib()
        socks = []
        for i in range(connections):
            socks.append(connect(peer, server.port, i, False))
            if i % 50 == 0:
                for sock in socks[-2000:] + warm:
                    drop(sock)
        time.sleep(2)
        kib = (server.rss_kib() - before) / connections
        for sock in socks + warm:
            sock.close()
        return {"kib": kib, "base_mib": before / 1024}
    finally:
        server.stop()


def drop(sock: socket.socket) -> None:
    """Empty a connection's receive buffer."""
    sock.setblocking(False)
    try:
        while sock.recv(READ):
            pass
    except BlockingIOError:
        pass
    sock.setblocking(True)


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def interleaved(peers: list[Peer], rounds: int, run: Any) -> dict[str, dict[str, float]]:
    """Each peer once a round, so that a busy machine is busy for all; a peer that fails is named and left out."""
    rows: dict[str, list[dict[str, float]]] = {}
    failed: dict[str, str] = {}
    for round_ in range(rounds):
        for peer in peers:
            if peer.name in failed:
                continue
            try:
                rows.setdefault(peer.name, []).append(run(peer))
            except (OSError, RuntimeError, IndexError) as error:
                failed[peer.name] = f"{type(error).__name__}: {error}"
            print(
                f"  round {round_ + 1}: {peer.name}: {rows.get(peer.name, [None])[-1] or failed[peer.name]}",
                file=sys.stderr,
            )
    return {name: medians(found) for name, found in rows.items() if found}


def show(title: str, table: dict[str, dict[str, float]], figure: str) -> None:
    """A table with ratios to tapwall."""
    own = table["tapwall"][figure]
    print(f"\n{title}")
    for name, row in table.items():
        figures = "  ".join(
            f"{key} {value:,.3f}" if value < 100 else f"{key} {value:,.0f}" for key, value in row.items()
        )
        print(f"  {name:16} {figures}  = {row[figure] / own:.2f} x tapwall")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", default="100,1000")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--file-mb", type=int, default=256)
    parser.add_argument("--only", default="fan-out,latency,memory,slow,files")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {OWN_CORE})
    peers, missing = installed()
    only = set(asked.only.split(","))
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
    report: dict[str, Any] = {"missing": missing, "load": os.getloadavg()}
    if "fan-out" in only:
        for members in map(int, asked.members.split(",")):
            table = interleaved(peers, asked.rounds, lambda peer, n=members: fan_out(peer, n, asked.seconds))
            report[f"fan-out {members}"] = table
            show(f"fan-out, {members} members: CPU us a delivery", table, "cpu_us")
    if "latency" in only:
        table = interleaved(peers, asked.rounds, lambda peer: latency(peer, 100, 100, asked.seconds))
        report["latency"] = table
        show("delay at 100 messages/s, 100 members", table, "p99_ms")
    if "slow" in only:
        ours = [peer for peer in peers if peer.name.startswith("tapwall")]
        free = interleaved(ours, asked.rounds, lambda peer: fan_out(peer, 100, asked.seconds))
        held = interleaved(ours, asked.rounds, lambda peer: fan_out(peer, 100, asked.seconds, stopped=1))
        report["slow"] = {name: {"others": held[name]["per_s"] / 99 / (free[name]["per_s"] / 100)} for name in held}
        print("\na stopped reader: the others' rate as a share of the rate without it")
        for name, row in report["slow"].items():
            print(f"  {name:16} {row['others']:.3f}")
    if "memory" in only:
        chosen = [peer for peer in peers if peer.name in {"tapwall", "mosquitto"}]
        report["memory"] = interleaved(chosen, 1, lambda peer: memory(peer, asked.connections))
        show(f"memory of {asked.connections} idle joined connections, KiB each", report["memory"], "kib")
    if "files" in only:
        report["files"] = relay_costs(asked.file_mb << 20, SERVER_CORE, min(3, asked.rounds))
    if asked.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
