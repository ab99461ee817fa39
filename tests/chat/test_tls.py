"""chat.tls: certificates that verify, keys that stay private, nothing overwritten."""

import ssl
import stat
from pathlib import Path

import pytest

from chat import tls
from chat.errors import ConfigError


def test_a_certificate_is_made_once(tmp_path: Path) -> None:
    """For names and addresses; the key is its owner's alone; a second start finds the same one."""
    cert, key = tls.ensure(tmp_path, ["192.0.2.1"])
    first = tls.fingerprint(cert)

    assert tls.ensure(tmp_path, ["192.0.2.1"]) == (cert, key)
    assert tls.fingerprint(cert) == first
    assert len(first) == 32 * 3 - 1 and first == first.upper()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    context = ssl.create_default_context(cafile=str(cert))
    assert len(context.get_ca_certs()) == 1
    assert ("IP Address", "192.0.2.1") in context.get_ca_certs()[0]["subjectAltName"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A certificate that is there stays there."""
    (tmp_path / "c.pem").write_text("mine")

    with pytest.raises(ConfigError, match="already"):
        tls.make(tmp_path / "c.pem", tmp_path / "k.pem", ["host"])
    assert (tmp_path / "c.pem").read_text() == "mine" and not (tmp_path / "k.pem").exists()


def test_contexts_are_tls_1_2_at_least(tmp_path: Path) -> None:
    """And say what is wrong with the files."""
    context = tls.context(*tls.ensure(tmp_path, ["localhost"]))

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ConfigError, match=r"cert\.pem"):
        tls.context(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(ConfigError, match=r"none\.pem"):
        tls.fingerprint(tmp_path / "none.pem")
