"""The proof: the same rules in a real kernel, the same packets through it, its counters beside the simulator's.

In: a program and the batches of a capture. Out: `Proof`: how many rules have equal packets and bytes, and every
difference with its cause where one is known. The rules are loaded in a fresh namespace on a hook that every packet
reaches (mangle PREROUTING), one link per way (in, out, forward); REJECT, which cannot stand there, is proved as DROP,
expiry is left out. Buckets depend on real time: lines with a rate are compared but never called different.
Where no namespace is to be had the proof says so: `available` is False, with the reason.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np

from analysis.columns import Batch
from firewall import namespace
from firewall.errors import KernelError, UnsupportedError
from firewall.headers import Headers, read
from firewall.iptables_lines import chain_text, ipset_text
from firewall.portions import nft_steps, restore_steps
from firewall.program import WAY_NAMES, WAYS, Base, Condition, Hook, Line, Program, Verdict
from firewall.sets import AddrSet
from firewall.simulate import ELSEWHERE, Replay, Simulator, ways
from firewall.walk import ordered_bases

TABLE = "inet tapwall_proof"
PRIORITY = -150  # mangle: connection tracking (-200) has looked at the packet
TAG = re.compile(r"tw-line-(\d+)")
ARRIVED = 10_000_000  # tag of the line that counts whatever reached the hook
DIALECTS = ("iptables", "nft")
LOOPBACK = AddrSet.parse("127.0.0.0/8", "::1")
NEEDS = {"iptables": ("iptables-restore", "ip6tables-restore", "iptables-save", "ipset"), "nft": ("nft",)}
DIFFERENT_MAX = 100  # differences listed; their number is exact


@dataclass
class Proof:
    """The answer. `equal` of `rules` rules; `not_comparable` are rules with buckets, which need real time, and rules
    that the simulator answered with doubt and the kernel within it."""

    available: bool
    reason: str | None = None
    packets: int = 0
    sent: int = 0
    rules: int = 0
    equal: int = 0
    different: list[dict[str, Any]] = field(default_factory=list)
    not_comparable: list[str] = field(default_factory=list)
    dialects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """True where every comparable rule was equal in every dialect."""
        return self.available and not self.different

    def to_json(self) -> dict[str, Any]:
        """As outputs.md lays it down."""
        return {
            "available": self.available,
            "reason": self.reason,
            "packets": self.packets,
            "sent": self.sent,
            "rules": self.rules,
            "equal": self.equal,
            "different": self.different,
            "not_comparable": self.not_comparable,
            "dialects": self.dialects,
            "notes": self.notes,
        }


def prove(
    program: Program, batches: Iterable[Batch], *, local: AddrSet | None = None, dialects: tuple[str, ...] | None = None
) -> Proof:
    """Load, replay, compare. Never raises for a kernel that refuses: the reason is in the answer."""
    reason = namespace.refused()
    if reason:
        return Proof(False, reason)
    wanted = dialects or DIALECTS
    program = without_loopback(program)
    proof = Proof(True)
    copies, simulators = {}, {}
    for dialect in wanted:
        missing = namespace.missing_tools(NEEDS[dialect])
        if missing:
            proof.notes.append(f"{dialect}: not installed: {', '.join(missing)}")
            continue
        try:
            copies[dialect] = LOADERS[dialect](program)
        except UnsupportedError as error:
            proof.notes.append(f"{dialect}: {error}")
            continue
        simulators[dialect] = Simulator(replace(program, dialect=dialect), local=local, clock=False, harness=True)
    if not copies:
        return Proof(False, "; ".join(proof.notes) or "nothing to load")
    with tempfile.NamedTemporaryFile(prefix="tapwall-frames-") as frames:
        proof.packets, proof.sent = _write_frames(frames, simulators, batches, local or AddrSet())  # type: ignore[arg-type]
        for dialect, steps in copies.items():
            try:
                answer = namespace.run([*steps, {"replay": frames.name}, *READERS[dialect]])
                counters = _counters(dialect, answer, len(steps))
            except KernelError as error:
                return Proof(False, f"{dialect}: {error}")
            proof.dialects.append(dialect)
            _compare(proof, dialect, program, simulators[dialect].finish(), counters)
    return _summary(proof, program)


# The copy that is loaded


def without_loopback(program: Program) -> Program:
    """The program with its tests for the interface "lo" made tests for loopback addresses: in the namespace every packet
    comes over a veth. Both sides of the comparison get this form."""

    def moved(condition: Condition, line: Line) -> Condition:
        if condition.field not in ("iif", "oif") or condition.value != "lo":
            return condition
        side = "src" if condition.field == "iif" else "dst"
        return Condition(side, LOOPBACK.only(line.family) if line.family else LOOPBACK, condition.negate)

    chains = {
        name: tuple(replace(line, conditions=tuple(moved(c, line) for c in line.conditions)) for line in lines)
        for name, lines in program.chains.items()
    }
    return replace(program, chains=chains)


def verification(program: Program, families: bool) -> Program:
    """The program on one hook: base chains become called chains, every line carries its number as comment.

    `families`: False where several base chains on one way would be needed and the dialect has only one.
    """
    number = 0
    chains: dict[str, tuple[Line, ...]] = {}
    for name, lines in program.chains.items():
        copied = []
        for line in lines:
            conditions = tuple(c for c in line.conditions if c.field != "expires")
            verdict = Verdict.DROP if line.verdict is Verdict.REJECT else line.verdict
            copied.append(
                replace(
                    line,
                    conditions=conditions,
                    verdict=verdict,
                    target=_name(line.target),
                    rule=f"tw-line-{number}",
                    text="",
                    reason="",
                    log=False,
                )
            )
            number += 1
        chains[_name(name)] = tuple(copied)
    bases = ordered_bases(program)
    if not families and any(len([b for b in bases if b.hook in hooks]) > 1 for hooks in WAYS.values()):
        raise UnsupportedError("-", "chains", "more than one base chain on a packet's way; only nft is proved")
    out = []
    for at, base in enumerate(bases):
        name = f"twp{at}"
        chains[name] = tuple(_entry(base, at == 0))
        out.append(Base(name, Hook.PREROUTING, PRIORITY + at, Verdict.ACCEPT))
    return Program(chains, tuple(out), program.sets, {}, program.dialect)


def _entry(base: Base, first: bool) -> Iterator[Line]:
    """Each way's link into the base chain; the first one also counts what arrived at all."""
    if first:
        for way in range(len(WAY_NAMES)):
            yield Line((Condition("iif", f"twb{way}"),), rule=f"tw-line-{ARRIVED}")
    for way, name in enumerate(WAY_NAMES):
        if base.hook in WAYS[name]:
            link = (Condition("iif", f"twb{way}"),)
            yield Line(link, Verdict.JUMP, _name(base.chain), base.family)
            if base.policy is Verdict.DROP:
                yield Line(link, Verdict.DROP, family=base.family)


