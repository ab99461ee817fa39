"""The rarer layers: who dissects them, in ordinary Python, one packet at a time.

In: a packet whose kernel walk stopped at a code from `ODD` on. Out: its notepad, further on or done.
A dissector is a function of a `Walk`; this file is the table of them and the place where a cut header becomes a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analysis.decode import bridging, links, shims, tunnelled
from analysis.decode.state import NEXT, STEPS
from analysis.decode.walker import Cut, Walk

DISSECTORS: dict[int, Callable[[Walk], None]] = {
    **bridging.DISSECTORS,
    **links.DISSECTORS,
    **shims.DISSECTORS,
    **tunnelled.DISSECTORS,
}


def dissect(data: memoryview, s: Any) -> None:
    """Run the dissector that s[NEXT] names; afterwards s[NEXT] is what it left, `DONE` if it left nothing."""
    walk = Walk(data, s)
    code = s[NEXT]
    s[STEPS] += 1
    walk.done()
    try:
        DISSECTORS.get(code, Walk.data_rest)(walk)
    except Cut:
        walk.cut(0)
