"""Real TLS sessions for tests, between two OpenSSL ends in memory: what each wrote, and the key log of the client."""

from __future__ import annotations

import datetime
import ssl
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

CLIENT, SERVER = 0, 1
NO_ENCRYPT_THEN_MAC = 1 << 19  # SSL_OP_NO_ENCRYPT_THEN_MAC, which the module does not name


@cache
def _identity() -> bytes:
    """A key and a certificate for inside.example, as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "inside.example")])
    start = datetime.datetime(2024, 1, 1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36_500))
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain) + made.sign(
        key, hashes.SHA256()
    ).public_bytes(serialization.Encoding.PEM)


class TlsTalk:
    """One session. `written` holds (direction, bytes) in order; `said` of a side is encrypted by OpenSSL itself."""

    def __init__(
        self, folder: Path, version: ssl.TLSVersion, ciphers: str = "", alpn: str = "", options: int = 0
    ) -> None:
        self.key_log = folder / "keys.log"
        identity = folder / "identity.pem"
        identity.write_bytes(_identity())
        contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[CLIENT].check_hostname = False
        contexts[CLIENT].verify_mode = ssl.CERT_NONE
        contexts[CLIENT].keylog_filename = str(self.key_log)
        contexts[SERVER].load_cert_chain(identity)
        for context in contexts:
            context.minimum_version = context.maximum_version = version
            context.options |= options
            if ciphers:
                context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
            if alpn:
                context.set_alpn_protocols([alpn])
        self._bios = [(ssl.MemoryBIO(), ssl.MemoryBIO()) for _ in contexts]
        self._ends = [
            contexts[CLIENT].wrap_bio(*self._bios[CLIENT], server_hostname="inside.example"),
            contexts[SERVER].wrap_bio(*self._bios[SERVER], server_side=True),
        ]
        self.written: list[tuple[int, bytes]] = []
        done = [False, False]
        while not all(done):
            for side in (CLIENT, SERVER):
                try:
                    self._ends[side].do_handshake()
                    done[side] = True
                except ssl.SSLWantReadError:
                    pass
                self._pass_on(side)

    def say(self, side: int, text: bytes) -> None:
        """Send application data, and let the other end read it."""
        self._ends[side].write(text)
        self._pass_on(side)
        got = b""
        while len(got) < len(text):
            got += self._ends[1 - side].read(len(text))
        assert got == text

    def cipher(self) -> str:
        """The suite that was agreed on, as OpenSSL calls it."""
        agreed = self._ends[CLIENT].cipher()
        assert agreed is not None
        return agreed[0]

    def _pass_on(self, side: int) -> None:
        data = self._bios[side][1].read()
        if data:
            self.written.append((side, data))
            self._bios[1 - side][0].write(data)
