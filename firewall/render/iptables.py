"""iptables-restore and ip6tables-restore files: own chains only, loaded with `-n` so that nothing else is touched.

In: a lowered policy and a family. Out: `Artifact`. The file fills chains of our own (TAPWALL-…); it does not hook them:
a jump in a data file would be added anew by every load. apply.sh hooks them once. Sets are a file of their own
(`ipset restore`), to be loaded first. Must not know how or when the text is loaded.
"""

from __future__ import annotations

from firewall.artifact import Artifact, header
from firewall.iptables_lines import chain_text, ipset_text
from firewall.lower import CHAINS, Lowered

COMMAND = {4: "iptables", 6: "ip6tables"}


def render(lowered: Lowered, family: int) -> Artifact:
    """The chains of one family, as one atomic table."""
    declared, lines = [], []
    for chain, _, _ in CHAINS[lowered.policy.vantage]:
        names, text = chain_text(lowered.program, chain, family)
        declared.extend(names)
        lines.extend(text)
    command = COMMAND[family]
    hooks = [
        f"{command} -I {hook.value.upper()} -j {chain}"
        for chain, _, at in CHAINS[lowered.policy.vantage]
        for hook in at
    ]
    head = header(lowered, f"{command}-restore -n", [f"hooked by apply.sh, once: {hook}" for hook in hooks])
    body = ["*filter", *(f":{name} - [0:0]" for name in declared), *lines, "COMMIT"]
    return Artifact("".join(f"{line}\n" for line in [*head, *body]), (f"{command}-restore", "-n"), lowered.empty)


def render_sets(lowered: Lowered) -> Artifact:
    """The named sets of both families, for `ipset restore`; empty where there are none."""
    text = ipset_text(lowered.program.sets, lowered.program.timeouts)
    return Artifact(text, ("ipset", "restore", "-exist"), ())
