"""One packet in full, as tshark dissects it: `tapwall packets --detail N`. The only door to pyshark.

In: a capture file and a frame number. Out: lines of text, a layer's heading and its fields indented below it, every
character that a terminal could act on escaped. Deep dissection is tshark's; this only asks for one frame and shows it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from analysis.capture import open_captures
from analysis.errors import AnalysisError

MOST_LINES = 20_000
INDENT = "    "


def detail(path: str, number: int, keylog: str | None = None) -> Iterator[str]:
    """The lines of frame `number`, of TLS also what is inside where `keylog` opens it. Raises AnalysisError without tshark, or where the frame is not there."""
    if shutil.which("tshark") is None:
        raise AnalysisError("tshark: not found, expected it on the PATH for --detail")
    if not _holds(path, number):
        raise AnalysisError(f"{path}: got no frame {number}, expected one of the capture")
    import asyncio

    import pyshark

    loop = asyncio.new_event_loop()  # pyshark asks for the thread's loop, which is gone after an earlier asyncio.run
    asyncio.set_event_loop(loop)
    capture = pyshark.FileCapture(
        path,
        display_filter=f"frame.number=={number}",
        keep_packets=False,
        custom_parameters=["-2", "-n", "-c", str(number)],
        override_prefs={"tls.keylog_file": os.path.abspath(keylog)} if keylog is not None else {},
        eventloop=loop,
    )
    try:
        packet = next(iter(capture), None)
        if packet is None:
            raise AnalysisError(f"{path}: tshark shows no frame {number}")
        yield from _lines(packet)
    except (pyshark.capture.capture.TSharkCrashException, EOFError) as error:
        raise AnalysisError(f"{path}: tshark could not read it: {str(error).splitlines()[0]}") from None
    finally:
        # tshark may have ended by itself: asyncio then loses its exit code now and then, and pyshark takes it for a crash
        with contextlib.suppress(pyshark.capture.capture.TSharkCrashException):
            capture.close()
        capture._running_processes.clear()  # else it is closed once more when it is collected, without a loop
        asyncio.set_event_loop(None)
        loop.close()


def _holds(path: str, number: int) -> bool:
    """Has the capture a frame of this number?"""
    seen = 0
    with open_captures([path]) as capture:
        for records in capture.chunks():
            seen += len(records.number)
            if seen >= number > 0:
                return True
    return False


def _lines(packet: Any) -> Iterator[str]:
    shown = 0
    for layer in packet.layers:
        yield safe(f"{str(layer.layer_name).upper()}")
        for name in layer.field_names:
            field = layer.get_field(name)
            if field is None:
                continue
            for one in getattr(field, "all_fields", [field]):
                if one.hide:
                    continue
                label = one.showname or (f"{name}: {one.show}" if one.show else "")
                if not label:
                    continue
                shown += 1
                if shown > MOST_LINES:
                    yield f"{INDENT}(more fields are not shown)"
                    return
                yield INDENT + safe(str(label))


def safe(text: str) -> str:
    """Text of a capture with everything that is not printable escaped."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
