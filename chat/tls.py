"""Certificates and TLS contexts of the server.

`ensure()` makes a self-signed certificate in the data folder at the first start; its fingerprint is what a client
shows and pins. `context()` is TLS 1.2 or newer with ALPN tapwall/1. The key log writes the session keys for Wireshark:
a lab mode that gives everything away, so it is loud and off by default.
"""

import datetime
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chat.errors import ConfigError, reason

ALPN: Final = "tapwall/1"
DAYS: Final = 825  # the longest life that common clients accept


def make(cert: Path, key: Path, names: list[str], days: int = DAYS) -> str:
    """Write a self-signed certificate for host names and addresses and its private key (mode 0600); returns the
    fingerprint. Never overwrites: raises ConfigError if one of the files is there."""
    for path in (cert, key):
        if path.exists():
            raise ConfigError(f"{path}: is there already, nothing was written")
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cert.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(secret)
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return fingerprint(cert)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def fingerprint(cert: Path) -> str:
    """SHA-256 of the certificate, in pairs of capital digits as browsers and OpenSSL show it. Raises ConfigError."""
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{cert}: {reason(error)}") from None
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest().hex(":").upper()


def ensure(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """The certificate and key of the data folder, made for these names and this machine's if they are not there."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not (cert.exists() and key.exists()):
        own = [name for name in names if name not in {"0.0.0.0", "::", ""}]  # to listen on, not to be called by
        make(cert, key, [*own, "localhost", "127.0.0.1", "::1"])
    return cert, key


def context(cert: Path, key: Path, keylog: str = "") -> ssl.SSLContext:
    """A server context. Raises ConfigError if the files do not serve."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols([ALPN])
    try:
        made.load_cert_chain(cert, key)
        if keylog:
            made.keylog_filename = keylog
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{cert}: {error}") from None
    return made
