"""An nft file: one table of our own, replaced as a whole in one transaction, both families, sets with timeouts.

In: a program and the words for its head. Out: `Artifact`. `add table`, `delete table`, then the table: loading twice
is loading once. No auto-merge (it loses timeouts and widens ranges): the sets are exact already. What nft cannot say
raises UnsupportedError, naming rule and field. Must not know how or when the text is loaded.
"""

from __future__ import annotations

from dataclasses import replace

from firewall.artifact import Artifact, header
from firewall.errors import UnsupportedError
from firewall.escape import NFT_COMMENT_MAX, comment
from firewall.lower import Lowered
from firewall.program import TRACKED, Base, Condition, Line, Program, Verdict
from firewall.rules import WITH_PORTS, Rate, protocol_name
from firewall.sets import AddrSet, PortSet

TABLE = "inet tapwall"
PER = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
KEY_TYPES = {"sport": "inet_service", "dport": "inet_service"}
BUCKETS_MAX = 65535  # elements of a dynamic set: buckets kept at the same time
BUCKET_LIFE_S = 10  # as hashlimit: a bucket that nobody used starts full again
ROW = 8  # elements a line
TRANSPORT = frozenset({"sport", "dport", "icmp", "tcp_flags"})
WORDS = {Verdict.ACCEPT: "accept", Verdict.DROP: "drop", Verdict.REJECT: "reject", Verdict.RETURN: "return"}


def render(lowered: Lowered, table: str = TABLE) -> Artifact:
    """The whole table."""
    head = header(lowered, "nft -f", [])
    text = "".join(f"{line}\n" for line in [*head, *table_lines(lowered.program, table)])
    return Artifact(text, ("nft", "-f"), lowered.empty)


def portions(program: Program, table: str, *, rules: int, elements: int) -> list[str]:
    """The table as several files: sets and empty chains, then at most so many elements, then so many rules a file."""
    bare = replace(program, chains=dict.fromkeys(program.chains, ()))
    buckets: list[str] = []
    added = []
    guarded = _needs_guards(program)
    for name, lines in program.chains.items():
        found, chain = _chain(name, lines, None, guarded)
        buckets += found
        added += [f"add rule {table} {name} {line.strip()}" for line in chain[1:-1]]
    head = [*table_lines(bare, table, filled=False)[:-1], *buckets, "}"]
    out = ["".join(f"{line}\n" for line in head)]
    for name, addresses in program.sets.items():
        nets = addresses.nets(4 if addresses.v4 else 6)
        for first in range(0, len(nets), elements):
            out.append(f"add element {table} {name} {{ {', '.join(nets[first : first + elements])} }}\n")
    return [*out, *("".join(f"{line}\n" for line in added[n : n + rules]) for n in range(0, len(added), rules))]


def _needs_guards(program: Program) -> bool:
    """True where nothing puts fragments together before the rules see them."""
    return not any(program.uses(name) for name in TRACKED)


def table_lines(program: Program, table: str = TABLE, *, filled: bool = True) -> list[str]:
    """The table as lines: sets (without elements where not `filled`), buckets, called chains, then base chains."""
    based = {base.chain: base for base in program.bases}
    out = [f"add table {table}", f"delete table {table}", f"table {table} {{"]
    for name, addresses in program.sets.items():
        out += _set(name, addresses, program.timeouts.get(name), filled=filled)
    body: list[str] = []
    guarded = _needs_guards(program)
    for name, lines in program.chains.items():
        buckets, chain = _chain(name, lines, based.get(name), guarded)
        out += buckets
        if name in based:
            body += chain
        else:
            out += chain
    return [*out, *body, "}"]


def _set(name: str, addresses: AddrSet, life_s: int | None, *, filled: bool) -> list[str]:
    family = 4 if addresses.v4 else 6
    single = all(low == high for low, high in addresses.ranges(family))
    flags = [word for word, on in (("interval", not single), ("timeout", life_s is not None)) if on]
    elements = list(addresses.nets(family)) if filled else []
    out = [f"\tset {name} {{", f"\t\ttype ipv{family}_addr"]
    if flags:
        out.append(f"\t\tflags {','.join(flags)}")
    if life_s is not None:
        out.append(f"\t\ttimeout {life_s}s")
    if elements:
        rows = [", ".join(elements[i : i + ROW]) for i in range(0, len(elements), ROW)]
        out.append("\t\telements = { " + ",\n\t\t\t".join(rows) + " }")
    return [*out, "\t}"]


def _chain(name: str, lines: tuple[Line, ...], base: Base | None, guarded: bool) -> tuple[list[str], list[str]]:
    buckets: list[str] = []
    out = [f"\tchain {name} {{"]
    if base is not None:
        policy = "drop" if base.policy is Verdict.DROP else "accept"
        out.append(f"\t\ttype filter hook {base.hook.value} priority {base.priority}; policy {policy};")
    for line in lines:
        out += [f"\t\t{guard}{line_text(line, buckets)}" for guard in (_guards(line) if guarded else [""])]
    return buckets, [*out, "\t}"]


def _guards(line: Line) -> list[str]:
    """What keeps a line that reads transport headers off later fragments, where nft would read payload as ports.

    Not needed where the table uses connection tracking: fragments are put together before it. IPv6 takes two lines:
    no fragment header, or a first fragment.
    """
    if not any(c.field in TRANSPORT for c in line.conditions):
        return [""]
    if line.family == 4:
        return ["ip frag-off & 0x1fff == 0 "]
    rate = line.get("rate")
    if rate is not None and not rate.value.key:
        return ["exthdr frag missing "]  # two lines would be two buckets
    return ["exthdr frag missing ", "frag frag-off 0 "]


