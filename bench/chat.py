"""What a delivered message, a connection, a slow reader and a relayed file cost: tapwall beside established servers.

    python -m bench.chat [--members 100,1000] [--seconds 3] [--rounds 5] [--only fan-out,latency,memory,slow,files] [--window 10] [--urgent] [--json]

Servers run one at a time, pinned to core 0, interleaved round by round; the generator (this process, one epoll, counting
markers) runs on core 1. The figure to trust on a shared machine is the server's CPU per delivery and its ratio between
servers of the same round; wall-clock figures are indications. With --urgent (root) servers and generator go before
whatever else the machine does. Load goes to loopback only, to servers started here.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.chat_crowd import STAMP, Crowd
from bench.chat_files import relay_costs
from bench.chat_peers import URGENT_NICE, Peer, Running, installed

SERVER_CORE, OWN_CORE = 0, 1
SENDERS, WINDOW = 10, 10
READ = 1 << 18
URGENT = False
WANTED = {"ngircd": 4.0, "redis": 2.0, "nats": 3.0}  # at least so much dearer than tapwall
TEXT = STAMP + b"x" * 80  # 100 bytes


def connect(peer: Peer, port: int, i: int, sender: bool) -> socket.socket:
    """A joined connection."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.join(sock, i, sender)
    return sock


def crowd_of(peer: Peer, port: int, members: int) -> Crowd:
    """Members and senders, joined. The first member is the one whose receiving paces the senders."""
    apart = [connect(peer, port, 100_000 + i, True) for i in range(SENDERS)] if peer.apart else []
    joined = [connect(peer, port, i, False) for i in range(members)]
    crowd = Crowd(joined, apart or joined[-SENDERS:])
    crowd.settle()
    return crowd


def fan_out(peer: Peer, members: int, seconds: float, window: int = WINDOW) -> dict[str, float]:
    """Pipelined: 10 senders with `window` messages under way each. CPU us a delivery, deliveries a second."""
    server = Running(peer, SERVER_CORE, URGENT)
    try:
        crowd = crowd_of(peer, server.port, members)
        receivers = members - (0 if peer.echoes or peer.apart else 1)
        before = server.cpu_s()
        talk = crowd.pipelined(peer.message(TEXT), window, seconds, receivers)
        cpu = server.cpu_s() - before
        crowd.close()
        lost = talk.sent * receivers - talk.received
        if lost < 0:
            raise RuntimeError(f"{-lost} deliveries more than were sent: the marker stands in what the server adds")
        return {
            "cpu_us": 1e6 * cpu / max(1, talk.received), "per_s": talk.received / talk.took_s, "busy": cpu / talk.took_s,
            "messages": talk.sent, "lost": lost,
        }  # fmt: skip
    finally:
        server.stop()


def go_first() -> None:
    """Before everybody else's work, where the kernel weighs sessions as well as processes; not before the kernel's own:
    with real-time priority a generator that never sleeps holds up the disk."""
    with contextlib.suppress(PermissionError):
        os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, URGENT_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(URGENT_NICE))


def warm_up(peer: Peer) -> None:
    """Have the generator compiled before anything is measured."""
    server = Running(peer, SERVER_CORE)
    try:
        crowd = crowd_of(peer, server.port, SENDERS)
        crowd.pipelined(peer.message(TEXT), WINDOW, 0.1, SENDERS)
        crowd.paced(peer.message(TEXT), 100, 0.1)
        crowd.close()
    finally:
        server.stop()


