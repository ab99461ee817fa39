"""The firewall at scale: `python -m bench.firewall [--packets 1e6] [--rules 1000] [--suspects 1e5] [--pairs 3] [--json]`.

Two questions. *A long list*: how long do 100,000 suspects take from a policy to loaded files, as one rule? *Replay*: how
long do 1,000 rules over a million packets take in the simulator, beside the kernel that walks the same rules one by one?
The kernel gets a part of the packets (frames through a veth pair in a namespace of its own) with the rules and without
any, in alternating pairs; its time for all packets is extrapolated from the difference, which leaves sending out of the
comparison. Seconds say something of this machine only; the ratio is of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.columns import Batch, empty_packets, empty_taps
from firewall import namespace
from firewall.apply import try_load
from firewall.files import all_files
from firewall.iptables_lines import chain_text
from firewall.lower import lower
from firewall.portions import restore_steps
from firewall.program import Program
from firewall.rules import Action, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Simulator

CHUNK = 65536  # packets a batch, as the analysis reads them
KERNEL_PACKETS = 20_000  # what the kernel gets of them: enough for seconds, not minutes
CONVERSATIONS = 20_000  # fifty packets each at a million, as in captures of a day's work
HOSTS, SEED = 4000, 7


def packets(count: int) -> np.ndarray[Any, Any]:
    """IPv4 TCP SYNs and UDP datagrams of 40 bytes in CONVERSATIONS between many hosts; checksums are left to the card."""
    rng = np.random.default_rng(SEED)
    return conversations(rng, CONVERSATIONS)[rng.integers(0, CONVERSATIONS, count)]


def conversations(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    """One packet of each."""
    out = np.zeros((count, 40), np.uint8)
    out[:, 0], out[:, 3], out[:, 8] = 0x45, 40, 64
    tcp = rng.random(count) < 0.7
    out[:, 9] = np.where(tcp, 6, 17)
    for at in (12, 16):
        host = rng.integers(0, HOSTS, count)
        out[:, at], out[:, at + 1], out[:, at + 2], out[:, at + 3] = 10, at, host >> 8, host & 255
    for at, ports in ((20, rng.integers(1024, 65536, count)), (22, rng.choice((22, 53, 80, 443, 8080), count))):
        out[:, at], out[:, at + 1] = ports >> 8, ports & 255
    out[tcp, 32], out[tcp, 33] = 0x50, 2
    out[~tcp, 25] = 20
    return out


def batches(rows: np.ndarray[Any, Any]) -> Iterator[Batch]:
    """The packets as the analysis hands them on."""
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        columns = empty_packets(len(part))
        columns.start[:] = np.arange(len(part)) * 40
        columns.ip_start[:] = columns.start
        columns.cap_len[:] = columns.frame_len[:] = 40
        columns.number[:] = np.arange(first + 1, first + 1 + len(part))
        columns.time_ns[:] = columns.number * 10_000
        columns.link_type[:] = 101
        yield Batch(part.reshape(-1), columns, empty_taps(0))


def policy(count: int) -> Policy:
    """Rules that no packet meets: the worst case of a linear walk, and what most rules of a long list are."""
    rules = []
    for n in range(count):
        source = AddrSet.parse(f"172.{16 + (n >> 14)}.{n >> 6 & 255}.{n & 63}")
        rules.append(Rule(Action.DROP, Match(src=source, proto=6, dport=PortSet.of(22 + n % 7))))
    return Policy(tuple(rules), vantage=Vantage.ROUTER)


def simulated(program: Program, rows: np.ndarray[Any, Any]) -> float:
    """Seconds of a replay in the simulator."""
    began = time.perf_counter()
    simulator = Simulator(program)
    for batch in batches(rows):
        simulator.update(batch)
    replay = simulator.finish()
    seconds = time.perf_counter() - began
    assert replay.packets == len(rows) and replay.dropped == 0
    return seconds


def kernel(program: Program, rows: np.ndarray[Any, Any], *, ruled: bool) -> float:
    """Seconds of sending these packets through the kernel, with the rules or with none."""
    _, lines = chain_text(program, "TAPWALL-FWD", 4)
    body = [line.replace("-A TAPWALL-FWD", "-A PREROUTING") for line in lines] if ruled else []
    text = "\n".join(["*mangle", *body, "COMMIT", ""])
    with tempfile.NamedTemporaryFile(prefix="tapwall-bench-") as file:
        for row in rows:
            packet = bytearray(row.tobytes())
            total = sum(struct.unpack(">10H", packet[:20]))
            total = (total & 0xFFFF) + (total >> 16)
            packet[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
            file.write(struct.pack("<BI", 2, len(packet)) + packet)
        file.flush()
        answer = namespace.run([*restore_steps("iptables", text), {"replay": file.name}])
    if answer["steps"][-1]["rc"]:
        sys.exit(answer["steps"][-1]["err"])
    return float(answer["replay_s"])


def replays(count: int, rules: int, pairs: int) -> dict[str, Any]:
    """Simulator and kernel over the same packets and rules, in alternating pairs."""
    program, rows = lower(policy(rules)).program, packets(count)
    part = rows[: min(count, KERNEL_PACKETS)]
    simulated(program, rows[:CHUNK])  # imports and first calls are not what is asked for
    ours, walks = [], []
    refused = namespace.refused()
    for _ in range(pairs):
        ours.append(simulated(program, rows))
        if refused is None:
            walks.append(kernel(program, part, ruled=True) - kernel(program, part, ruled=False))
    seconds = statistics.median(ours)
    out: dict[str, Any] = {"packets": count, "rules": rules, "simulator_s": round(seconds, 3), "kernel": refused or "linear rules, sending left out"}  # fmt: skip
    if walks:
        linear = statistics.median(walks) * count / len(part)
        out |= {"kernel_packets": len(part), "kernel_s_for_all": round(linear, 1), "ratio": round(linear / seconds, 1)}
    return out


def long_list(count: int) -> dict[str, Any]:
    """From suspects to loaded files, each backend."""
    suspects = AddrSet.of(4, [(0x0B000000 + 3 * n, 0x0B000000 + 3 * n) for n in range(count)])
    began = time.perf_counter()
    made = Policy((Rule(Action.DROP, Match(src=suspects), ttl_s=86400),), vantage=Vantage.ROUTER, created=int(time.time()))  # fmt: skip
    files, problems = all_files(made)
    rendered = time.perf_counter() - began
    lines = sum(line.startswith("-A ") for line in files["rules.v4"].splitlines())
    out: dict[str, Any] = {"suspects": count, "rules": lines, "problems": problems, "rendered_s": round(rendered, 2)}
    for backend in ("iptables", "nft"):
        if namespace.refused() is None:
            began = time.perf_counter()
            try_load(made, backend)
            out[f"rendered_and_loaded_s_{backend}"] = round(time.perf_counter() - began, 2)
    return out


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--packets", type=float, default=1e6)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--suspects", type=float, default=1e5)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {
        "list": long_list(int(asked.suspects)),
        "replay": replays(int(asked.packets), asked.rules, asked.pairs),
        "processors": os.cpu_count(),
    }
    if asked.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(name, *(f"{k}={v}" for k, v in row.items()) if isinstance(row, dict) else (row,), sep="\t")


if __name__ == "__main__":
    main()
