"""The words of iptables and ip6tables for a lowered line, shared by the renderers that speak them.

In: lines of one family, as `lower.for_iptables` makes them. Out: arguments of `-A CHAIN …` in iptables-restore syntax,
and ipset commands. Numeric only: no host or service names, which a load would look up. What xtables cannot say raises
UnsupportedError, naming rule and field. Must not know files or how the text is loaded.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

from firewall.errors import UnsupportedError
from firewall.escape import comment
from firewall.lower import MULTIPORT_SLOTS, for_iptables
from firewall.program import TRACKED, Condition, Line, Program, Verdict
from firewall.rules import TCP_FLAG_BITS, Rate
from firewall.sets import AddrSet, PortSet

CHAIN_MAX = 28
SET_NAME_MAX = 31
WORDS = {
    Verdict.ACCEPT: "-j ACCEPT",
    Verdict.DROP: "-j DROP",
    Verdict.REJECT: "-j REJECT",
    Verdict.RETURN: "-j RETURN",
}
PER = {1: "sec", 60: "min", 3600: "hour", 86400: "day"}
MODES = {"src": "srcip", "dst": "dstip", "sport": "srcport", "dport": "dstport"}
IPSET_FULL = 65536  # ipset's own default for maxelem
HASHLIMIT_MAX_S = 86400  # xt_hashlimit's credits hold one day (CREDITS_PER_JIFFY); beyond, measured, the burst is lost
LATEST = 2147483647  # xt_time keeps 32-bit seconds


def chain_text(program: Program, chain: str, family: int) -> tuple[list[str], list[str]]:
    """(chains to declare, "-A …" lines) of one chain of a program in one family."""
    declared: list[str] = []
    out: list[str] = []
    guarded = family == 4 and not any(program.uses(name) for name in TRACKED)
    for name, lines in for_iptables(program.chains[chain], chain, family).items():
        if len(name) > CHAIN_MAX:
            raise UnsupportedError("-", "chain", f"name {name!r} has {len(name)} characters, at most {CHAIN_MAX}")
        declared.append(name)
        out.extend(f"-A {name} {line_text(line, family, guarded=guarded)}".rstrip() for line in lines)
    return declared, out


def line_text(line: Line, family: int, *, guarded: bool = False) -> str:
    """The arguments of one line. `guarded`: keep a line that reads TCP flags off later fragments, whose payload iptables
    takes for a header since 1.8.8 (ports go through multiport, which looks; connection tracking leaves no fragments)."""
    words = ["! -f"] if guarded and line.get("tcp_flags") is not None and line.get("fragment") is None else []
    words += [_condition(c, line, family) for c in sorted(line.conditions, key=_order)]
    if line.rule:
        words.append(f'-m comment --comment "{comment(f"{line.rule} {line.reason or line.text}")}"')
    words.append(_target(line))
    return " ".join(w for w in words if w)


def ipset_text(sets: Mapping[str, AddrSet], timeouts: Mapping[str, int]) -> str:
    """`ipset restore` input: every set with its elements. Loading it twice changes nothing."""
    out: list[str] = []
    for name, addresses in sets.items():
        if len(name) > SET_NAME_MAX:
            raise UnsupportedError("-", "set", f"name {name!r} has {len(name)} characters, at most {SET_NAME_MAX}")
        family = 4 if addresses.v4 else 6
        nets = [part for net in addresses.nets(family) for part in _ipset_nets(net)]
        life = f" timeout {timeouts[name]}" if name in timeouts else ""
        word = "inet" if family == 4 else "inet6"
        room = max(IPSET_FULL, len(nets))
        out.append(f"create {name} hash:net family {word} maxelem {room}{life} -exist")
        out.extend(f"add {name} {net} -exist" for net in nets)
    return "".join(f"{line}\n" for line in out)


def _ipset_nets(net: str) -> Iterable[str]:
    """hash:net refuses a prefix of length 0: two halves say the same."""
    if net == "0.0.0.0/0":
        return ("0.0.0.0/1", "128.0.0.0/1")
    if net == "::/0":
        return ("::/1", "8000::/1")
    return (net,)


def _order(condition: Condition) -> int:
    """Options of the IP header first, as the kernel tests them; modules keep the line's order, buckets last. A module
    that reads the transport header throws away what ends inside it: what stands before decides which packets it sees."""
    order = ("src", "dst", "iif", "oif", "proto", "fragment")
    if condition.field == "rate":
        return len(order) + 1
    return order.index(condition.field) if condition.field in order and not condition.set_name else len(order)


def _condition(condition: Condition, line: Line, family: int) -> str:
    name, not_ = condition.field, "! " if condition.negate else ""
    if name in ("src", "dst"):
        return _address(condition, line, family, not_)
    if name == "orig_dst":
        if condition.set_name:
            why = "conntrack --ctorigdst takes one address, not the opposite of a list"
            raise UnsupportedError(line.rule, "destination", why)
        return f"-m conntrack {not_}--ctorigdst {_one_net(condition.value, line, family)} --ctdir ORIGINAL"
    if name == "proto" and 0 in condition.value:
        raise UnsupportedError(line.rule, "protocol", "iptables takes protocol 0 for any")
    if name == "proto":
        return f"{not_}-p {_single(condition.value, line, 'protocol')}"
    if name in ("sport", "dport", "port"):
        return _ports(condition, line, not_)
    if name == "orig_dport":
        if condition.negate:
            raise UnsupportedError(
                line.rule, "port", "conntrack --ctorigdstport of a published port cannot be negated here"
            )
        return f"-m conntrack --ctorigdstport {condition.value.text(':')} --ctdir ORIGINAL"
    if name == "icmp":
        return _icmp(condition, line, family, not_)
    if name == "tcp_flags":
        return f"-m tcp {not_}--tcp-flags {_flags(condition.value[0])} {_flags(condition.value[1])}"
    if name == "state":
        return f"-m conntrack {not_}--ctstate {','.join(sorted(condition.value))}"
    if name in ("iif", "oif"):
        return f"{not_}-{name[0]} {str(condition.value).replace('*', '+')}"
    if name == "rate":
        return _rate(condition, line)
    if name == "expires":
        return f"-m time --datestop {_date(condition.value)}"
    if name == "length":
        low, high = condition.value.ranges[0]
        return f"-m length {not_}--length {low}:{high}"
    if name == "fragment" and family == 4:
        return f"{not_}-f"
    raise UnsupportedError(line.rule, name, "iptables has no word for it here")


def _address(condition: Condition, line: Line, family: int, not_: str) -> str:
    flag = "-s" if condition.field == "src" else "-d"
    if condition.set_name:
        return f"-m set {not_}--match-set {condition.set_name} {condition.field}"
    return f"{not_}{flag} {_one_net(condition.value, line, family)}"


def _one_net(addresses: AddrSet, line: Line, family: int) -> str:
    nets = addresses.nets(family)
    if len(nets) != 1:
        raise UnsupportedError(line.rule, "address", f"{len(nets)} prefixes in one line, expected one or a named set")
    return nets[0]


def _single(ports: PortSet, line: Line, name: str) -> str:
    low, high = ports.ranges[0]
    if len(ports.ranges) != 1 or low != high:
        raise UnsupportedError(line.rule, name, f"a list ({ports.text()}) in one line")
    return str(low)


def _ports(condition: Condition, line: Line, not_: str) -> str:
    ports: PortSet = condition.value
    if ports.slots() > MULTIPORT_SLOTS:
        raise UnsupportedError(line.rule, "port", f"{ports.slots()} multiport slots, at most {MULTIPORT_SLOTS}")
    return f"-m multiport {not_}--{condition.field}s {ports.text(':')}"


def _icmp(condition: Condition, line: Line, family: int, not_: str) -> str:
    low, high = condition.value.ranges[0]
    if len(condition.value.ranges) != 1 or (low != high and (low % 256, high) != (0, low | 255)):
        raise UnsupportedError(line.rule, "icmp", f"types {condition.value.text()} in one line")
    text = str(low // 256) if low != high else f"{low // 256}/{low % 256}"
    return f"-m icmp {not_}--icmp-type {text}" if family == 4 else f"-m icmp6 {not_}--icmpv6-type {text}"


def _flags(bits: int) -> str:
    known = {n: b for n, b in TCP_FLAG_BITS.items() if n not in ("ECE", "CWR")}
    return ",".join(n for n, b in known.items() if bits & b) or "NONE"


def _rate(condition: Condition, line: Line) -> str:
    rate: Rate = condition.value
    above = rate.above != condition.negate
    speed = f"{rate.packets}/{PER[rate.per_s]}"
    if not rate.key and not above:
        return f"-m limit --limit {speed} --limit-burst {rate.burst}"
    if rate.burst * rate.per_s > HASHLIMIT_MAX_S * rate.packets:
        why = f"a burst of {rate.burst} at {speed} takes more than a day to refill: the kernel's bucket overflows"
        raise UnsupportedError(line.rule, "rate", why)
    mode = f" --hashlimit-mode {','.join(MODES[k] for k in rate.key)}" if rate.key else ""
    word = "above" if above else "upto"
    return f"-m hashlimit --hashlimit-{word} {speed} --hashlimit-burst {rate.burst}{mode} --hashlimit-name {line.rule or 'tw'}"


def _date(until: int) -> str:
    when = datetime.datetime.fromtimestamp(min(until, LATEST), datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S")


def _target(line: Line) -> str:
    if line.log:
        return f'-j LOG --log-prefix "{line.rule}: "'
    if line.verdict is Verdict.CONTINUE:
        return ""
    if line.verdict is Verdict.JUMP:
        return f"-j {line.target}"
    if line.verdict is Verdict.GOTO:
        return f"-g {line.target}"
    if line.verdict not in WORDS:
        raise UnsupportedError(line.rule, "action", f"{line.verdict.value} has no word in iptables")
    return WORDS[line.verdict]
