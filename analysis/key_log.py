"""Keys that open recorded TLS sessions: a key log, from a file or from the blocks of a pcapng capture.

In: text in the format that browsers and OpenSSL write where SSLKEYLOGFILE is set (draft-ietf-tls-keylogfile): a line is
a label, the client random and a secret, both in hex. Out: the secrets of a session by its client random. Lines that are
no such line are passed over, as in Wireshark: they may be comments or of protocols that are not opened here. Secrets are
used, never shown. Must not know packets, nor what a secret is for.
"""

from __future__ import annotations

from analysis.errors import CaptureError

MAX_SESSIONS = 100_000  # about 1 kB each
MAX_FILE_BYTES = 256 << 20
MAX_SECRET_BYTES = 64  # SHA-512; the master secret of TLS 1.2 has 48
RANDOM_BYTES = 32


class KeyLog:
    """Secrets by client random (32 bytes): {label: secret}. Empty (false) while none is known."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, dict[str, bytes]] = {}

    def __len__(self) -> int:
        """Sessions whose secrets are known."""
        return len(self._sessions)

    def secrets(self, client_random: bytes) -> dict[str, bytes] | None:
        """The secrets of a session by their labels (`CLIENT_RANDOM`, `SERVER_TRAFFIC_SECRET_0` …)."""
        return self._sessions.get(client_random)

    def add(self, text: bytes) -> None:
        """Take every line that holds a secret; of more than MAX_SESSIONS sessions the first."""
        for line in text.splitlines():
            words = line.split()
            if len(words) != 3:
                continue
            try:
                label = words[0].decode("ascii")
                random, secret = (bytes.fromhex(word.decode("ascii")) for word in words[1:])
            except ValueError:
                continue
            if len(random) != RANDOM_BYTES or not 0 < len(secret) <= MAX_SECRET_BYTES:
                continue
            if random in self._sessions or len(self._sessions) < MAX_SESSIONS:
                self._sessions.setdefault(random, {})[label] = secret


def read_key_log(path: str) -> bytes:
    """The text of a key log file. Raises CaptureError, one line, where it cannot be read or holds no secret."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CaptureError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if len(text) > MAX_FILE_BYTES:
        raise CaptureError(f"{path}: key log: got more than {MAX_FILE_BYTES} bytes, expected less")
    found = KeyLog()
    found.add(text)
    if not found:
        raise CaptureError(f"{path}: key log: got no secret, expected lines `LABEL CLIENT-RANDOM SECRET` in hex")
    return text
