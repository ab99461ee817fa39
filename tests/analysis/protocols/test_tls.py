"""TLS hellos, certificates and fingerprints."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.protocols import tls


def hello(
    ciphers: list[int], extensions: list[tuple[int, bytes]], version: int = 0x0303, random: bytes = bytes(32)
) -> bytes:
    """A ClientHello message with its handshake header."""
    listed = b"".join(value.to_bytes(2, "big") for value in ciphers)
    blocks = b"".join(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions)
    body = version.to_bytes(2, "big") + random + b"\0" + len(listed).to_bytes(2, "big") + listed + b"\x01\0"
    if extensions:
        body += len(blocks).to_bytes(2, "big") + blocks
    return b"\x01" + len(body).to_bytes(3, "big") + body


def numbers(*values: int) -> bytes:
    """A list of 16-bit numbers behind its length, as in groups and signature algorithms."""
    return (2 * len(values)).to_bytes(2, "big") + b"".join(value.to_bytes(2, "big") for value in values)


def server_name(name: bytes) -> bytes:
    """Body of a server_name extension (RFC 6066 3)."""
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    return len(entry).to_bytes(2, "big") + entry


def alpn(*names: bytes) -> bytes:
    """Body of an ALPN extension (RFC 7301 3.1)."""
    listed = b"".join(bytes([len(name)]) + name for name in names)
    return len(listed).to_bytes(2, "big") + listed


# The browser of FoxIO's JA4 description: 15 cipher suites, 16 extensions, h2, with GREASE in every list.
BROWSER_CIPHERS = [
    0x0A0A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035,
]  # fmt: skip
BROWSER_EXTENSIONS = [
    (0x1A1A, b""), (0x001B, b""), (0x0000, server_name(b"www.example.org")), (0x0033, b""), (0x0010, alpn(b"h2", b"http/1.1")),
    (0x4469, b""), (0x0017, b""), (0x002D, b""), (0x000D, numbers(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)),
    (0x0005, b""), (0x0023, b""), (0x0012, b""), (0x002B, b"\x06\x9a\x9a\x03\x04\x03\x03"), (0xFF01, b""), (0x000B, b"\x01\0"),
    (0x000A, numbers(0x2A2A, 0x001D, 0x0017)), (0x0015, b""), (0x3A3A, b""),
]  # fmt: skip


def test_a_browsers_hello_has_the_ja4_of_the_published_description() -> None:
    """Version from supported_versions, counts and lists without GREASE, sorted digests."""
    read = tls.client_hello(hello(BROWSER_CIPHERS, BROWSER_EXTENSIONS))
    assert read is not None
    assert (read.sni, read.alpn, read.version) == ("www.example.org", ("h2", "http/1.1"), 0x0304)
    assert tls.ja4(read) == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert tls.ja4(read, "q").startswith("q13d")


def test_ja3_is_that_of_the_published_example() -> None:
    """769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0 (README of salesforce/ja3)."""
    read = tls.client_hello(
        hello(
            [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
            [(0, server_name(b"x")), (10, numbers(23, 24, 25)), (11, b"\x01\0")],
            version=0x0301,
        )
    )
    assert read is not None
    assert tls.ja3(read) == "ada70206e40642a3e4461f35503241d5"


def test_a_hello_without_extensions_has_the_empty_digest() -> None:
    """An old client: no SNI, no ALPN, no extensions."""
    read = tls.client_hello(hello([0x0005, 0x000A], [], version=0x0301))
    assert read is not None
    assert tls.ja4(read).startswith("t10i020000_") and tls.ja4(read).endswith("_000000000000")
    assert tls.ja3(read) != ""


def test_a_cut_hello_keeps_what_was_read_and_has_no_fingerprint() -> None:
    """A wrong fingerprint is worse than none."""
    whole = hello(BROWSER_CIPHERS, BROWSER_EXTENSIONS)
    read = tls.client_hello(whole[:150])
    assert read is not None and read.sni == "www.example.org" and not read.complete
    assert (tls.ja3(read), tls.ja4(read)) == ("", "")


# RFC 8448 3: the server's answer of the simple 1-RTT handshake.
SERVER_1_3 = bytes.fromhex(
    "020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100002e00330024001d0020c9828876112095"
    "fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304"
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SERVER_1_3, tls.ServerHello(0x0304, 0x1301, "", False)),
        (
            b"\x02\0\0\x32\x03\x03" + bytes(32) + b"\0\xc0\x2f\0" + b"\0\x0a\0\x10\0\x05" + alpn(b"h2") + b"\0\0\0",
            tls.ServerHello(0x0303, 0xC02F, "h2", False),
        ),
        (
            b"\x02\0\0\x28\x03\x03" + tls.HELLO_RETRY_RANDOM + b"\0\x13\x02\0\0\0",
            tls.ServerHello(0x0303, 0x1302, "", True),
        ),
        (b"\x02\0\0\x28\x03\x03" + bytes(20), None),
        (b"\x01" + SERVER_1_3[1:], None),
    ],
)
def test_server_hellos(message: bytes, expected: tls.ServerHello | None) -> None:
    """Version and cipher that the server chose; cut before the cipher: nothing."""
    assert tls.server_hello(message) == expected


def certificate_message(der: bytes) -> bytes:
    """A Certificate message of TLS 1.2 with one certificate."""
    entry = len(der).to_bytes(3, "big") + der
    body = len(entry).to_bytes(3, "big") + entry
    return b"\x0b" + len(body).to_bytes(3, "big") + body


def self_signed() -> bytes:
    """DER of a fresh self-signed certificate of a home device."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Häuschen"),
            x509.NameAttribute(NameOID.COMMON_NAME, "router.lan"),
        ]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime.datetime(1999, 12, 31, 23, 59, 59))
        .not_valid_after(datetime.datetime(2051, 1, 2, 3, 4, 5))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("router.lan"), x509.DNSName("fritz.box")]), False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def test_a_certificate_is_walked_for_names_dates_and_key() -> None:
    """UTCTime below 2050 and GeneralizedTime from then on (RFC 5280 4.1.2.5)."""
    read = tls.certificate(certificate_message(self_signed()))
    assert read is not None
    assert read.subject == read.issuer == "O=Häuschen,CN=router.lan"
    assert read.self_signed and read.key_bits == 0
    assert read.names == ("router.lan", "fritz.box")
    utc = datetime.UTC
    assert read.not_before == int(datetime.datetime(1999, 12, 31, 23, 59, 59, tzinfo=utc).timestamp())
    assert read.not_after == int(datetime.datetime(2051, 1, 2, 3, 4, 5, tzinfo=utc).timestamp())


def test_every_cut_of_a_certificate_gives_none_or_a_certificate() -> None:
    """Cut anywhere, nothing is raised; cut inside the signed part, nothing is claimed."""
    der = self_signed()
    assert all(tls.x509(der[:size]) is None for size in range(len(der)))


def test_messages_stops_at_the_first_incomplete_one() -> None:
    """Two whole messages and the beginning of a third."""
    data = SERVER_1_3 + b"\x0b\0\0\x01\0" + b"\x0c\0\0\x09abc"
    assert [kind for kind, _ in tls.messages(data)] == [2, 11]


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(max_size=12))
def test_no_bytes_raise(noise: bytes, at: int, patch: bytes) -> None:
    """Random bytes, and a good hello with some of its bytes replaced."""
    good = hello(BROWSER_CIPHERS, BROWSER_EXTENSIONS)
    broken = good[:at] + patch + good[at + len(patch) :]
    for data in (noise, b"\x01" + noise, b"\x02" + noise, b"\x0b" + noise, broken):
        read = tls.client_hello(data)
        if read is not None:
            assert isinstance(tls.ja3(read) + tls.ja4(read), str)
        tls.server_hello(data)
        tls.certificate(data)
        tls.x509(data)
