"""The boundary: whatever strings a server sends, what the caller gets can be printed."""

import dataclasses
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import events, wire

HOSTILE = "\x1b[2J\x9b\u202e\x07\r\n\u200b"


def hostile(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """A body of this type all of whose strings are hostile."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        made = _value(field.type, field.name)
        if made is not None:
            fields[field.name] = made
    return kind(**fields)


def _value(kind: object, name: str) -> object:
    if kind is str:
        return "ab" * (16 if name == "file_id" else 32) if name in ("file_id", "sha256") else HOSTILE
    if kind is bool:
        return True
    if kind is int or getattr(kind, "__metadata__", None):
        return 1
    if kind == list[str]:
        return [HOSTILE]
    if kind == list[wire.Member]:
        return [hostile(wire.Member)]
    if kind in (wire.FileRef, wire.FileRef | None):
        return hostile(wire.FileRef)
    return None


def strings(value: object, path: str = "") -> list[tuple[str, str]]:
    """All strings in an event with where they stand, except the raw ones that are documented as such."""
    if isinstance(value, str):
        return [(path, value)]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name not in ("raw", "raw_name")]
        return [found for name in names for found in strings(getattr(value, name), f"{path}.{name}")]
    if isinstance(value, tuple | list):
        return [found for one in value for found in strings(one, path + "[]")]
    return (
        [found for key, one in value.items() for found in strings(one, f"{path}.{key}")]
        if isinstance(value, dict)
        else []
    )


BODIES = [
    wire.Msg,
    wire.Joined,
    wire.Parted,
    wire.Members,
    wire.Presence,
    wire.Offered,
    wire.Notice,
    wire.Error,
    wire.Gap,
]


@pytest.mark.parametrize("kind", BODIES)
def test_no_string_of_a_server_is_dangerous(kind: type[wire.Body]) -> None:
    """Every string field of every event, and of its JSON form, is without controls and bidi overrides."""
    body = hostile(kind)
    event = (
        events.message(body)
        if isinstance(body, wire.Msg)
        else events.joined(body, False)
        if isinstance(body, wire.Joined)
        else events.event_of(body)  # type: ignore[arg-type]
    )
    assert event is not None
    found = strings(event) + strings(events.as_json(event))

    assert found
    for path, text in found:
        bad = {
            c for c in text if unicodedata.category(c) in ("Cc", "Cf") and not (c in "\n\t" and path.endswith("text"))
        }
        assert not bad, (path, text)


@given(st.text(max_size=40), st.text(max_size=70))
def test_a_file_with_a_strange_id_is_no_file(file_id: str, sha256: str) -> None:
    """Ids and hashes become requests and file names, so only hexadecimal of the right length is taken."""
    file = events.file_of(wire.FileRef(file_id, "x", 1, sha256))

    assert file is None or (len(file.file_id) == 32 and len(file.sha256) == 64)
