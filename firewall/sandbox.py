"""The inside of a throw-away network namespace: links, load, replay, counters. Run by path, as its own process:

    unshare -Urn python sandbox.py < job.json > answer.json

In: a job (commands with their input, a file of frames). Out: what each command answered. Standard library only: it
starts in a few milliseconds and needs nothing of the package. It changes nothing outside its namespace, and it runs
only where the job says `"namespace": true`, so that it cannot be started on the host by mistake.
Frames file: per frame one byte (0 in, 1 out, 2 forward), four bytes length (little endian), the IP packet.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Any

WAYS = 3
MTU = 65535  # captures of a sender hold frames beyond any real link
SETTLE_S = 3.0  # how long the last frame of a link may take to come through before counters are read anyway
MARKER = (
    0x88B5  # an EtherType for local experiments (IEEE 802): no rule sees it, it only says that all before has passed
)
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # captures show unfinished checksums and gaps; the simulator assumes the same (conntrack.py)
    "net/netfilter/nf_conntrack_checksum": "0",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    "net/netfilter/nf_conntrack_tcp_ignore_invalid_rst": "1",
    # one hour: a replay is over long before, time-outs must not interfere
    "net/netfilter/nf_conntrack_udp_timeout": "3600",
    "net/netfilter/nf_conntrack_tcp_timeout_close": "3600",
}


def receiver(way: int) -> bytes:
    """The MAC address of the receiving end of a link."""
    return bytes((2, 0, 0, 0, 2, way))


def set_up() -> None:
    """Three links, one a way, and a sink that everything is forwarded to (without ARP: nobody behind it takes it up)."""
    commands = ["link set lo up", "link add tws type veth peer name twt"]
    quiet = ["twt"]  # no IPv6 of their own on sending ends: their MLD reports would be counted
    for way in range(WAYS):
        ends = f"address 02:00:00:00:01:0{way} type veth peer name twb{way} address 02:00:00:00:02:0{way}"
        commands.append(f"link add twa{way} {ends}")
        quiet.append(f"twa{way}")
    _ip(commands)
    for end in quiet:
        _set(f"net/ipv6/conf/{end}/disable_ipv6", "1")
    ends_up = [*quiet, "tws", *(f"twb{way}" for way in range(WAYS))]
    arp = {"tws": " arp off", "twt": " arp off"}
    _ip([f"link set {end} addrgenmode none" for end in ends_up])
    _ip([f"link set {end} mtu {MTU}{arp.get(end, '')} up" for end in ends_up])
    _ip(["route add default dev tws"])
    subprocess.run(["ip", "-6", "route", "add", "default", "dev", "tws"], check=True, capture_output=True)


def _ip(commands: list[str]) -> None:
    """Several commands of ip in one process, the first that fails ends it."""
    text = "".join(f"{command}\n" for command in commands)
    subprocess.run(["ip", "-batch", "-"], input=text, check=True, capture_output=True, text=True)


def _set(name: str, value: str) -> None:
    """A kernel setting; one that does not exist (yet) is skipped."""
    with contextlib.suppress(OSError), open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
        file.write(value)


def tune() -> None:
    """Kernel settings of this namespace; connection tracking's exist only once a rule needs it."""
    for name, value in SYSCTLS.items():
        _set(name, value)
    for way in range(WAYS):
        _set(f"net/ipv4/conf/twb{way}/rp_filter", "0")


def wait_for_links() -> None:
    """Links come up a moment after they are told to; a frame sent before that is lost."""
    wanted = {f"twb{way}" for way in range(WAYS)} | {"tws"}
    for _ in range(200):
        done = subprocess.run(["ip", "-j", "link", "show", "up"], check=True, capture_output=True, text=True)
        up = {
            link["ifname"]
            for link in json.loads(done.stdout)
            if "LOWER_UP" in link["flags"] and link.get("operstate") == "UP"
        }
        if wanted <= up:
            return
        time.sleep(0.01)


def replay(path: str) -> int:
    """Send every frame, in order, from one processor (another would have its own queue). Returns how many."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sockets, heads = [], []
    for way in range(WAYS):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind((f"twa{way}", 0))
        sockets.append(link)
        heads.append(receiver(way) + bytes((2, 0, 0, 0, 1, way)))
    sent = 0
    with open(path, "rb", buffering=1 << 20) as file:
        while len(head := file.read(5)) == 5:
            way, size = struct.unpack("<BI", head)
            packet = file.read(size)
            kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
            sockets[way].send(heads[way] + kind + packet)
            sent += 1
    for way in range(WAYS):
        _flush(way, sockets[way], heads[way])
    return sent


def _flush(way: int, link: socket.socket, head: bytes) -> None:
    """Wait until a marker, sent behind all frames, has come out of the link: those before it have met their rules."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(MARKER)) as end:
        end.bind((f"twb{way}", MARKER))
        end.settimeout(SETTLE_S)
        link.send(head + MARKER.to_bytes(2, "big") + bytes(46))
        with contextlib.suppress(TimeoutError):
            end.recv(64)


def run(step: dict[str, Any]) -> dict[str, Any]:
    """One command with its input."""
    began = time.perf_counter()
    try:
        done = subprocess.run(
            step["argv"],
            input=step.get("input", ""),
            capture_output=True,
            text=True,
            timeout=step.get("timeout_s", 120),
        )
    except FileNotFoundError:
        return {"rc": 127, "out": "", "err": f"{step['argv'][0]}: not found", "seconds": 0.0}
    except subprocess.TimeoutExpired:
        return {"rc": 124, "out": "", "err": f"{step['argv'][0]}: no answer in time", "seconds": 0.0}
    return {
        "rc": done.returncode,
        "out": done.stdout,
        "err": done.stderr[-2000:],
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Read the job, do it, print the answer."""
    job = json.load(sys.stdin)
    if job.get("namespace") is not True:
        sys.exit("sandbox: not in a namespace")
    os.environ["XTABLES_LOCKFILE"] = job.get("lock", "/dev/null")
    answer: dict[str, Any] = {"steps": [], "sent": 0}
    set_up()
    tune()
    for step in job["steps"]:
        if "replay" in step:
            tune()
            wait_for_links()
            began = time.perf_counter()
            answer["sent"] = replay(step["replay"])
            answer["replay_s"] = time.perf_counter() - began
            continue
        done = run(step)
        answer["steps"].append(done)
        if done["rc"] != 0 and not step.get("may_fail"):
            break
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
