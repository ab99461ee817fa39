"""Errors of the firewall package, as a tree; the command line turns each into one line and exit code 2.

    FirewallError
    ├── RuleError         a policy that says something impossible (our user's words, or ours in a bug)
    ├── UnsupportedError  a target that cannot express a field: names rule and field
    ├── ReadError         foreign rules (iptables-save, nft -j, policy.toml) that cannot be read
    ├── ProtectedError    a rule that would cut trusted or protected traffic
    └── KernelError       the namespace, the load or the replay failed: says which step and what the tool printed

Messages are one line: what, where, got, expected.
"""


class FirewallError(Exception):
    """Base of all errors of this package."""


class RuleError(FirewallError):
    """A rule or policy that cannot be meant: reversed range, wrong family, port without transport."""


class UnsupportedError(FirewallError):
    """A renderer's dialect cannot express a field; `rule` and `field` name them."""

    def __init__(self, rule: str, field: str, why: str) -> None:
        super().__init__(f"rule {rule}: {field}: {why}")
        self.rule, self.field, self.why = rule, field, why


class ReadError(FirewallError):
    """A rules file that cannot be read: names file, line, what was found and what was expected."""


class ProtectedError(FirewallError):
    """A rule that would cut what must stay reachable; `--force` insists."""


class KernelError(FirewallError):
    """The kernel or its tools refused: no user namespaces, a file that does not load, a tool that is missing."""
