"""Foreign rules of the iptables family: what `iptables-save`, `ip6tables-save` or `iptables -S` print, as a program.

In: text. Out: a `Program` whose lines keep their original text. Every match and target that the model knows becomes a
condition; every other one becomes "unknown" with its words, which the simulator answers with doubt, never with "no".
The nat table is not modelled, and a note says so. Must not know packets; runs nothing, looks nothing up.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from firewall.errors import ReadError, RuleError
from firewall.iptables_lines import HASHLIMIT_MAX_S
from firewall.program import FRAGMENTS, Base, Condition, Hook, Line, Program, Verdict
from firewall.rules import STATES, Rate, flags_value, icmp_set, protocol_number
from firewall.sets import AddrSet, PortSet

LINES_MAX = 1_000_000
PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}  # netfilter_ipv4.h; nat is not modelled
HOOKS = {"PREROUTING": Hook.PREROUTING, "INPUT": Hook.INPUT, "FORWARD": Hook.FORWARD, "OUTPUT": Hook.OUTPUT, "POSTROUTING": Hook.POSTROUTING}  # fmt: skip
POLICIES = {"ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP}
VERDICTS = {"ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP, "REJECT": Verdict.REJECT, "RETURN": Verdict.RETURN}
PASSING = frozenset(["LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "TRACE", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM", "SET", "IDLETIMER", "AUDIT", "LED", "RATEEST", "TEE", "ECN"])  # fmt: skip
UNTRACKING = frozenset({"CT", "NOTRACK"})
PER = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
ICMP_NAMES = {
    "echo-reply": "0", "pong": "0", "destination-unreachable": "3", "network-unreachable": "3/0", "host-unreachable": "3/1",
    "protocol-unreachable": "3/2", "port-unreachable": "3/3", "fragmentation-needed": "3/4", "source-quench": "4",
    "redirect": "5", "echo-request": "8", "ping": "8", "router-advertisement": "9", "router-solicitation": "10",
    "time-exceeded": "11", "ttl-exceeded": "11", "parameter-problem": "12", "timestamp-request": "13", "timestamp-reply": "14",
}  # fmt: skip
ICMP6_NAMES = {
    "destination-unreachable": "1", "packet-too-big": "2", "time-exceeded": "3", "ttl-exceeded": "3", "parameter-problem": "4",
    "echo-request": "128", "ping": "128", "echo-reply": "129", "router-solicitation": "133", "router-advertisement": "134",
    "neighbour-solicitation": "135", "neighbor-solicitation": "135", "neighbour-advertisement": "136",
    "neighbor-advertisement": "136", "redirect": "137",
}  # fmt: skip
MODULES = frozenset(["tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmp6", "icmpv6", "multiport", "conntrack", "state", "comment", "limit", "hashlimit", "iprange", "length", "ttl", "hl"])  # fmt: skip
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
SHORT = {"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--protocol": "-p", "--in-interface": "-i", "--out-interface": "-o", "--fragment": "-f", "--jump": "-j", "--goto": "-g", "--match": "-m", "--source-port": "--sport", "--destination-port": "--dport", "--source-ports": "--sports", "--destination-ports": "--dports"}  # fmt: skip


@dataclass
class _Words:
    """The words of one rule, taken from the left. `rate` collects a limit's parts."""

    words: list[str]
    at: int = 0
    family: int = 4
    conditions: list[Condition] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rate: dict[str, str] = field(default_factory=dict)

    def next(self) -> str:
        """The next word. Raises ReadError at the end."""
        if self.at >= len(self.words):
            raise ReadError("rule ends where a value was expected")
        self.at += 1
        return self.words[self.at - 1]

    def values(self) -> list[str]:
        """Words up to the next option."""
        out = []
        while self.at < len(self.words) and self.words[self.at] != "!" and not self.words[self.at].startswith("-"):
            out.append(self.words[self.at])
            self.at += 1
        return out

    def add(self, name: str, value: object, negate: bool, varies: int = 0) -> None:
        """One condition."""
        self.conditions.append(Condition(name, value, negate, varies=varies))


def read(text: str, name: str = "rules", family: int | None = None) -> Program:
    """A program from saved rules. `family` None: taken from the header line, else from the addresses, else IPv4."""
    rows = text.splitlines()
    if len(rows) > LINES_MAX:
        raise ReadError(f"{name}: {len(rows)} lines, at most {LINES_MAX}")
    family = family or _family(rows)
    table = "filter"
    chains: dict[str, list[Line]] = {}
    policies: dict[str, Verdict] = {}
    notes: list[str] = []
    for number, row in enumerate(rows, 1):
        line = row.strip()
        if not line or line.startswith("#") or line == "COMMIT":
            continue
        try:
            if line.startswith("*"):
                table = line[1:].strip()
                if table == "nat":
                    notes.append("the nat table is not modelled: addresses are taken as captured")
            elif line.startswith(":"):
                chain, policy = (line[1:].split() + ["-"])[:2]
                _declare(table, chain, policy, chains, policies)
            elif line.startswith(("-P ", "-N ")):
                parts = line.split()
                _declare(table, parts[1], parts[2] if len(parts) > 2 else "-", chains, policies)
            else:
                _append(line, table, family, chains, notes)
        except (ReadError, RuleError, ValueError, IndexError) as error:
            raise ReadError(f"{name}: line {number}: {error}") from error
    bases = [
        Base(key, HOOKS[key.split("/", 1)[1]], PRIORITIES[key.split("/", 1)[0]], policies[key], family)
        for key in policies
        if key.split("/", 1)[0] in PRIORITIES and key.split("/", 1)[1] in HOOKS
    ]
    kept = {key: tuple(lines) for key, lines in chains.items() if not key.startswith("nat/")}
    return Program(kept, tuple(bases), dialect="iptables", notes=tuple(dict.fromkeys(notes)))


