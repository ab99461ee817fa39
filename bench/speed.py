"""Speed and memory beside tshark: `python bench/speed.py [--packets 1e6] [--pairs 5] [--large] [--json]`.

Pairs alternate in one run (ours, tshark, ours, …), whole processes from start to exit, medians of wall seconds, CPU
seconds (user + system of the process and its children) and peak resident memory (of the largest, where there are two
processes). Both read the same file from the page cache and print to /dev/null. The capture is real traffic multiplied (`../shared/tools/bench-capture`) where that
is at hand, else our own captures repeated with shifted addresses. tshark answers four statistics; it dissects more
than it prints, and so do we: a ratio is not like for like.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATOR = ROOT.parent / "shared" / "tools" / "bench-capture"
SEED = ROOT.parent / "shared" / "captures" / "seed" / "home-wifi-45s.pcapng"
OWN = ROOT / "captures" / "office-intruder.pcap"
# as on a user's machine: byte code of our modules is kept, as that of installed packages is
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
STATISTICS = ["io,phs", "conv,ip", "conv,tcp", "conv,udp", "endpoints,ip", "io,stat,1"]


@dataclass(frozen=True, slots=True)
class Run:
    """One whole process: seconds and peak resident MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: list[str]) -> Run:
    """Run `command` with output to /dev/null and measure it; raises CalledProcessError on failure."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(runs: list[Run]) -> Run:
    """The median of each figure."""
    return Run(*(statistics.median(getattr(r, name) for r in runs) for name in ("wall_s", "cpu_s", "peak_mb")))


def tapwall(capture: Path, *arguments: str) -> list[str]:
    """Our command on `capture`."""
    return [sys.executable, "-m", "tapwall", "analyze", str(capture), *arguments]


def tshark(capture: Path) -> list[str]:
    """The yardstick: one tshark run with six statistics."""
    return ["tshark", "-n", "-r", str(capture), "-q", *(word for name in STATISTICS for word in ("-z", name))]


def make(folder: Path, packets: int, snaplen: int | None = None) -> Path:
    """A capture of `packets` packets below `folder`."""
    out = folder / f"bench-{packets}-{snaplen or 'full'}.pcap"
    if GENERATOR.exists():
        cut = ["--snaplen", str(snaplen)] if snaplen else []
        subprocess.run(
            [str(GENERATOR), str(out), "--packets", str(packets), *cut], check=True, stdout=subprocess.DEVNULL
        )
    else:
        multiply(OWN, out, packets, snaplen or 65_535)
    return out


def multiply(source: Path, out: Path, packets: int, snaplen: int) -> None:
    """Write `packets` packets: the source again and again, two minutes later and with other IPv4 hosts each time."""
    data = source.read_bytes()
    with out.open("wb") as file:
        file.write(data[:24])
        left, turn = packets, 0
        while left > 0:
            at = 24
            while at < len(data) and left > 0:
                seconds, fraction, cap, wire = struct.unpack_from("<IIII", data, at)
                packet = bytearray(data[at + 16 : at + 16 + cap])
                if packet[12:14] == b"\x08\x00":
                    packet[27], packet[31] = turn >> 8 & 255, turn & 255
                stored = bytes(packet[:snaplen])
                file.write(struct.pack("<IIII", seconds + 120 * turn, fraction, len(stored), wire) + stored)
                at += 16 + cap
                left -= 1
            turn += 1


def pairs(ours: list[str], theirs: list[str], count: int) -> tuple[Run, Run, list[float]]:
    """Medians of both and the ratio of wall seconds (theirs / ours) of each pair; one warm-up first."""
    run(ours), run(theirs)
    done = [(run(ours), run(theirs)) for _ in range(count)]
    return median([a for a, _ in done]), median([b for _, b in done]), [b.wall_s / a.wall_s for a, b in done]


def line(name: str, ours: Run, theirs: Run | None = None, ratios: list[float] | None = None) -> str:
    """A row of the table."""
    text = f"{name:34} {ours.wall_s:8.2f} {ours.cpu_s:8.2f} {ours.peak_mb:8.0f}"
    if theirs and ratios:
        text += f" {theirs.wall_s:10.2f} {theirs.cpu_s:8.2f} {theirs.peak_mb:8.0f}"
        text += f"   {statistics.median(ratios):5.1f}x ({min(ratios):.1f}-{max(ratios):.1f})"
    return text


def cold() -> float:
    """Seconds that the first run on a large capture takes longer with an empty kernel cache: compiling everything."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "TAPWALL_JIT": "on", "XDG_CACHE_HOME": empty, "NUMBA_CACHE_DIR": ""}
        times = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(
                tapwall(OWN, "--json"),
                env=environment,
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            times.append(time.perf_counter() - start)
    return times[0] - times[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=float, default=1e6)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also 10 M packets of 96 bytes: time and peak memory")
    parser.add_argument("--cold", action="store_true", help="also the cost of compiling all kernels")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    peer = shutil.which("tshark") is not None
    rows: dict[str, dict[str, object]] = {}
    if not options.json:
        print(
            f"{'':34} {'tapwall':>8} {'':8} {'':8} {'tshark':>10}\n{'medians':34} {'wall s':>8} {'cpu s':>8} {'peak MB':>8} {'wall s':>10} {'cpu s':>8} {'peak MB':>8}   ratio (range)"
        )
    with tempfile.TemporaryDirectory(dir=os.environ.get("TAPWALL_BENCH_DIR")) as folder:
        jobs = [(f"{options.packets:,.0f} packets, --json", make(Path(folder), int(options.packets)), ("--json",))]
        small = SEED if SEED.exists() else OWN
        jobs.append((f"{small.name}, summary", small, ()))
        for name, capture, arguments in jobs:
            count = options.pairs if capture != small else max(7, options.pairs)
            if peer:
                ours, theirs, ratios = pairs(tapwall(capture, *arguments), tshark(capture), count)
            else:
                ours, theirs, ratios = median([run(tapwall(capture, *arguments)) for _ in range(count)]), None, None
            rows[name] = {"tapwall": vars_of(ours), "tshark": vars_of(theirs), "ratios": ratios}
            if not options.json:
                print(line(name, ours, theirs, ratios), flush=True)
        if options.large:
            capture = make(Path(folder), 10_000_000, 96)
            ours = run(tapwall(capture, "--json"))
            rows["10,000,000 packets"] = {"tapwall": vars_of(ours)}
            if not options.json:
                print(line("10,000,000 packets of 96 B, --json", ours), flush=True)
    if options.cold:
        rows["compile"] = {"seconds": cold()}
        if not options.json:
            print(f"{'compiling all kernels, once':34} {rows['compile']['seconds']:8.1f}")
    if options.json:
        print(json.dumps(rows))


def vars_of(measured: Run | None) -> dict[str, float] | None:
    """A Run as a plain dictionary."""
    return {"wall_s": measured.wall_s, "cpu_s": measured.cpu_s, "peak_mb": measured.peak_mb} if measured else None


if __name__ == "__main__":
    main()
