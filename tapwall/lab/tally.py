"""The kernel's counters of our rules, over every load of them: what `iptables-save -c` prints, as rows for the page.

A rule that is loaded again starts at zero, and so does a network that was made anew; what was counted before is
carried on, so that "dropped so far" never shrinks. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

COUNTED = re.compile(r"^\[(\d+):(\d+)\] -A (\S*TAPWALL\S*) (.*)$", re.I)
TARGETS = (("-j DROP", "DROP"), ("-j REJECT", "REJECT"), ("-j ACCEPT", "PERMIT"), ("-j RETURN", "PERMIT"))
COMMENT = re.compile(r'--comment "?((?:[^"\\]|\\.)*)"?(?: -[jgm]|$)')

Row = dict[str, Any]  # rule (id and description), action, packets, bytes


def counters(saved: str) -> list[Row]:
    """Rows {rule, action, packets, bytes} from `iptables-save -c`, one a rule of ours: its lines summed by comment."""
    rows: dict[tuple[str, str], Row] = {}
    for line in saved.splitlines():
        found = COUNTED.match(line)
        comment = COMMENT.search(line)
        action = next((word for target, word in TARGETS if target in line), None)
        if found is None or comment is None or action is None:
            continue
        name = comment.group(1).replace("\\", "")
        row = rows.setdefault((name, action), {"rule": name, "action": action, "packets": 0, "bytes": 0})
        row["packets"] += int(found.group(1))
        row["bytes"] += int(found.group(2))
    return list(rows.values())


@dataclass(slots=True)
class Total:
    """Counters over all loads: `now` as last read, `gone` what earlier loads had counted, both by the rule's id."""

    now: dict[str, Row] = field(default_factory=dict)
    gone: dict[str, Row] = field(default_factory=dict)

    def read(self, rows: list[Row]) -> None:
        """Take the counters as they are now. A rule that is missing or counts less than before was loaded anew."""
        fresh = {_id(row): row for row in rows}
        for key, old in self.now.items():
            if key not in fresh or fresh[key]["packets"] < old["packets"]:
                kept = self.gone.get(key, {"packets": 0, "bytes": 0})
                self.gone[key] = old | {name: old[name] + kept[name] for name in ("packets", "bytes")}
        self.now = fresh

    def rows(self) -> list[Row]:
        """Every rule that stands or stood, with all it counted; `stands` says which."""
        out = []
        for key in [*self.now, *(key for key in self.gone if key not in self.now)]:
            row, old = self.now.get(key), self.gone.get(key, {"packets": 0, "bytes": 0})
            total = {name: (row[name] if row else 0) + old[name] for name in ("packets", "bytes")}
            out.append((row or old) | total | {"stands": row is not None})
        return out

    def to_json(self) -> dict[str, Any]:
        """What `restored` reads."""
        return {"now": self.now, "gone": self.gone}


def restored(data: Any) -> Total:
    """The totals that an earlier life of the wall left; empty where the text is not ours."""
    total = Total()
    for name in ("now", "gone"):
        rows = data.get(name) if isinstance(data, dict) else None
        for key, row in rows.items() if isinstance(rows, dict) else ():
            if isinstance(row, dict) and all(isinstance(row.get(count), int) for count in ("packets", "bytes")):
                getattr(total, name)[str(key)] = row
    return total


def _id(row: Row) -> str:
    """A rule's id is the first word of its comment; its description may change as evidence grows."""
    return f"{row['action']} {row['rule'].split(' ', 1)[0]}"
