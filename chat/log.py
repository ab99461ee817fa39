"""The server's log: one JSON object a line on stderr, an event and its fields.

JSON escapes newlines and control characters, so a name or address cannot forge a line. What users write is never a
field.
"""

import json
import logging
import sys
from typing import Any, Final

LOGGER: Final = logging.getLogger("tapwall.chat")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=True, default=str)


def set_up(level: str) -> None:
    """Send the log to stderr, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False


def event(name: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write one line."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, name, extra={"fields": fields})


def failure(name: str, error: BaseException) -> None:
    """A mistake of ours: with its traceback."""
    LOGGER.error(name, exc_info=error, extra={"fields": {}})