def line_text(line: Line, buckets: list[str]) -> str:
    """One rule. A rate with keys adds the set that holds its buckets to `buckets`."""
    words = []
    if line.family is not None and not any(c.field in ("src", "dst", "orig_dst") for c in line.conditions):
        words.append(f"meta nfproto ipv{line.family}")
    proto = line.get("proto")
    ported = any(c.field in ("sport", "dport", "tcp_flags") for c in line.conditions)
    for condition in line.conditions:
        if condition.field == "proto" and ported and not condition.negate:
            continue  # "tcp dport" says it
        words.append(_condition(condition, line, proto, buckets))
    words.append("counter")
    if line.log:
        words.append(f'log prefix "{line.rule}: "')
    if line.verdict in (Verdict.JUMP, Verdict.GOTO):
        words.append(f"{line.verdict.value} {line.target}")
    elif line.verdict is not Verdict.CONTINUE:
        if line.verdict not in WORDS:
            raise UnsupportedError(line.rule, "action", f"{line.verdict.value} has no word in nft")
        words.append(WORDS[line.verdict])
    if line.rule:
        words.append(f'comment "{comment(f"{line.rule} {line.reason or line.text}", NFT_COMMENT_MAX)}"')
    return " ".join(words)


def _condition(condition: Condition, line: Line, proto: Condition | None, buckets: list[str]) -> str:
    name, not_ = condition.field, "!= " if condition.negate else ""
    if name in ("src", "dst", "orig_dst"):
        return _address(condition, not_)
    if name == "proto":
        return f"meta l4proto {not_}{_values(condition.value)}"
    if name in ("sport", "dport"):
        return f"{_transport(line, proto)} {name} {not_}{_ports(condition)}"
    if name == "orig_dport":
        return f"meta l4proto {_number(line, proto)} ct direction original ct original proto-dst {not_}{_values(condition.value)}"
    if name == "icmp":
        word = "icmp" if line.family == 4 else "icmpv6"
        return f"meta l4proto {word} @th,0,16 {not_}{_values(condition.value)}"
    if name == "tcp_flags":
        mask, value = condition.value
        return f"tcp flags & {mask:#04x} {'!=' if condition.negate else '=='} {value:#04x}"
    if name == "state":
        words = ",".join(sorted(s.lower() for s in condition.value))
        return f"ct state {not_}{{ {words} }}" if condition.negate else f"ct state {words}"
    if name in ("iif", "oif"):
        return f'{name}name {not_}"{str(condition.value).replace("+", "*")}"'
    if name == "rate":
        return _rate(condition, line, proto, buckets)
    if name == "expires":
        return f"meta time < {int(condition.value)}"
    if name == "length":
        return f"meta length {not_}{_values(condition.value)}"
    raise UnsupportedError(line.rule, name, "nft has no word for it here")


def _address(condition: Condition, not_: str) -> str:
    addresses: AddrSet = condition.value
    family = 4 if addresses.v4 else 6
    word = "ip" if family == 4 else "ip6"
    side = "saddr" if condition.field == "src" else "daddr"
    what = (
        f"ct direction original ct original {word} {side}" if condition.field.startswith("orig") else f"{word} {side}"
    )
    if condition.set_name:
        return f"{what} {not_}@{condition.set_name}"
    nets = addresses.nets(family)
    return f"{what} {not_}{nets[0] if len(nets) == 1 else '{ ' + ', '.join(nets) + ' }'}"


def _values(ports: PortSet) -> str:
    text = ports.text().split(",")
    return text[0] if len(text) == 1 else "{ " + ", ".join(text) + " }"


def _ports(condition: Condition) -> str:
    """Ports of a match. A single negated one is written as a range.

    nft 1.0.6 joins `sport != A` and `dport != B` into one comparison of both ports, which is true where only one of
    them differs; it leaves ranges apart.
    """
    text = _values(condition.value)
    return f"{text}-{text}" if condition.negate and text.isdigit() else text


def _number(line: Line, proto: Condition | None) -> int:
    if proto is None or proto.negate or len(proto.value.ranges) != 1:
        raise UnsupportedError(line.rule, "port", "needs one protocol")
    return int(proto.value.ranges[0][0])


def _transport(line: Line, proto: Condition | None) -> str:
    number = _number(line, proto)
    if number not in WITH_PORTS:
        raise UnsupportedError(line.rule, "port", f"protocol {number} has no ports in nft")
    return protocol_name(number)


def _rate(condition: Condition, line: Line, proto: Condition | None, buckets: list[str]) -> str:
    rate: Rate = condition.value
    over = "over " if rate.above != condition.negate else ""
    limit = f"limit rate {over}{rate.packets}/{PER[rate.per_s]} burst {rate.burst} packets"
    if not rate.key:
        return limit
    if line.family is None:
        raise UnsupportedError(line.rule, "rate", "a bucket per address needs one family a line")
    word = "ip" if line.family == 4 else "ip6"
    fields = {"src": f"{word} saddr", "dst": f"{word} daddr"}
    for name in ("sport", "dport"):
        if name in rate.key:
            fields[name] = f"{_transport(line, proto)} {name}"
    name = f"{line.rule or 'tw'}-{line.family}"
    types = " . ".join(KEY_TYPES.get(k, f"ipv{line.family}_addr") for k in rate.key)
    life = max(BUCKET_LIFE_S, rate.per_s)
    text = f"\tset {name} {{\n\t\ttype {types}\n\t\tsize {BUCKETS_MAX}\n\t\tflags dynamic,timeout\n\t\ttimeout {life}s\n\t}}"
    if text not in buckets:
        buckets.append(text)
    return f"update @{name} {{ {' . '.join(fields[k] for k in rate.key)} {limit} }}"
