"""The one door to numba: `@kernel` compiles a plain Python loop over arrays, or hands it back as it is.

Decided once per process, before any file with kernels is imported: `choose(packets)` says whether the capture is
large enough to pay for numba's import (about 0.9 s). `TAPWALL_JIT=on|off|auto` overrides it. Both ways run the same
source and must give the same columns, so kernels mind the rules of docs/design.md ("Kernels").
Every compiled kernel has bounds checking on: a capture is hostile input. It must not know what the kernels compute.
"""

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

# Interpreted, a packet costs 30-60 us; numba's import and set-up cost about 0.9 s: they meet near 20,000 packets.
# The lower figure leaves room for slower disks and cold caches (bench/ prints the crossing point).
JIT_FROM_PACKETS = 10_000

_enabled: bool | None = None
_left: tuple[str, ...] = ()  # beginnings of names of modules whose kernels are left interpreted


def choose(packets: int) -> bool:
    """Decide, once per process, whether kernels are compiled; `packets` is the expected number. Returns the decision."""
    global _enabled
    if _enabled is None:
        setting = os.environ.get("TAPWALL_JIT", "auto").lower()
        if setting not in ("on", "off", "auto"):
            raise ValueError(f"TAPWALL_JIT: got {setting!r}, expected on, off or auto")
        _enabled = setting == "on" or (setting == "auto" and packets >= JIT_FROM_PACKETS)
        if _enabled:
            _prepare_cache()
    return _enabled


def decided() -> bool:
    """True where `choose` has been called in this process."""
    return _enabled is not None


def enabled() -> bool:
    """True where kernels are compiled in this process. Decides for interpreted if nobody has called `choose` before."""
    return choose(0)


def leave(*modules: str) -> None:
    """Kernels of modules whose names begin so stay interpreted in this process: another compiles them. To be called first."""
    global _left
    _left = modules


def compiles(module: str) -> bool:
    """True where kernels of a module of this name are compiled in this process."""
    return enabled() and not module.startswith(_left)


def kernel(function: Function) -> Function:
    """Decorate a kernel, and every small function a kernel calls: compiled with bounds checks, or left as it is."""
    if not compiles(function.__module__):
        return function
    from numba import njit

    compiled: Any = njit(boundscheck=True, cache=True, nogil=True)(function)
    return compiled  # type: ignore[no-any-return]


def lean_kernel(function: Function) -> Function:
    """As `kernel`, for an entry that calls `inner_kernel`s per header and allocates nothing.

    Compiled without reference counts: passing two arrays to a small function otherwise costs four atomic
    additions a call, which made decoding take 720 ns a packet in place of 270. A function that allocates does not
    compile this way, so the option cannot be wrong in silence. Bounds checks stay on.
    """
    if not compiles(function.__module__):
        return function
    from numba import njit

    options: Any = {"boundscheck": True, "cache": True, "nogil": True, "_nrt": False}
    compiled: Any = njit(**options)(function)
    return compiled  # type: ignore[no-any-return]


def inner_kernel(function: Function) -> Function:
    """A small function that only a `lean_kernel` calls: no door to Python and no cache entry of its own.

    Its code is cached inside its caller; the door (unpacking of every array) is half of the compile time.
    """
    return _inner(None)(function)


def typed_kernel(signature: str) -> Callable[[Function], Function]:
    """As `inner_kernel`, with its types written down in numba's words, as "int64(int64[::1], int64)".

    For functions that are called with constants: numba compiles one form for every constant otherwise. Compiled when
    the file is imported, therefore cached by itself.
    """
    return _inner(signature)


def _inner(signature: str | None) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        if not compiles(function.__module__):
            return function
        from numba import njit

        doors = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        options: Any = {"boundscheck": True, "nogil": True, "_nrt": False, **doors}
        compiled: Any = njit(signature, cache=True, **options)(function) if signature else njit(**options)(function)
        return compiled  # type: ignore[no-any-return]

    return decorate


def cache_folder() -> str | None:
    """The folder that compiled kernels are kept in; None where they are interpreted or no folder can be written."""
    return os.environ.get("NUMBA_CACHE_DIR") or None if enabled() else None


def _prepare_cache() -> None:
    """Point numba at a writable folder of compiled kernels, keyed by their sources: it misses changed callees itself.

    A folder that NUMBA_CACHE_DIR names is used as it is. Where it is read-only (an image that ships compiled kernels)
    its content is copied, for numba refuses to read from a folder that it cannot write to. Where nothing is writable
    but /tmp, that serves; the kernels are then compiled or copied once per boot.
    """
    import shutil
    import tempfile

    shipped = os.environ.get("NUMBA_CACHE_DIR")
    if shipped and os.access(shipped, os.W_OK):
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for parent in (home, os.path.join(tempfile.gettempdir(), f"tapwall-{os.getuid()}")):
        folder = os.path.join(parent, "tapwall", "kernels", sources_digest())
        try:
            new = not os.path.isdir(folder)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if os.stat(folder).st_uid != os.getuid() or not os.access(folder, os.W_OK):
                continue
            if new and shipped and os.path.isdir(shipped):
                shutil.copytree(shipped, folder, dirs_exist_ok=True)
        except OSError:
            continue
        os.environ["NUMBA_CACHE_DIR"] = folder
        return


@cache
def sources_digest() -> str:
    """A word that changes with any source file below this package, and with the Python version."""
    import hashlib

    digest = hashlib.sha256(sys.version.encode())
    for folder, folders, files in os.walk(os.path.dirname(os.path.abspath(__file__))):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as source:
                    digest.update(source.read())
    return digest.hexdigest()[:16]
