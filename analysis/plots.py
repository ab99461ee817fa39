"""The pictures of the report, drawn by matplotlib as SVG: I/O graph, bit rate, who talks to whom, packet lengths.

In: the analysis as its JSON form. Out: SVG text. Colours are theme words (`THEME`): `standalone()` fills in fixed
ones, `inline()` CSS variables, so that one drawing serves light, dark and print. The only file that imports
matplotlib. Labels come from the capture: they are made harmless by `safe_name`, and mathtext is switched off.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from chat.safe_text import safe_name

# drawing colour (never otherwise used) -> CSS variable, colour in a file of its own
THEME = {
    "#010101": ("--ink", "#1c2330"),
    "#020202": ("--muted", "#6b7484"),
    "#030303": ("--rule", "#d9dee6"),
    "#040404": ("--accent", "#2563a8"),
    "#050505": ("--bad", "#c8102e"),
    "#060606": ("--soft", "#cfe0f4"),
}
INK, MUTED, RULE, ACCENT, BAD, SOFT = THEME
MAX_POINTS = 2_000  # bins drawn in a graph: about the pixels of a wide screen; more are summed in groups
MAX_HOSTS = 14  # hosts in the picture of who talks to whom: more cannot be read

Events = Sequence[tuple[float, str]]


def pictures(data: dict[str, Any], events: Events = ()) -> dict[str, str]:
    """Name -> SVG text in drawing colours; `events` are (seconds since start, label) marks of the I/O graph."""
    import matplotlib

    matplotlib.use("svg")
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "tapwall",
        "text.parse_math": False,
        "font.family": ["sans-serif"],
        "font.size": 9,
        "axes.edgecolor": RULE,
        "axes.labelcolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "text.color": INK,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
    }
    drawings: dict[str, Callable[[], str | None]] = {
        "io_graph": lambda: _io_graph(data["io"], events),
        "bit_rate": lambda: _bit_rate(data["io"], events),
        "hosts": lambda: _hosts(data),
        "packet_lengths": lambda: _packet_lengths(data.get("packet_lengths") or []),
    }
    with matplotlib.rc_context(settings):
        drawn = {name: draw() for name, draw in drawings.items()}
    return {name: svg for name, svg in drawn.items() if svg}


def inline(svg: str) -> str:
    """The drawing for use inside a page: CSS variables for colours, no XML head, width by the page."""
    for drawing, (variable, _) in THEME.items():
        svg = svg.replace(drawing, f"var({variable})")
    svg = svg[svg.index("<svg") :]
    return re.sub(r'<svg([^>]*?) width="[^"]*" height="[^"]*"', r"<svg\1", svg, count=1)


def standalone(svg: str) -> str:
    """The drawing as a file of its own, in fixed colours on white."""
    for drawing, (_, colour) in THEME.items():
        svg = svg.replace(drawing, colour)
    return svg


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "tapwall"})
    return out.getvalue()


def _grouped(values: Sequence[float], group: int) -> list[float]:
    return [sum(values[i : i + group]) for i in range(0, len(values), group)]


def _bins(series: dict[str, Any], *names: str) -> tuple[float, list[list[float]]]:
    """Interval in s and the named series, summed in groups so that at most MAX_POINTS remain."""
    group = max(1, math.ceil(len(series[names[0]]) / MAX_POINTS))
    return series["interval_s"] * group, [_grouped(series[name], group) for name in names]


def _per(interval_s: float) -> str:
    return f"{interval_s:g} s"


def _mark(axes: Any, events: Events) -> None:
    for at, label in events:
        axes.axvline(at, color=BAD, linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate(
            safe_name(label),
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
            color=BAD,
        )


def _only_bin(axes: Any, value: float, step: float) -> None:
    """The graph of a capture that fits into one interval: a line of one point would show nothing."""
    axes.bar(0, value, width=step, align="edge", color=SOFT, edgecolor=ACCENT, linewidth=1.3, label="All packets")


def _io_graph(series: dict[str, Any], events: Events) -> str | None:
    if not series["packets"]:
        return None
    step, (packets, errors) = _bins(series, "packets", "tcp_errors")
    figure, axes = _figure(9.6, 2.9)
    at = [i * step for i in range(len(packets))]
    if len(packets) == 1:
        _only_bin(axes, packets[0], step)
    else:
        axes.fill_between(at, packets, color=SOFT, linewidth=0)
        axes.plot(at, packets, color=ACCENT, linewidth=1.3, label="All packets")
    faulty = [(x, n) for x, n in zip(at, errors) if n]  # with an edge, so that one error beside thousands is seen
    if faulty:  # an empty series would stand in the legend with a colour of its own
        align = "edge" if len(packets) == 1 else "center"
        axes.bar(*zip(*faulty), width=step * 0.9, align=align, color=BAD, edgecolor=BAD, label="TCP errors", zorder=3)
    axes.set_xlabel("seconds since the first packet")
    axes.set_ylabel(f"packets per {_per(step)}")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=2)
    _mark(axes, events)
    return _svg(figure)


def _bit_rate(series: dict[str, Any], events: Events) -> str | None:
    if not series["bytes"]:
        return None
    step, (sizes,) = _bins(series, "bytes")
    figure, axes = _figure(9.6, 2.2)
    at = [i * step for i in range(len(sizes))]
    rate = [8 * size / step for size in sizes]
    scale, unit = next(
        ((s, u) for s, u in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")) if max(rate) >= s), (1, "bit/s")
    )
    if len(rate) == 1:
        _only_bin(axes, rate[0] / scale, step)
    else:
        axes.fill_between(at, [r / scale for r in rate], color=SOFT, linewidth=0, step="mid")
        axes.step(at, [r / scale for r in rate], where="mid", color=ACCENT, linewidth=1.1)
    axes.set_xlabel("seconds since the first packet")
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    _mark(axes, events)
    return _svg(figure)


def _packet_lengths(rows: list[dict[str, Any]]) -> str | None:
    if not any(row["packets"] for row in rows):
        return None
    figure, axes = _figure(4.6, 2.6)
    labels = [f"{row['low']}–{row['high']}" if row["high"] else f"≥ {row['low']}" for row in rows]
    axes.barh(labels, [row["packets"] for row in rows], color=ACCENT, height=0.7)
    axes.invert_yaxis()
    axes.set_xlabel("packets")
    axes.grid(axis="y", visible=False)
    return _svg(figure)


def _hosts(data: dict[str, Any]) -> str | None:
    """Hosts on a circle, a line a conversation: thickness by bytes, red where a finding holds the host accountable."""
    rows = [row for kind in ("ip", "ipv6") for row in data["conversations"].get(kind, [])]
    weight: dict[str, int] = {}
    for row in rows:
        for side in (row["a"], row["b"]):
            weight[side] = weight.get(side, 0) + row["bytes"]
    hosts = sorted(weight, key=lambda host: (-weight[host], host))[:MAX_HOSTS]
    rows = [row for row in rows if row["a"] in hosts and row["b"] in hosts and row["a"] != row["b"]]
    if not rows:
        return None
    bad = {
        f["accountable"]["address"]
        for f in data["findings"]
        if f["accountable"] and f["severity"] not in ("info", "low")
    }
    figure, axes = _figure(7.2, 4.4)
    place = {
        host: (math.cos(turn), math.sin(turn))
        for turn, host in ((2 * math.pi * i / len(hosts) + math.pi / 2, host) for i, host in enumerate(hosts))
    }
    heaviest = max(row["bytes"] for row in rows)
    for row in rows:
        (x1, y1), (x2, y2) = place[row["a"]], place[row["b"]]
        share = math.log1p(row["bytes"]) / math.log1p(heaviest)
        colour = BAD if {row["a"], row["b"]} & bad else ACCENT
        axes.plot(
            (x1, x2),
            (y1, y2),
            color=colour,
            linewidth=0.4 + 4 * share**3,
            alpha=0.25 + 0.5 * share,
            solid_capstyle="round",
        )
    for host, (x, y) in place.items():
        axes.plot(x, y, "o", color=BAD if host in bad else ACCENT, markersize=7)
        side = "left" if x > 0.15 else "right" if x < -0.15 else "center"
        axes.text(
            x * 1.1, y * 1.12, safe_name(host), ha=side, va="center", fontsize=8, color=BAD if host in bad else INK
        )
    axes.set_aspect("equal")
    axes.set_xlim(-2.1, 2.1)
    axes.set_ylim(-1.25, 1.25)
    axes.set_axis_off()
    return _svg(figure)