def latency(peer: Peer, members: int, rate: float, seconds: float) -> dict[str, float]:
    """Open loop: `rate` messages a second; the delay of every delivery."""
    server = Running(peer, SERVER_CORE, URGENT)
    try:
        crowd = crowd_of(peer, server.port, members)
        talk = crowd.paced(peer.message(TEXT), rate, seconds)
        delays = sorted(talk.delays)
        crowd.close()
        return {
            "p50_ms": delays[len(delays) // 2] / 1e6, "p99_ms": delays[len(delays) * 99 // 100] / 1e6, "samples": len(delays),
        }  # fmt: skip
    finally:
        server.stop()


def memory(peer: Peer, connections: int) -> dict[str, float]:
    """KiB of server memory an idle joined connection."""
    server = Running(peer, SERVER_CORE, URGENT)
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


Rows = dict[str, dict[int, dict[str, float]]]  # peer -> round -> figures


def interleaved(peers: list[Peer], rounds: int, run: Any) -> Rows:
    """Each peer once a round, so that a busy machine is busy for all; a peer that fails is named and left out."""
    rows: Rows = {}
    failed: set[str] = set()
    for round_ in range(rounds):
        for peer in peers:
            if peer.name in failed:
                continue
            try:
                found = rows.setdefault(peer.name, {})[round_] = run(peer)
                print(f"  round {round_ + 1}: {peer.name}: {found}", file=sys.stderr)
            except (OSError, RuntimeError, IndexError) as error:
                failed.add(peer.name)
                print(f"  {peer.name} is left out: {type(error).__name__}: {error}", file=sys.stderr)
    return {name: found for name, found in rows.items() if found}


def table(rows: Rows, figure: str) -> dict[str, dict[str, float]]:
    """The median of each figure, and `ratio`: the median of each round's ratio to tapwall in the same round."""
    made = {}
    for name, found in rows.items():
        row = {key: statistics.median(each[key] for each in found.values()) for key in next(iter(found.values()))}
        pairs = [each[figure] / rows["tapwall"][n][figure] for n, each in found.items() if n in rows["tapwall"]]
        made[name] = row | {"ratio": statistics.median(pairs)}
    return made


def show(title: str, rows: Rows, figure: str, wanted: dict[str, float] | None = None) -> dict[str, dict[str, float]]:
    """Print a table; beside a ratio what it should at least be."""
    made = table(rows, figure)
    print(f"\n{title}")
    for name, row in made.items():
        figures = "  ".join(
            f"{key} {value:,.3f}" if value < 100 else f"{key} {value:,.0f}"
            for key, value in row.items()
            if key != "ratio"
        )
        goal = f", wanted {wanted[name]:g}" if wanted and name in wanted else ""
        print(f"  {name:16} {figures}  = {row['ratio']:.2f} x tapwall{goal}")
    return made


def stopped_reader(peer: Peer, seconds: float) -> dict[str, float]:
    """What the others receive beside a reader that has stopped, as a share of what they receive without one: the reader
    of one room stops and goes on four times, and the median of the four pairs counts."""
    server = Running(peer, SERVER_CORE, URGENT)
    try:
        crowd = crowd_of(peer, server.port, 100)
        lazy, others = crowd.members[1], [sock.fileno() for sock in crowd.members if sock is not crowd.members[1]]

        def rate() -> float:
            crowd.settle(0.2)
            talk = crowd.pipelined(peer.message(TEXT), WINDOW, seconds / 2, 0, drain=False)
            return float(crowd.counts[others].sum()) / talk.took_s

        shares = []
        for _ in range(4):
            free = rate()
            crowd.stop(lazy)
            shares.append(rate() / free)
            crowd.go_on(lazy)
        crowd.close()
        return {"others": statistics.median(shares)}
    finally:
        server.stop()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", default="100,1000")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--file-mb", type=int, default=256)
    parser.add_argument("--only", default="fan-out,latency,memory,slow,files")
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--urgent", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {OWN_CORE})
    peers, missing = installed()
    warm_up(peers[0])
    if asked.urgent:
        global URGENT
        URGENT = True
        go_first()
    only = set(asked.only.split(","))
    for name in missing:
        print(f"{name} is left out: not installed", file=sys.stderr)
    report: dict[str, Any] = {"missing": missing, "load": os.getloadavg(), "window": asked.window}
    seconds, rounds = asked.seconds, asked.rounds
    if "fan-out" in only:
        for members in map(int, asked.members.split(",")):
            rows = interleaved(peers, rounds, lambda peer, n=members: fan_out(peer, n, seconds, window=asked.window))
            title = f"fan-out, {members} members, {SENDERS} senders with {asked.window} messages under way each: CPU us a delivery"
            report[f"fan-out {members}"] = show(title, rows, "cpu_us", WANTED)
    if "latency" in only:
        rows = interleaved(peers, rounds, lambda peer: latency(peer, 100, 100, seconds))
        report["latency"] = show("delay at 100 messages/s, 100 members", rows, "p99_ms")
    if "memory" in only:
        chosen = [peer for peer in peers if peer.name in {"tapwall", "mosquitto"}]
        rows = interleaved(chosen, 1, lambda peer: memory(peer, asked.connections))
        report["memory"] = show(f"memory of {asked.connections} idle joined connections, KiB each", rows, "kib")
    if "slow" in only:
        ours = [peer for peer in peers if peer.name.startswith("tapwall")]
        pairs = interleaved(ours, rounds, lambda peer: stopped_reader(peer, seconds))
        report["slow"] = {name: row["others"] for name, row in table(pairs, "others").items()}
        print("\na stopped reader: the others' rate as a share of the rate without it, median of the pairs")
        for name, share in report["slow"].items():
            print(f"  {name:16} {share:.3f}, wanted 0.95")
    if "files" in only:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        report["files"] = relay_costs(asked.file_mb << 20, SERVER_CORE, rounds)
    if asked.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
