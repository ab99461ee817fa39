"""chat.config: every key with default, unit and reason; what is wrong is named with file, key, found and expected."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from chat.config import SECTIONS, Config, fixed_changes, is_loopback, load, text
from chat.errors import ConfigError


def test_the_printed_file_is_the_default_configuration(tmp_path: Path) -> None:
    """Print, read again: the same; every key has its unit and reason on the line above."""
    path = tmp_path / "chat.toml"
    path.write_text(text())

    assert load(path) == load() == Config()
    lines = text().splitlines()
    keys = [i for i, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) == sum(len(dataclasses.fields(section())) for section in SECTIONS.values())  # type: ignore[operator]
    assert all(lines[i - 1].startswith("# ") and ": " in lines[i - 1] for i in keys)


def test_a_changed_configuration_is_printed_as_it_is(tmp_path: Path) -> None:
    """Quotes, lists, switches and numbers survive."""
    config = load(
        None,
        {"server.name": 'a "b" \\ c', "files.deny": ["video/*"], "rates.messages_per_s": 2, "server.guests": False},
    )
    path = tmp_path / "chat.toml"
    path.write_text(text(config))

    assert load(path) == config
    assert tomllib.loads(text(config))["rates"]["messages_per_s"] == 2.0


# file -> words of the error
WRONG = [
    ("[server\n", ["chat.toml"]),
    ("server = 1\n", ["server", "section"]),
    ("[surver]\n", ["surver", "server"]),
    ("[server]\nprot = 1\n", ["server.prot", "port"]),
    ("[server]\nport = '1'\n", ["server.port", "'1'", "whole number"]),
    ("[server]\nport = 70000\n", ["server.port", "range"]),
    ("[server]\nguests = 1\n", ["server.guests", "true or false"]),
    ("[server]\nregistration = 'maybe'\n", ["registration", "open"]),
    ("[server]\nexempt = '10.0.0.0/8'\n", ["exempt", "list"]),
    ("[server]\nexempt = ['10.0.0.1/8']\n", ["exempt", "host bits"]),
    ("[limits]\ntext_bytes = 0\n", ["limits.text_bytes", "range"]),
    ("[limits]\ntext_bytes = 100_000\n", ["text_bytes", "64 KiB"]),
    ("[limits]\nwrite_low_bytes = 1_000_000\n", ["write_low_bytes"]),
    ("[rates]\nmessages_per_s = -1\n", ["rates.messages_per_s", "range"]),
    ("[timeouts]\nping_s = 100\n", ["ping_s", "dead_s"]),
    ("[tls]\ncert = 'x.pem'\n", ["tls.cert", "tls.key"]),
    ("[server]\nhost = '0.0.0.0'\n[tls]\nmode = 'off'\n", ["insecure_lab"]),
    ("\udcff", ["chat.toml"]),
]


@pytest.mark.parametrize(("content", "words"), WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, words: list[str]) -> None:
    """One line: file, key, found, expected."""
    path = tmp_path / "chat.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(ConfigError) as error:
        load(path)

    message = str(error.value)
    assert "\n" not in message and all(word in message for word in [*words, str(path)])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(tmp_path / "none.toml")


def test_what_a_reload_cannot_change_is_listed() -> None:
    """Ports and folders need a restart, limits do not."""
    new = load(None, {"server.port": 5, "limits.text_bytes": 5})

    assert fixed_changes(Config(), new) == ["server.port"]


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("example.org", False), ("", False)])  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    """Where plaintext is the default."""
    assert is_loopback(host) is expected
