"""The configuration: one TOML file, every key with default, unit and reason.

`load()` reads and checks a file, `text()` prints one with all comments, `Config` is the frozen result that is handed
down. An unknown key, a wrong type or an impossible value raises ConfigError naming file, key, what was found and what
was expected; nothing is ignored in silence. The environment is not read here.
"""

import dataclasses
import ipaddress
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chat import wire
from chat.errors import ConfigError, reason
from chat.limits import Limits, Rates, Timeouts, key


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """Where it listens, who gets in."""

    host: str = key("127.0.0.1", "address", "only this machine; another address switches TLS on")
    port: int = key(1234, "TCP port", "0 picks a free one and prints it")
    name: str = key("tapwall", "text", "shown in WELCOME")
    data: str = key("chat-data", "folder", "database, files, certificate; on a local disk")
    guests: bool = key(True, "yes or no", "a name is enough, as in a lab; off: accounts only")
    registration: str = key("off", "off, token or open", "who may make an account by AUTH register")
    open_rooms: bool = key(True, "yes or no", "JOIN of a room that is not there makes it")
    unicode_names: bool = key(False, "yes or no", "names in one script other than ASCII; look-alikes stay refused")
    exempt: tuple[str, ...] = key(
        ("127.0.0.0/8", "::1/128"), "networks", "many users share these addresses, so they are not counted"
    )
    loop: str = key(
        "auto",
        "auto, uvloop or asyncio",
        "auto: uvloop where it is installed; a fifth cheaper, a tenth of the memory under TLS",
    )
    log: str = key("info", "debug, info, warning", "JSON lines on stderr; never a message's text")
    log_addresses: bool = key(True, "yes or no", "off: addresses are left out of the log")


@dataclass(frozen=True, slots=True)
class TlsKeys:
    """Encryption."""

    mode: str = key("auto", "auto, on or off", "auto: on unless host is loopback")
    insecure_lab: bool = key(
        False, "yes or no", "allows plaintext off loopback, with a banner: for captures one wants to read"
    )
    cert: str = key("", "PEM file", "empty: made in the data folder at the first start, its fingerprint printed")
    keylog: str = key("", "file", "lab only: session keys for Wireshark; whoever has them reads everything")
    key: str = key("", "PEM file", "of the certificate")  # the last: here the name stops being the function


@dataclass(frozen=True, slots=True)
class HistoryKeys:
    """What is kept."""

    durable: bool = key(True, "yes or no", "ACK after the disk has it; off: memory only, gone with the process")
    days: int = key(0, "days", "messages of a new room are kept; 0: for good")
    messages: int = key(0, "messages", "kept in a new room; 0: all")
    memory_messages: int = key(2000, "messages", "kept in a room when durable is off")


@dataclass(frozen=True, slots=True)
class FileKeys:
    """Files."""

    file_bytes: int = key(
        2 << 30, "bytes", "one file; ejabberd and Mattermost start at 100 MiB, a lab passes images on"
    )
    account_bytes: int = key(8 << 30, "bytes", "of one user, complete and arriving")
    total_bytes: int = key(64 << 30, "bytes", "of the spool folder")
    keep_free_bytes: int = key(1 << 30, "bytes", "left free on the disk: the database needs room too")
    days: int = key(30, "days", "a file is kept; 0: for good")
    partial_hours: int = key(24, "hours", "an upload may pause")
    uploads: int = key(4, "uploads", "at once, of one user")
    downloads: int = key(16, "downloads", "at once, of one user")
    deny: tuple[str, ...] = key((), "types", "mime types that are not taken, like application/x-msdownload or video/*")


@dataclass(frozen=True, slots=True)
class MetricsKeys:
    """/metrics, /healthz, /readyz."""

    host: str = key("127.0.0.1", "address", "not for the public")
    port: int = key(-1, "TCP port", "-1: off; 0 picks a free one and prints it")


