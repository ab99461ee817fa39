"""The chat's exceptions.

    ChatError                 base: one line saying what, where, got, expected
    ├── WireError             the peer's bytes are not the protocol (theirs); `code` says how
    ├── ConfigError           the configuration file is wrong (ours)
    ├── StoreError            the database or the spool folder refuses (ours)
    ├── TransferError         a file transfer cannot go on; `code` says why
    └── Refusal               a request is understood and not granted; `code` says why

Programming mistakes stay what Python makes of them (AssertionError, TypeError).
"""

from typing import Any


class ChatError(Exception):
    """Base of everything the chat raises on purpose."""


def reason(error: Exception) -> str:
    """Why, in the system's own words without its number; the caller names what it is about."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


class WireError(ChatError):
    """The bytes of the peer break the protocol. The connection is of no more use.

    `code` is a word of docs/wire.md; `frames` are the frames of the same feed that were complete before the fault, so
    that no frame is lost by the way the bytes were cut.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.frames: list[Any] = []


class ConfigError(ChatError):
    """The configuration is wrong: file, key, what was found, what was expected."""


class StoreError(ChatError):
    """The database or the spool folder cannot be used."""


class TransferError(ChatError):
    """A transfer is refused or broken; `code` is a word of docs/wire.md."""

    def __init__(self, code: str, text: str, offset: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.offset = offset


class Refusal(ChatError):
    """A request that is understood and not granted: becomes an ERROR frame with this code and text."""

    def __init__(self, code: str, text: str, retry_ms: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.retry_ms = retry_ms
