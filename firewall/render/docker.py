"""docker-user.sh: the rules in front of Docker's own, on the chain that Docker keeps for its users.

In: a policy lowered for the docker vantage. Out: a shell script that loads both families. DOCKER-USER is never declared
(a chain that exists before Docker starts makes Docker skip its own jump, and the host is open): the script refuses to
run without it. Published ports are matched as the client sent them (--ctorigdstport): translation comes before,
so a rule on a destination meets what was opened to it, and no answers.
Nothing that came from a capture is outside a quoted here-document of a small charset.
"""

from __future__ import annotations

from firewall.artifact import Artifact, header
from firewall.iptables_lines import chain_text, ipset_text
from firewall.lower import Lowered

CHAIN = "TAPWALL-DOCKER"
END = "TAPWALL_END"


def render(lowered: Lowered) -> Artifact:
    """The script. Docker with its nftables backend has no DOCKER-USER: it says so and points to rules.nft."""
    head = header(
        lowered,
        "sh docker-user.sh (as root)",
        ["needs Docker's iptables backend; for the nftables backend load rules.nft"],
    )
    lines = ["#!/bin/sh", *head, "set -eu", "export LC_ALL=C"]
    sets = ipset_text(lowered.program.sets, lowered.program.timeouts)
    if sets:
        lines += [f"ipset restore -exist <<'{END}'", *sets.splitlines(), END]
    for family, command in ((4, "iptables"), (6, "ip6tables")):
        lines += _family(lowered, family, command)
    return Artifact("".join(f"{line}\n" for line in lines), ("sh",), lowered.empty)


def _family(lowered: Lowered, family: int, command: str) -> list[str]:
    declared, text = chain_text(lowered.program, CHAIN, family)
    missing = (
        "IPv4: no chain DOCKER-USER: is Docker running, with its iptables backend?"
        if family == 4
        else "IPv6: no chain DOCKER-USER, left out"
    )
    return [
        f"if {command} -w -n -L DOCKER-USER >/dev/null 2>&1; then",
        f"{command}-restore -w -n <<'{END}'",
        "*filter",
        *(f":{name} - [0:0]" for name in declared),
        *text,
        "COMMIT",
        END,
        f"{command} -w -C DOCKER-USER -j {CHAIN} 2>/dev/null || {command} -w -I DOCKER-USER -j {CHAIN}",
        "else",
        f"echo '{missing}' >&2",
        *(["exit 1"] if family == 4 else []),
        "fi",
    ]
