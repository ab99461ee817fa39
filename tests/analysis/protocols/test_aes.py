"""AES-128 and AES-GCM against the vectors of their standards and against the library."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from analysis.protocols import aes

KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
NONCE = bytes.fromhex("cafebabefacedbaddecaf888")


def test_one_block() -> None:
    """FIPS 197 appendix C.1."""
    key, block = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    assert aes.encrypt(key, block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
    assert aes.encrypt(key, block * 3) == aes.encrypt(key, block) * 3


def test_gcm_opens_the_vector_of_its_specification() -> None:
    """McGrew and Viega, The Galois/Counter Mode of Operation, test case 4: text and associated data of odd lengths."""
    protected = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        "5bc94fbc3221a5db94fae95ae7121a47"
    )
    associated = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plain = aes.gcm_decrypt(KEY, NONCE, protected, associated)
    assert plain is not None and plain.hex().startswith("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da")
    assert len(plain) == 60
    assert aes.gcm_decrypt(KEY, NONCE, protected, b"") is None
    assert aes.gcm_decrypt(KEY, NONCE, b"", b"") is None
    assert aes.gcm_decrypt(KEY, NONCE, protected[:15], b"") is None


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=12, max_size=12),
    st.binary(max_size=80),
    st.binary(max_size=40),
)
def test_gcm_opens_what_the_library_protects(key: bytes, nonce: bytes, text: bytes, associated: bytes) -> None:
    """Any key, nonce, text and associated data."""
    protected = AESGCM(key).encrypt(nonce, text, associated)
    assert aes.gcm_decrypt(key, nonce, protected, associated) == text
    assert aes.gcm_decrypt(key, nonce, protected[:-1] + bytes([protected[-1] ^ 1]), associated) is None
