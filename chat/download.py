"""Saving a received file: never overwrite, never leave the folder, nothing under its name before it is verified.

In: a folder, a name a stranger chose, the announced size and SHA-256, the bytes in order. Out: the path of a complete,
verified file. While it arrives it is `.<sha256>.part` in the same folder, found again after a break, so a transfer resumes.

Everything is opened relative to a directory descriptor with O_EXCL and O_NOFOLLOW: a symbolic link planted in the folder,
or the folder being swapped for one, leads nowhere. It knows nothing of frames or sockets; the hash is the only authority.
"""

import fcntl
import hashlib
import os
import re
import stat
import unicodedata
from pathlib import Path
from types import TracebackType
from typing import Final

from chat.errors import ChatError

NAME_BYTES: Final = (
    200  # of a saved name: file systems take 255, " (999)" must still fit, ecryptfs takes 143 but is rare
)
COPIES: Final = 1000  # "name (999).png"; past that somebody is filling the folder on purpose
READ_BYTES: Final = 1 << 20  # per read while the first part of a resumed file is hashed again
FALLBACK_NAME: Final = "file"

_RESERVED: Final = re.compile(r"(?i)^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)")
_FORBIDDEN: Final = frozenset('/\\<>:"|?*')  # separators, and what Windows and SMB shares refuse
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW


class DownloadError(ChatError):
    """A file cannot be saved, or is not what was announced."""


def local_name(name: str) -> str:
    """The name a file is saved under: `name` without path, controls, invisible characters, leading dots or device names.

    Never empty, never `.` or `..`, at most NAME_BYTES bytes of UTF-8; the ending survives the cut.
    """
    kept = "".join(char for char in unicodedata.normalize("NFC", name) if _harmless(char))
    kept = re.sub(r"\s+", " ", "".join("_" if char in _FORBIDDEN else char for char in kept))
    kept = kept.lstrip(" .").rstrip(" .")
    if _RESERVED.match(kept):
        kept = "_" + kept
    return _shortened(kept) or FALLBACK_NAME


def _harmless(char: str) -> bool:
    return (
        not unicodedata.category(char).startswith("C")
        and char not in "\u2028\u2029\u2800\u3164\uffa0\u115f\u1160\u034f"
    )


def _shortened(name: str) -> str:
    if len(name.encode()) <= NAME_BYTES:
        return name
    stem, ending = os.path.splitext(name)
    if len(ending.encode()) > 20:  # not an ending, a trick
        stem, ending = name, ""
    room = NAME_BYTES - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(" .") + ending


class Download:
    """One file on its way into a folder. Use: `offset` says where to go on, `write` in order, then `finish` or `close`.

    Closing without `finish` keeps the part for the next try; `discard` removes it. A context manager closes.
    """

    def __init__(self, folder: Path, name: str, size_bytes: int, sha256: str) -> None:
        """Open or take up again the part of this content. DownloadError if the folder or the part is not usable."""
        if not _SHA256.fullmatch(sha256):
            raise DownloadError(f"sha256 of a file: got {sha256[:70]!r}, expected 64 hexadecimal digits")
        if size_bytes < 0:
            raise DownloadError(f"size of a file: got {size_bytes}, expected 0 or more")
        self.folder, self.name, self.size_bytes, self.sha256 = folder, local_name(name), size_bytes, sha256
        self._part = f".{sha256}.part"
        self._hash = hashlib.sha256()
        self._fd = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DownloadError(f"download folder {folder}: {error.strerror}") from error
        try:
            self.offset = self._open_part()
        except (OSError, DownloadError) as error:
            os.close(self._folder_fd)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DownloadError(f"{folder / self._part}: {reason}") from error

    def _open_part(self) -> int:
        """Create the part, or check and hash the one that is there; its length is where to go on."""
        try:
            self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=self._folder_fd)
            self._lock()
            return 0
        except FileExistsError:
            self._fd = os.open(self._part, os.O_RDWR | _OPEN, dir_fd=self._folder_fd)  # a symbolic link: ELOOP
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
            os.close(self._fd)
            raise DownloadError("a part that is no regular file of yours, or is linked elsewhere; move it away")
        self._lock()
        if found.st_size > self.size_bytes:  # cannot be a beginning of this file
            os.ftruncate(self._fd, 0)
            return 0
        while block := os.read(self._fd, READ_BYTES):
            self._hash.update(block)
        return found.st_size

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise DownloadError("another program is receiving this file") from error

    def write(self, offset: int, block: bytes | memoryview) -> None:
        """Append `block`, which begins at `offset`. DownloadError if it is out of order, too long, or the disk is full."""
        if offset != self.offset:
            raise DownloadError(f"{self.name}: got bytes at {offset}, expected {self.offset}")
        if offset + len(block) > self.size_bytes:
            raise DownloadError(f"{self.name}: got {offset + len(block)} bytes, announced were {self.size_bytes}")
        try:
            left = memoryview(block)
            while len(left):
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            os.ftruncate(self._fd, self.offset)  # a half-written block would be taken for received
            os.lseek(self._fd, self.offset, os.SEEK_SET)
            raise DownloadError(f"{self.folder / self.name}: {error.strerror}") from error
        self._hash.update(block)
        self.offset += len(block)

    def finish(self) -> Path:
        """Verify, give the file its name (or `name (1)` and so on if that is taken), and return the path.

        DownloadError if bytes are missing or the SHA-256 differs; a differing part is removed, for it cannot be resumed.
        """
        if self.offset != self.size_bytes:
            raise DownloadError(f"{self.name}: got {self.offset} bytes, expected {self.size_bytes}")
        if self._hash.hexdigest() != self.sha256:
            self.discard()
            raise DownloadError(
                f"{self.name}: sha256 is {self._hash.hexdigest()}, announced was {self.sha256}; removed"
            )
        try:
            os.fsync(self._fd)
            name = self._named()
            os.fsync(self._folder_fd)
        except OSError as error:
            raise DownloadError(f"{self.folder / self.name}: {error.strerror}") from error
        self.close()
        return self.folder / name

    def _named(self) -> str:
        """Move the part to the first free name. A hard link fails where a name is taken: nothing is ever replaced."""
        stem, ending = os.path.splitext(self.name)
        for copy in range(COPIES):
            name = f"{stem} ({copy}){ending}" if copy else self.name
            try:
                os.link(self._part, name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd, follow_symlinks=False)
            except FileExistsError:
                continue
            except PermissionError:  # FAT and some network folders have no hard links
                if not self._reserved(name):
                    continue
                os.rename(self._part, name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
                return name
            os.unlink(self._part, dir_fd=self._folder_fd)
            return name
        raise DownloadError(f"{self.folder / self.name}: {COPIES} files of that name are there already")

    def _reserved(self, name: str) -> bool:
        """Take a name with an empty file of our own, which the rename then replaces; False if it is taken."""
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=self._folder_fd))
        except FileExistsError:
            return False
        return True

    def discard(self) -> None:
        """Remove the part and close."""
        if self._fd >= 0:
            os.unlink(self._part, dir_fd=self._folder_fd)
        self.close()

    def close(self) -> None:
        """Close; a part that was not finished stays for the next try. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            os.close(self._folder_fd)
            self._fd = -1

    def __enter__(self) -> "Download":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
