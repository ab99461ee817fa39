"""All files of a policy: what `rules -o DIR` writes and what `apply` loads.

In: a policy. Out: file name -> text, and what each format could not say. Pure: nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from firewall.artifact import Artifact
from firewall.errors import UnsupportedError
from firewall.lower import Lowered, lower
from firewall.policyfile import write
from firewall.render import docker, iptables, nftables
from firewall.rules import Policy, Vantage
from firewall.scripts import apply_sh, undo_sh

RENDERERS: dict[str, Callable[[Lowered], Artifact]] = {
    "iptables": lambda lowered: iptables.render(lowered, 4),
    "ip6tables": lambda lowered: iptables.render(lowered, 6),
    "ipset": iptables.render_sets,
    "nftables": nftables.render,
    "docker": lambda lowered: docker.render(_for_docker(lowered)),
}
NAMES = {
    "iptables": "rules.v4",
    "ip6tables": "rules.v6",
    "ipset": "rules.ipset",
    "nftables": "rules.nft",
    "docker": "docker-user.sh",
}


def render(lowered: Lowered, form: str) -> Artifact:
    """One format. Raises UnsupportedError for what it cannot say."""
    return RENDERERS[form](lowered)


def all_files(policy: Policy) -> tuple[dict[str, str], list[str]]:
    """(name -> text, what could not be rendered). rules.ipset only where sets are needed."""
    lowered = lower(policy)
    files = {"policy.toml": write(policy)}
    problems = []
    for form, name in NAMES.items():
        try:
            artifact = render(lowered, form)
        except UnsupportedError as error:
            problems.append(f"{name}: {error}")
            continue
        problems += [f"{name}: rule {rule}: {why}" for rule, why in artifact.unsupported]
        if artifact.text:
            files[name] = artifact.text
    files["apply.sh"] = apply_sh(policy.vantage)
    files["undo.sh"] = undo_sh(policy.vantage)
    return files, list(dict.fromkeys(problems))


def _for_docker(lowered: Lowered) -> Lowered:
    """The same policy, lowered for the place in front of containers."""
    if lowered.policy.vantage is Vantage.DOCKER:
        return lowered
    return lower(replace(lowered.policy, vantage=Vantage.DOCKER))