def _family(rows: list[str]) -> int:
    for row in rows:
        if row.startswith("#") and "ip6tables" in row:
            return 6
        if row.startswith("#") and "iptables" in row:
            return 4
        if " -p ipv6-icmp" in row or "icmp6-" in row or "::/" in row:
            return 6
    return 4


def _declare(table: str, chain: str, policy: str, chains: dict[str, list[Line]], policies: dict[str, Verdict]) -> None:
    key = f"{table}/{chain}"
    chains.setdefault(key, [])
    if policy != "-":
        if policy not in POLICIES:
            raise ReadError(f"policy of {chain}: got {policy!r}, expected ACCEPT or DROP")
        policies[key] = POLICIES[policy]
    elif chain in HOOKS:
        policies.setdefault(key, Verdict.ACCEPT)


def _append(line: str, table: str, family: int, chains: dict[str, list[Line]], notes: list[str]) -> None:
    words = shlex.split(line)
    if words and words[0].startswith("["):
        words = words[1:]
    if len(words) < 2 or words[0] not in ("-A", "--append", "-I", "--insert"):
        raise ReadError(f"got {line[:60]!r}, expected *table, :chain, -A or COMMIT")
    key = f"{table}/{words[1]}"
    made = _rule(words[2:], table, line[line.index("-") :], family, notes)
    chain = chains.setdefault(key, [])
    if words[0] in ("-I", "--insert"):
        chain[:0] = made
    else:
        chain.extend(made)


def _rule(words: list[str], table: str, text: str, family: int, notes: list[str]) -> list[Line]:
    state = _Words(words, family=family)
    verdict, target = Verdict.CONTINUE, ""
    while state.at < len(words):
        word = state.next()
        negate = word == "!"
        option = state.next() if negate else word
        option = SHORT.get(option, option)
        if option in ("-j", "-g"):
            verdict, target = _target(option, state, table, notes)
        elif option == "-m":
            module = state.next()
            if module not in MODULES and module not in ("set", "addrtype"):
                state.unknown.append(f"-m {module}")
        elif option == "-f":
            state.add("fragment", True, negate)
        elif option in OPTIONS:
            OPTIONS[option](state, negate)
        else:
            state.unknown.append(" ".join([option, *state.values()]))
    _limits(state)
    for item in dict.fromkeys(state.unknown):
        state.add("unknown", item, False)
    return [Line(tuple(state.conditions), verdict, target, family, "", text)]


def _target(option: str, state: _Words, table: str, notes: list[str]) -> tuple[Verdict, str]:
    name = state.next()
    state.at = len(state.words)  # what follows are the target's own options
    if option == "-g":
        return Verdict.GOTO, f"{table}/{name}"
    if name in VERDICTS:
        return VERDICTS[name], ""
    if name in PASSING:
        return Verdict.CONTINUE, ""
    if name in UNTRACKING:
        notes.append(f"-j {name}: its packets are simulated as tracked")
        return Verdict.CONTINUE, ""
    if name.isupper() and name in (
        "QUEUE",
        "NFQUEUE",
        "TPROXY",
        "TARPIT",
        "SYNPROXY",
        "DNAT",
        "SNAT",
        "MASQUERADE",
        "REDIRECT",
        "NETMAP",
    ):
        return Verdict.UNKNOWN, ""
    return Verdict.JUMP, f"{table}/{name}"


def _addresses(field_name: str) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        texts = [_prefix(t) for t in state.next().split(",")]
        state.add(field_name, AddrSet.parse(*texts), negate)

    return take


def _prefix(text: str) -> str:
    """As the kernel reads it: "10.0.0.0/255.255.0.0" is a prefix, host bits are cut off."""
    if "/" not in text:
        return text
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise ReadError(f"address: got {text[:60]!r} ({error})") from error


def _protocol(state: _Words, negate: bool) -> None:
    word = state.next()
    if word in ("all", "0"):
        return
    state.add("proto", PortSet.of(protocol_number(word)), negate)


def _port(field_name: str, varies: int = 0) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        text = state.next()
        if not all(c.isdigit() or c in ",:-" for c in text):
            state.unknown.append(f"{field_name} {text}")
            return
        if text.startswith(":"):
            text = f"0{text}"
        if text.endswith(":"):
            text = f"{text}65535"
        state.add(field_name, PortSet.parse(text), negate, varies)

    return take


