"""One door for rules of any origin: policy.toml, `iptables-save`, `ip6tables-save`, `iptables -S`, `nft -j list ruleset`.

In: text and a name for messages. Out: `Loaded`: the program, and the policy where the text was one of ours. The form is
recognised by the text itself. Must not know files.
"""

from __future__ import annotations

from dataclasses import dataclass

from firewall import foreign_iptables, foreign_nft, policyfile
from firewall.errors import ReadError
from firewall.lower import Lowered, lower
from firewall.program import Program
from firewall.rules import Policy

SIZE_MAX = 256 * 2**20  # characters: a ruleset beyond this is no ruleset


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rules ready to run. `policy` and `lowered` are None for foreign rules."""

    form: str  # policy, iptables or nft
    program: Program
    policy: Policy | None = None
    lowered: Lowered | None = None


def load(text: str, name: str = "rules") -> Loaded:
    """Rules from text. Raises ReadError in one line."""
    if len(text) > SIZE_MAX:
        raise ReadError(f"{name}: {len(text)} characters, at most {SIZE_MAX}")
    head = text.lstrip()
    if head.startswith("{"):
        return Loaded("nft", foreign_nft.read(text, name))
    if any(_is_iptables(line) for line in head.splitlines()):
        return Loaded("iptables", foreign_iptables.read(text, name))
    if not head:
        raise ReadError(f"{name}: empty, expected a policy.toml, iptables-save or nft -j output")
    policy = policyfile.read(text, name)
    lowered = lower(policy)
    return Loaded("policy", lowered.program, policy, lowered)


def _is_iptables(line: str) -> bool:
    return line.startswith(("*filter", "*mangle", "*raw", "*nat", "*security", "-A ", "-P ", "-N ", "-I ")) or (line.startswith("[") and "] -A " in line)  # fmt: skip
