"""A copy of a data folder, and a data folder from a copy.

A backup is a folder: the database by SQLite's online backup (the server may be running), the files by name, a manifest.
"""

import hashlib
import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from chat.errors import StoreError, reason
from chat.store import VERSION

HASH: Final = re.compile("[0-9a-f]{64}")


def backup(folder: Path, target: Path) -> dict[str, Any]:
    """Copy a data folder, also of a running server: database by SQLite's online backup, files by name (they never change).
    Returns the manifest that is written beside them. Raises StoreError."""
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target}: not empty, a backup goes into a new folder")
    source = folder / "chat.sqlite"
    if not source.exists():
        raise StoreError(f"{source}: no such database")
    _make_folder(target)
    try:
        _copy_database(source, target / "chat.sqlite")
        with closing(sqlite3.connect(target / "chat.sqlite")) as copy:
            wanted = sorted({row[0] for row in copy.execute("SELECT sha256 FROM files WHERE seq > 0")})
    except sqlite3.Error as error:
        raise StoreError(f"{source}: {error}") from None
    files = [sha for sha in wanted if _copy_blob(folder, target, sha)]
    manifest = {"schema": VERSION, "files": files, "missing": sorted(set(wanted) - set(files))}
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return manifest


def restore(source: Path, folder: Path) -> dict[str, Any]:
    """A backup into a new data folder, every file checked against its name. Raises StoreError."""
    if (folder / "chat.sqlite").exists():
        raise StoreError(f"{folder}: has a database already")
    try:
        manifest = _read_manifest(source / "manifest.json")
        with closing(sqlite3.connect(source / "chat.sqlite")) as db:
            bad = db.execute("PRAGMA integrity_check").fetchone()[0]
    except (OSError, ValueError, sqlite3.Error) as error:
        raise StoreError(f"{source}: not a backup: {reason(error)}") from None
    if bad != "ok":
        raise StoreError(f"{source}: damaged database: {bad}")
    _make_folder(folder)
    for sha in manifest["files"]:
        if not _copy_blob(source, folder, sha):
            raise StoreError(f"{source}: file {sha} is missing or damaged")
    _copy_database(source / "chat.sqlite", folder / "chat.sqlite")
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    """ValueError unless its files are hashes: they become paths."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, list) or not all(isinstance(sha, str) and HASH.fullmatch(sha) for sha in files):
        raise ValueError(f"{path.name}: expected a list of SHA-256 hashes under files")
    return {"missing": [], **manifest}


def _make_folder(folder: Path) -> None:
    """A data folder for its owner alone."""
    for made in (folder, folder / "files"):
        made.mkdir(parents=True, exist_ok=True, mode=0o700)


def _copy_database(source: Path, target: Path) -> None:
    """To a new file for its owner alone: it has digests of passwords, and what was said in private."""
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)


def _copy_blob(source: Path, target: Path, sha: str) -> bool:
    """Copy one file of the content-addressed folder if it is what its name says."""
    blob = source / "files" / sha[:2] / sha
    try:
        content = blob.open("rb")
    except OSError:
        return False
    copy = target / "files" / sha[:2] / sha
    copy.parent.mkdir(exist_ok=True, mode=0o700)
    with content, copy.open("wb") as out:
        found = hashlib.sha256()
        while piece := content.read(1 << 20):
            found.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    if found.hexdigest() != sha:
        copy.unlink()
        return False
    return True
