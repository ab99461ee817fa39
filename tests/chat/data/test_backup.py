"""chat.data.backup: a copy of a running server's folder, checked when it is restored."""

from pathlib import Path

import pytest
from store_desk import Desk, post

from chat.data.backup import backup, restore
from chat.errors import StoreError


def test_backup_and_restore(tmp_path: Path) -> None:
    """Of a running server; files by their hash, a damaged one is named; never over something that is there."""
    desk = Desk(tmp_path / "data")
    desk.write(post("a", "kept"))
    sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
    blob = tmp_path / "data" / "files" / sha[:2] / sha
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"hello")
    desk.wait(desk.store.save("put_file", ("f" * 32, sha, "a.txt", 5, "", "ann", "lobby", 1, 0.0)))

    manifest = backup(tmp_path / "data", tmp_path / "copy")
    desk.write(post("b", "later"))
    desk.store.stop()

    assert {oct(path.stat().st_mode & 0o77) for path in (tmp_path / "copy", tmp_path / "copy" / "chat.sqlite")} == {
        "0o0"
    }
    assert manifest["files"] == [sha] and manifest["missing"] == []
    restore(tmp_path / "copy", tmp_path / "new")
    new = Desk(tmp_path / "new")
    assert [m.text for m in new.messages()] == ["kept"]
    new.store.stop()
    assert (tmp_path / "new" / "files" / sha[:2] / sha).read_bytes() == b"hello"
    with pytest.raises(StoreError, match="already"):
        restore(tmp_path / "copy", tmp_path / "new")
    with pytest.raises(StoreError, match="not empty"):
        backup(tmp_path / "data", tmp_path / "copy")
    for manifest_text in ("[]", '{"files": ["../../x"]}', '{"files": [7]}', "{"):
        kept = (tmp_path / "copy" / "manifest.json").read_text()
        (tmp_path / "copy" / "manifest.json").write_text(manifest_text)
        with pytest.raises(StoreError, match="not a backup"):
            restore(tmp_path / "copy", tmp_path / "other")
        (tmp_path / "copy" / "manifest.json").write_text(kept)
    (tmp_path / "copy" / "files" / sha[:2] / sha).write_bytes(b"jello")
    with pytest.raises(StoreError, match="damaged"):
        restore(tmp_path / "copy", tmp_path / "other")