@dataclass(frozen=True, slots=True)
class Config:
    """All sections."""

    server: ServerKeys = field(default_factory=ServerKeys)
    tls: TlsKeys = field(default_factory=TlsKeys)
    history: HistoryKeys = field(default_factory=HistoryKeys)
    files: FileKeys = field(default_factory=FileKeys)
    metrics: MetricsKeys = field(default_factory=MetricsKeys)
    limits: Limits = field(default_factory=Limits)
    rates: Rates = field(default_factory=Rates)
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.server.data)

    @property
    def loopback(self) -> bool:
        """True if only this machine can connect."""
        return is_loopback(self.server.host)

    @property
    def tls_on(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls.mode == "on" or (self.tls.mode == "auto" and not self.loopback and not self.tls.insecure_lab)

    def announced(self) -> wire.Limits:
        """The limits as WELCOME tells them."""
        limits, rates, timeouts, files = self.limits, self.rates, self.timeouts, self.files
        return wire.Limits(
            text_bytes=limits.text_bytes,
            login_frame_bytes=wire.LOGIN_CAP,
            control_frame_bytes=wire.CONTROL_CAP,
            data_frame_bytes=wire.DATA_CAP,
            history_page=limits.history_page,
            rooms_per_session=limits.rooms_per_session,
            room_members=limits.room_members,
            sessions_per_account=limits.sessions_per_account,
            connections_per_address=limits.connections_per_address,
            message_burst=rates.message_burst,
            messages_per_s=rates.messages_per_s,
            file_bytes=files.file_bytes,
            account_bytes=files.account_bytes,
            file_days=files.days,
            ping_s=timeouts.ping_s,
            dead_s=timeouts.dead_s,
            login_s=timeouts.login_s,
            frame_s=timeouts.frame_s,
        )


SECTIONS: Final = {f.name: f.default_factory for f in dataclasses.fields(Config)}
CHOICES: Final = {
    "server.registration": {"off", "token", "open"},
    "server.loop": {"auto", "uvloop", "asyncio"},
    "server.log": {"debug", "info", "warning"},
    "tls.mode": {"auto", "on", "off"},
}
MAY_BE_ZERO: Final = {"days", "messages", "port", "keep_free_bytes", "presence_hold_s"}
FIXED: Final = {  # what a reload cannot change: it is bound to sockets, folders and buffers made at start
    "server.host", "server.port", "server.data", "server.loop", "metrics.host", "metrics.port", "history.durable", "tls.mode",
    "server.log", "tls.keylog", "history.memory_messages", "limits.ring_bytes",
}  # fmt: skip


def is_loopback(host: str) -> bool:
    """True for an address of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """The file's values over the defaults, `overrides` (`"server.port": 0`) over both. Raises ConfigError."""
    tables: dict[str, Any] = {}
    where = str(path) if path else "options"
    if path is not None:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: {reason(error)}") from None
    for name, value in (overrides or {}).items():
        section, _, option = name.partition(".")
        tables.setdefault(section, {})[option] = value
    sections = {}
    for name, table in tables.items():
        if name not in SECTIONS:
            raise ConfigError(f"{where}: section [{name}] is not known, expected one of {', '.join(SECTIONS)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: {name} = {table!r}, expected a section [{name}]")
        sections[name] = _section(where, name, table)
    config = Config(**sections)
    _check(where, config)
    return config


def _section(where: str, name: str, table: dict[str, Any]) -> Any:
    """One section's dataclass from its table."""
    make = SECTIONS[name]
    assert callable(make)
    defaults = make()
    fields = {f.name: f for f in dataclasses.fields(defaults)}
    values = {}
    for option, value in table.items():
        if option not in fields:
            raise ConfigError(f"{where}: {name}.{option} is not known, expected one of {', '.join(fields)}")
        values[option] = _value(where, f"{name}.{option}", value, getattr(defaults, option))
    return dataclasses.replace(defaults, **values)


def _value(where: str, name: str, value: Any, default: Any) -> Any:
    """A value of the default's type. Raises ConfigError."""
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise ConfigError(f"{where}: {name} = {value!r}, expected a list of texts")
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
        raise ConfigError(f"{where}: {name} = {value!r}, expected {kind}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ConfigError(f"{where}: {name} = {value!r}, expected one of {', '.join(sorted(CHOICES[name]))}")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not _in_range(name, value):
        raise ConfigError(f"{where}: {name} = {value!r} is out of range")
    return value


def _in_range(name: str, value: float) -> bool:
    section, option = name.split(".")
    if option == "port":
        return (-1 if section == "metrics" else 0) <= value <= 65535
    if section == "rates" or option in MAY_BE_ZERO:
        return 0 <= value < 2**53
    return 0 < value < 2**53


def _check(where: str, config: Config) -> None:
    """What one key alone cannot show."""
    for net in config.server.exempt:
        try:
            ipaddress.ip_network(net)
        except ValueError as error:
            raise ConfigError(f"{where}: server.exempt: {error}") from None
    if config.limits.write_low_bytes >= config.limits.write_high_bytes:
        raise ConfigError(f"{where}: limits.write_low_bytes must be below limits.write_high_bytes")
    if config.limits.text_bytes > 60 << 10:
        raise ConfigError(f"{where}: limits.text_bytes = {config.limits.text_bytes}, a frame of 64 KiB must hold it")
    if config.timeouts.ping_s >= config.timeouts.dead_s:
        raise ConfigError(f"{where}: timeouts.ping_s must be below timeouts.dead_s")
    if bool(config.tls.cert) != bool(config.tls.key):
        raise ConfigError(f"{where}: tls.cert and tls.key go together")
    if not config.loopback and not config.tls_on and not config.tls.insecure_lab:
        raise ConfigError(f"{where}: plaintext on {config.server.host}: off loopback it needs tls.insecure_lab = true")


def text(config: Config | None = None) -> str:
    """The configuration as a file, every key with unit and reason above it."""
    config = config or Config()
    lines = [
        "# tapwall chat: all keys. Lines at their default may be left out. `tapwall chat config FILE` checks a file."
    ]
    for name in SECTIONS:
        section = getattr(config, name)
        lines += ["", "# " + " ".join((type(section).__doc__ or "").split()), f"[{name}]"]
        for each in dataclasses.fields(section):
            lines.append(f"# {each.metadata['unit']}: {each.metadata['why']}")
            lines.append(f"{each.name} = {_toml(getattr(section, each.name))}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return f"{value:_}" if isinstance(value, int) else repr(value)


def fixed_changes(old: Config, new: Config) -> list[str]:
    """The keys that differ and that only a restart can change."""
    return [name for name in sorted(FIXED) if _get(old, name) != _get(new, name)]


def _get(config: Config, name: str) -> Any:
    section, option = name.split(".")
    return getattr(getattr(config, section), option)
