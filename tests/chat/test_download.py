"""A received file stays in the folder, replaces nothing, and has its name only when it is verified."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import download
from chat.download import FALLBACK_NAME, NAME_BYTES, Download, DownloadError, local_name

BODY = b"tapwall" * 1000
SHA = hashlib.sha256(BODY).hexdigest()


def save(folder: Path, name: str, body: bytes = BODY) -> Path:
    """Receive `body` whole."""
    with Download(folder, name, len(body), hashlib.sha256(body).hexdigest()) as incoming:
        incoming.write(0, body)
        return incoming.finish()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        ("..\\..\\boot.ini", "_.._boot.ini"),
        ("..", FALLBACK_NAME),
        (".", FALLBACK_NAME),
        ("", FALLBACK_NAME),
        (".bashrc", "bashrc"),
        ("...", FALLBACK_NAME),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com¹", "_com¹"),
        ("console.txt", "console.txt"),
        ("a\x00b", "ab"),
        ("a\x1b[2Jb", "a[2Jb"),
        ("gpj\u202eexe.png", "gpjexe.png"),
        ("a\nb.txt", "ab.txt"),
        ("x:stream", "x_stream"),
        ("trailing. . ", "trailing"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("\ud800", FALLBACK_NAME),
    ],
)
def test_names_lose_what_is_dangerous(name: str, expected: str) -> None:
    """Paths, dot files, device names, controls and bidi tricks do not survive in a saved name."""
    assert local_name(name) == expected


def test_a_long_name_keeps_its_ending() -> None:
    """Cutting a long name leaves the ending, by which people and programs know what it is."""
    short = local_name("ü" * 500 + ".png")

    assert short.endswith("ü.png") and len(short.encode()) <= NAME_BYTES


@given(st.text(st.characters(exclude_categories=()), max_size=300) | st.text("./\\ \x00\x1bCONaux:*"))
def test_any_name_stays_inside(name: str) -> None:
    """Whatever the name, the saved one is a single component inside the folder and short enough."""
    local = local_name(name)

    assert local not in ("", ".", "..") and not set(local) & set("/\\\0\n")
    assert Path("/folder", local).resolve().parent == Path("/folder")
    assert len(local.encode()) <= NAME_BYTES
    assert local_name(local) == local


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second file of the same name gets a number; the first stays as it was."""
    (tmp_path / "a.png").write_bytes(b"mine")

    assert save(tmp_path, "a.png") == tmp_path / "a (1).png"
    assert save(tmp_path, "a.png") == tmp_path / "a (2).png"
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    assert (tmp_path / "a (1).png").read_bytes() == BODY
    assert (tmp_path / "a (1).png").stat().st_mode & 0o777 == 0o600


def test_a_folder_without_hard_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where linking is refused (FAT), an empty file of our own is renamed over; others are still not replaced."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(download.os, "link", refuse)
    (tmp_path / "a.png").write_bytes(b"mine")

    assert save(tmp_path, "a.png") == tmp_path / "a (1).png"
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    assert (tmp_path / "a (1).png").read_bytes() == BODY


def test_links_in_the_way_are_refused(tmp_path: Path) -> None:
    """A symbolic or hard link planted under the part's name is refused, one under the final name is stepped round."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").symlink_to(victim)
    (folder / "b.png").symlink_to(tmp_path / "not there")

    assert save(folder, "a.png") == folder / "a (1).png"
    assert save(folder, "b.png") == folder / "b (1).png"
    (folder / f".{SHA}.part").symlink_to(victim)
    with pytest.raises(DownloadError, match="symbolic links"):
        Download(folder, "c", len(BODY), SHA)
    (folder / f".{SHA}.part").unlink()
    os.link(victim, folder / f".{SHA}.part")
    with pytest.raises(DownloadError, match="linked elsewhere"):
        Download(folder, "c", len(BODY), SHA)
    assert victim.read_bytes() == b"precious" and not (tmp_path / "not there").exists()


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The part is not visible under the name, its length is the offset, and the whole is verified."""
    with Download(tmp_path, "a.bin", len(BODY), SHA) as first:
        first.write(0, BODY[:3000])
    with Download(tmp_path, "a.bin", len(BODY), SHA) as second:
        assert second.offset == 3000
        assert not (tmp_path / "a.bin").exists()
        second.write(3000, BODY[3000:])
        path = second.finish()

    assert path.read_bytes() == BODY
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.bin"]


def test_wrong_bytes_never_get_the_name(tmp_path: Path) -> None:
    """Missing bytes keep the part; a wrong hash removes it; out of order and too many bytes are refused."""
    with Download(tmp_path, "a", len(BODY), SHA) as incoming:
        with pytest.raises(DownloadError, match="expected 0"):
            incoming.write(5, b"x")
        with pytest.raises(DownloadError, match="announced"):
            incoming.write(0, BODY + b"x")
        with pytest.raises(DownloadError, match="got 0 bytes"):
            incoming.finish()
        incoming.write(0, bytes(len(BODY)))
        with pytest.raises(DownloadError, match="sha256"):
            incoming.finish()

    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    """A second receiver of the same content is refused while the first is at work."""
    with Download(tmp_path, "a", len(BODY), SHA) as first:
        with pytest.raises(DownloadError, match="another program"):
            Download(tmp_path, "a", len(BODY), SHA)
        first.write(0, BODY)
        first.finish()


def test_a_longer_part_is_begun_again(tmp_path: Path) -> None:
    """A part longer than the file cannot be its beginning: it is emptied."""
    (tmp_path / f".{SHA}.part").write_bytes(bytes(len(BODY) + 1))

    with Download(tmp_path, "a", len(BODY), SHA) as incoming:
        assert incoming.offset == 0


@pytest.mark.parametrize(("size", "sha"), [(-1, SHA), (1, "../../x"), (1, SHA.upper()), (1, "")])
def test_a_bad_announcement_is_refused(tmp_path: Path, size: int, sha: str) -> None:
    """Size and hash come from a peer: a hash is part of a file name, so only 64 digits will do."""
    with pytest.raises(DownloadError):
        Download(tmp_path, "a", size, sha)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """The error names the folder and the reason."""
    (tmp_path / "file").write_text("")

    with pytest.raises(DownloadError, match="download folder"):
        Download(tmp_path / "file" / "x", "a", 1, SHA)


def test_a_full_disk_keeps_what_was_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half-way is taken back, so that the part stays a true beginning."""
    with Download(tmp_path, "a", len(BODY), SHA) as incoming:
        incoming.write(0, BODY[:1000])
        real = os.write

        def full(fd: int, block: bytes) -> int:
            if len(block) == 6000:
                return real(fd, block[:500])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(download.os, "write", full)
        with pytest.raises(DownloadError, match="No space"):
            incoming.write(1000, BODY[1000:])
        monkeypatch.undo()
        assert incoming.offset == 1000 == (tmp_path / f".{SHA}.part").stat().st_size
        incoming.write(1000, BODY[1000:])
        assert incoming.finish().read_bytes() == BODY
