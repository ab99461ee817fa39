"""Loading rules for real, and the way back: the edge that runs apply.sh and undo.sh, and compares with what is loaded.

In: a policy and a folder. Out: exit codes and text of the scripts, differences as lines. The comparison is made after
the kernel's own normalisation: the wanted rules are loaded in a throw-away namespace and read back. Raises KernelError.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from firewall import namespace
from firewall.errors import KernelError, UnsupportedError
from firewall.files import all_files
from firewall.lower import CHAINS, lower
from firewall.portions import WHOLE, nft_steps, restore_steps
from firewall.render import nftables
from firewall.rules import Policy, Vantage
from firewall.scripts import undo_sh

EXECUTABLE = frozenset({"apply.sh", "undo.sh", "docker-user.sh"})
SBIN = ":/usr/sbin:/sbin"
COUNTERS = re.compile(r"^\[\d+:\d+\] ")
LEFT_OUT = re.compile(r"\s+(handle \d+|expires \S+)|counter packets \d+ bytes \d+")


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write all files; scripts executable."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if name in EXECUTABLE else 0o644)


def try_load(policy: Policy, backend: str) -> None:
    """Load the files in a throw-away namespace. Raises KernelError with what the kernel said."""
    files, problems = all_files(policy)
    needed = {"iptables": ("rules.v4", "rules.v6"), "nft": ("rules.nft",)}[backend]
    for name in needed:
        if name not in files:
            raise UnsupportedError("-", name, "; ".join(problems) or "not rendered")
    answer = namespace.run(_load_steps(policy, files, backend))
    bad = next((s for s in answer["steps"] if s["rc"] != 0), None)
    if bad is not None:
        raise KernelError(f"test load: {' '.join(bad['err'].split())[:300]}")


def apply(policy: Policy, *, backend: str, confirm_s: int, state: Path, answer: str | None = None) -> int:
    """Run apply.sh in a folder below `state`. `answer` goes to its question; None: the terminal answers."""
    files, problems = all_files(policy)
    if problems and backend == "iptables" and "rules.v4" not in files:
        raise UnsupportedError("-", "rules.v4", problems[0])
    folder = state / "rules"
    write_files(files, folder)
    environment = {
        **os.environ,
        "TAPWALL_BACKEND": backend,
        "TAPWALL_CONFIRM_S": str(confirm_s),
        "TAPWALL_STATE": str(state),
    }
    done = subprocess.run(["sh", str(folder / "apply.sh")], env=environment, input=answer, text=True, check=False)
    return done.returncode


def undo(state: Path) -> int:
    """Run undo.sh: ours goes, nothing else."""
    with tempfile.TemporaryDirectory(prefix="tapwall-undo-") as folder:
        path = Path(folder) / "undo.sh"
        path.write_text(undo_sh(Vantage.HOST), encoding="utf-8")
        environment = {**os.environ, "TAPWALL_STATE": str(state)}
        return subprocess.run(["sh", str(path)], env=environment, check=False).returncode


def diff(policy: Policy, backend: str, saved: str | None = None) -> list[str]:
    """Unified difference between what is loaded (or `saved`) and the policy; empty where they agree."""
    wanted = normalised(policy, backend)
    loaded = saved if saved is not None else _loaded(backend)
    have = own_lines(loaded)
    return list(difflib.unified_diff(have, wanted, "loaded", "policy", lineterm="", n=1))


def hooked(policy: Policy, backend: str) -> bool:
    """True where every base chain jumps into ours (an nft table hooks itself)."""
    if backend == "nft":
        return True
    loaded = _loaded(backend)
    wanted = [(hook, chain) for chain, _, hooks in CHAINS[policy.vantage] for hook in hooks]
    base = "DOCKER-USER" if policy.vantage is Vantage.DOCKER else None
    return all(loaded.count(f"-A {base or hook.value.upper()} -j {chain}\n") == 2 for hook, chain in wanted)


def normalised(policy: Policy, backend: str) -> list[str]:
    """Our own lines of the policy, as the kernel prints them back."""
    files, _ = all_files(policy)
    reading = [{"argv": ["iptables-save"]}, {"argv": ["ip6tables-save"]}]
    if backend == "nft":
        reading = [{"argv": ["nft", "list", "table", "inet", "tapwall"]}]
    steps = [*_load_steps(policy, files, backend), *reading]
    answer = namespace.run(steps)
    bad = next((s for s in answer["steps"] if s["rc"] != 0), None)
    if bad is not None:
        raise KernelError(f"normalising: {' '.join(bad['err'].split())[:300]}")
    return own_lines("".join(s["out"] for s in answer["steps"][-len(reading) :]))


def own_lines(text: str) -> list[str]:
    """Of a saved ruleset what is ours, without counters: chains and lines of TAPWALL, or the nft table."""
    out: list[str] = []
    inside = False
    for raw in text.splitlines():
        line = COUNTERS.sub("", raw.strip())
        if line.startswith("table inet tapwall"):
            inside = True
        if inside:
            out.append(re.sub(r"\s+", " ", LEFT_OUT.sub("", raw)).rstrip())
            inside = raw != "}"
        elif line.startswith(("-A TAPWALL", ":TAPWALL")):
            out.append(re.sub(r" \[\d+:\d+\]$", "", line))
    return out


def _load_steps(policy: Policy, files: dict[str, str], backend: str) -> list[dict[str, Any]]:
    if backend == "nft":
        if len(files["rules.nft"]) < WHOLE:
            return [{"argv": ["nft", "-f", "-"], "input": files["rules.nft"]}]
        return nft_steps(lower(policy).program, nftables.TABLE)
    steps: list[dict[str, Any]] = []
    if files.get("rules.ipset"):
        steps.append({"argv": ["ipset", "restore", "-exist"], "input": files["rules.ipset"]})
    return [
        *steps,
        *restore_steps("iptables", files["rules.v4"]),
        *restore_steps("ip6tables", files["rules.v6"]),
    ]


def _loaded(backend: str) -> str:
    commands = (
        [["nft", "list", "table", "inet", "tapwall"]] if backend == "nft" else [["iptables-save"], ["ip6tables-save"]]
    )
    out = []
    for command in commands:
        path = shutil.which(command[0], path=os.environ.get("PATH", "") + SBIN)
        if path is None:
            raise KernelError(f"{command[0]}: not installed")
        done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0 and "No such file" not in done.stderr:
            raise KernelError(
                f"{command[0]}: {' '.join(done.stderr.split())[:200]} (root is needed to read what is loaded)"
            )
        out.append(done.stdout)
    return "".join(out)