def _name(chain: str) -> str:
    """A chain name that both dialects take."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"c-{chain}")[:24] if chain else ""


def _iptables_steps(program: Program) -> list[dict[str, Any]]:
    copy = verification(program, families=False)
    steps: list[dict[str, Any]] = []
    sets = ipset_text(copy.sets, {})
    if sets:
        steps.append({"argv": ["ipset", "restore"], "input": sets})
    for family, command in ((4, "iptables"), (6, "ip6tables")):
        declared: list[str] = []
        lines: list[str] = []
        for chain in copy.chains:
            names, text = chain_text(copy, chain, family)
            declared += names
            lines += text
        jumps = [f"-A PREROUTING -j {base.chain}" for base in copy.bases]
        body = ["*mangle", *(f":{name} - [0:0]" for name in declared), *lines, *jumps, "COMMIT"]
        steps += restore_steps(command, "".join(f"{line}\n" for line in body))
    return steps


def _nft_steps(program: Program) -> list[dict[str, Any]]:
    return nft_steps(verification(program, families=True), TABLE)


LOADERS: dict[str, Callable[[Program], list[dict[str, Any]]]] = {"iptables": _iptables_steps, "nft": _nft_steps}
READERS: dict[str, list[dict[str, Any]]] = {
    "iptables": [{"argv": ["iptables-save", "-t", "mangle", "-c"]}, {"argv": ["ip6tables-save", "-t", "mangle", "-c"]}],
    "nft": [{"argv": ["nft", "-j", "list", "table", *TABLE.split()]}],
}


# The packets


def _write_frames(
    file: BinaryIO, simulators: dict[str, Simulator], batches: Iterable[Batch], local: AddrSet
) -> tuple[int, int]:
    """All packets that meet a rule, as the sandbox reads them. Returns (packets in the capture, frames written)."""
    packets = sent = 0
    for batch in batches:
        packets += len(batch.packets.number)
        for simulator in simulators.values():
            simulator.update(batch)
        headers, _ = read(batch)
        sent += _frames(file, batch, headers, ways(headers, local))
    file.flush()
    return packets, sent


def _frames(file: BinaryIO, batch: Batch, headers: Headers, way: np.ndarray[Any, Any]) -> int:
    data = np.asarray(batch.data)
    columns = (headers.start, headers.captured, headers.length, headers.family, way)
    sent = 0
    for start, captured, length, family, number in zip(*(c.tolist() for c in columns)):
        if number == ELSEWHERE:
            continue
        packet = data[start : start + captured].tobytes()
        if captured < length:
            packet = packet.ljust(length, b"\0")
        if family == 4:
            packet = _finish4(packet, length)
        elif int.from_bytes(packet[4:6], "big") + 40 != length:
            packet = packet[:4] + min(length - 40, 65535).to_bytes(2, "big") + packet[6:]
        file.write(struct.pack("<BI", number, len(packet)))
        file.write(packet)
        sent += 1
    return sent


def _finish4(packet: bytes, length: int) -> bytes:
    """Fill in what a sending network card would have: total length and header checksum."""
    if packet[10:12] != b"\0\0" and int.from_bytes(packet[2:4], "big") == length:
        return packet
    size = (packet[0] & 15) * 4
    head = bytearray(packet[:size])
    head[2:4] = length.to_bytes(2, "big")
    head[10:12] = b"\0\0"
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, size, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(head) + packet[size:]


# The counters


def _counters(dialect: str, answer: dict[str, Any], loads: int) -> dict[int, tuple[int, int]]:
    steps = answer["steps"]
    bad = next((s for s in steps if s["rc"] != 0), None)
    if bad is not None or len(steps) != loads + len(READERS[dialect]):
        words = " ".join(((bad or {}).get("err") or "no answer").split())
        raise KernelError(f"load: {words[:300]}")
    totals: dict[int, tuple[int, int]] = {}
    for step in steps[loads:]:
        for tag, packets, size in _iptables_rows(step["out"]) if dialect == "iptables" else _nft_rows(step["out"]):
            before = totals.get(tag, (0, 0))
            totals[tag] = (before[0] + packets, before[1] + size)
    return totals


def _iptables_rows(text: str) -> Iterator[tuple[int, int, int]]:
    for line in text.splitlines():
        tag = TAG.search(line)
        if tag and line.startswith("["):
            packets, size = line[1 : line.index("]")].split(":")
            yield int(tag[1]), int(packets), int(size)


def _nft_rows(text: str) -> Iterator[tuple[int, int, int]]:
    for item in json.loads(text)["nftables"]:
        rule = item.get("rule", {})
        tag = TAG.search(rule.get("comment", ""))
        for expression in rule.get("expr", []) if tag else []:
            counter = expression.get("counter")
            if tag and isinstance(counter, dict):
                yield int(tag[1]), counter["packets"], counter["bytes"]


def _compare(
    proof: Proof, dialect: str, program: Program, replay: Replay, counters: dict[int, tuple[int, int]]
) -> None:
    arrived = counters.get(ARRIVED, (0, 0))[0]
    expected = replay.reached  # fewer than were sent where connection tracking puts fragments together
    if arrived != expected:
        proof.notes.append(f"{dialect}: {expected - arrived} of {expected} packets did not reach the hook")
    for number, hits in enumerate(replay.lines):
        kernel = counters.get(number, (0, 0))
        simulated = (hits.packets, hits.bytes)
        if kernel == simulated:
            continue
        name = hits.line.rule or hits.line.text or f"{hits.chain} {number}"
        in_doubt = simulated[0] <= kernel[0] <= simulated[0] + hits.maybe
        if in_doubt or after_rate(program, number):
            if name not in proof.not_comparable:
                proof.not_comparable.append(name)
            continue
        proof.different.append(
            {
                "rule": name,
                "dialect": dialect,
                "chain": hits.chain,
                "simulated": {"packets": simulated[0], "bytes": simulated[1], "maybe": hits.maybe},
                "kernel": {"packets": kernel[0], "bytes": kernel[1]},
                "cause": "packets that did not reach the hook"
                if arrived != proof.sent
                else ("unknown matches" if hits.maybe else None),
            }
        )


def after_rate(program: Program, number: int) -> bool:
    """True for a line with a bucket, and for those below one in its chain: what they see depends on real time."""
    at = 0
    for lines in program.chains.values():
        for position in range(len(lines)):
            if at == number:
                return any(line.get("rate") is not None for line in lines[: position + 1])
            at += 1
    return False


def _summary(proof: Proof, program: Program) -> Proof:
    names = {line.rule or line.text or f"{chain} {at}" for chain, at, line in program.lines()}
    for base in program.bases:  # the jumps that only hook a chain of ours are no rule of anybody
        for line in program.chains.get(base.chain, ()):
            if not line.rule and line.verdict is Verdict.JUMP and not line.conditions:
                names.discard(line.text)
    bad = {d["rule"] for d in proof.different}
    proof.rules = len(names)
    proof.equal = len(names - bad - set(proof.not_comparable))
    del proof.different[DIFFERENT_MAX:]
    return proof