def _states(state: _Words, negate: bool) -> None:
    names = frozenset(state.next().upper().split(","))
    if names - set(STATES):
        state.unknown.append(f"--ctstate {','.join(sorted(names))}")
    else:
        state.add("state", names, negate)


def _icmp(state: _Words, negate: bool) -> None:
    word = state.next()
    if word == "any":
        return
    names = ICMP_NAMES if state.family == 4 else ICMP6_NAMES
    text = names.get(word, word)
    if not text.replace("/", "").isdigit():
        state.unknown.append(f"--icmp-type {word}")
    else:
        state.add("icmp", icmp_set(text), negate)


def _flags(state: _Words, negate: bool) -> None:
    mask, value = state.next(), state.next()
    state.add("tcp_flags", flags_value(f"{mask}/{value}"), negate, FRAGMENTS)


def _syn(state: _Words, negate: bool) -> None:
    state.add("tcp_flags", flags_value("FIN,SYN,RST,ACK/SYN"), negate, FRAGMENTS)


def _range(field_name: str) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        state.add(field_name, AddrSet.parse(state.next()), negate)

    return take


def _length(state: _Words, negate: bool) -> None:
    text = state.next()
    state.add("length", PortSet.parse(text + "65535" if text.endswith(":") else text), negate)


def _ttl(which: str) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        value = int(state.next())
        if not 0 <= value <= 255 or (which == "lt" and value == 0) or (which == "gt" and value == 255):
            raise ReadError(f"ttl: got {value}, expected what a byte can be")
        low, high = {"eq": (value, value), "lt": (0, value - 1), "gt": (value + 1, 255)}[which]
        state.add("ttl", PortSet(((low, high),)), negate)

    return take


def _interface(field_name: str) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        name = state.next()
        if name != "+":
            state.add(field_name, name, negate)

    return take


def _rate_part(name: str) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        state.rate[name] = state.next()

    return take


def _address_type(field_name: str) -> Callable[[_Words, bool], None]:
    def take(state: _Words, negate: bool) -> None:
        kind = state.next()
        if kind == "MULTICAST":
            state.add(field_name, AddrSet.parse(MULTICAST[state.family]), negate)
        else:
            state.unknown.append(f"--{field_name}-type {kind}")

    return take


def _skip(state: _Words, negate: bool) -> None:
    state.next()


OPTIONS: dict[str, Callable[[_Words, bool], None]] = {
    "-s": _addresses("src"),
    "-d": _addresses("dst"),
    "-p": _protocol,
    "-i": _interface("iif"),
    "-o": _interface("oif"),
    "--sport": _port("sport", FRAGMENTS),  # the tcp and udp modules: backends differ
    "--dport": _port("dport", FRAGMENTS),
    "--sports": _port("sport"),
    "--dports": _port("dport"),
    "--ports": _port("port"),
    "--ctstate": _states,
    "--state": _states,
    "--icmp-type": _icmp,
    "--icmpv6-type": _icmp,
    "--tcp-flags": _flags,
    "--syn": _syn,
    "--src-range": _range("src"),
    "--dst-range": _range("dst"),
    "--length": _length,
    "--ttl-eq": _ttl("eq"),
    "--ttl-lt": _ttl("lt"),
    "--ttl-gt": _ttl("gt"),
    "--hl-eq": _ttl("eq"),
    "--hl-lt": _ttl("lt"),
    "--hl-gt": _ttl("gt"),
    "--comment": _skip,
    "--limit": _rate_part("limit"),
    "--limit-burst": _rate_part("burst"),
    "--hashlimit": _rate_part("upto"),
    "--hashlimit-upto": _rate_part("upto"),
    "--hashlimit-above": _rate_part("above"),
    "--hashlimit-burst": _rate_part("burst"),
    "--hashlimit-mode": _rate_part("mode"),
    "--hashlimit-name": _skip,
    "--dst-type": _address_type("dst"),
    "--src-type": _address_type("src"),
}


def _limits(state: _Words) -> None:
    """A limit or hashlimit as one bucket; bytes per second are not modelled."""
    if not state.rate:
        return
    kind = next((k for k in ("limit", "upto", "above") if k in state.rate), "limit")
    speed, _, per = state.rate.get(kind, "3/hour").partition("/")
    burst = state.rate.get("burst", "5")
    words = {"srcip": "src", "dstip": "dst", "srcport": "sport", "dstport": "dport"}
    modes = [m for m in state.rate.get("mode", "").split(",") if m]
    if not speed.isdigit() or per not in PER or not burst.isdigit() or set(modes) - set(words):
        state.unknown.append(f"limit {state.rate}")
        return
    if kind != "limit" and int(burst) * PER[per] > HASHLIMIT_MAX_S * int(speed):
        state.unknown.append(f"hashlimit that overflows {state.rate}")
        return
    state.add("rate", Rate(int(speed), PER[per], int(burst), kind == "above", tuple(words[m] for m in modes)), False)
