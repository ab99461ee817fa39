"""Live capture into rotating pcapng files, with the packets counted that the system had to drop.

In: an interface, a file name, a BPF filter, limits. Out: files, and a `RecordSummary`. dumpcap does the work where it
is installed (it keeps up with a full gigabit); otherwise a packet socket opened through scapy, whose own dissection is
left out: each packet goes to the file as one write of one block, so that what is on disk is a valid capture at any
moment, also after kill -9. Files are readable by their owner only. It must not look into packets.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.errors import LiveError
from analysis.named_tuples import NamedTuple

Progress = Callable[[int, int], None]  # packets so far, bytes written so far
Begun = Callable[[str], None]  # a file that is written from now on

SNAPLEN = 262_144
POLL_S = 0.2  # how often limits, progress and drops are looked at
STOP_S = 5.0  # dumpcap gets this long to close its files
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4  # linux/if_packet.h
SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33  # asm-generic/socket.h
BUFFER = 8_000_000  # bytes of packets that wait in the kernel while we write: 10,000 of 800 bytes
# ARPHRD_ of the interface -> LINKTYPE_: Ethernet, loopback (with Ethernet headers), none (tun), tunnels, 802.11.
LINK_TYPES = {1: 1, 772: 1, 65534: 101, 768: 101, 769: 101, 776: 101, 778: 101, 801: 105, 803: 127}


class RecordSummary(NamedTuple):
    """What a recording brought. `drops`: packets that the system saw and could not hand over, None where unknown."""

    packets: int
    drops: int | None
    files: tuple[str, ...]  # those that are still there, oldest first
    seconds: float
    engine: str


def record(
    interface: str,
    path: str,
    bpf: str = "",
    rotate_mb: float | None = None,
    keep: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
    *,
    begun: Begun | None = None,
    engine: str = "auto",
) -> RecordSummary:
    """Record `interface` to `path` until `seconds` are over or Ctrl-C; raises LiveError, one line.

    `rotate_mb`: begin a new file (`name_00001.pcapng` …) after so many megabytes; `keep`: delete all but the newest so
    many. `begun` is told of every file as it begins. `engine`: dumpcap, scapy, or auto for the first that is installed.
    """
    _check(interface, path, rotate_mb, keep, seconds)
    if engine == "auto":
        engine = "dumpcap" if shutil.which("dumpcap") else "scapy"
    run = {"dumpcap": _with_dumpcap, "scapy": _with_scapy}[engine]
    talk = progress or (lambda packets, size: None), begun or (lambda path: None)
    return run(interface, path, bpf, rotate_mb, keep, seconds, *talk)


def _check(interface: str, path: str, rotate_mb: float | None, keep: int | None, seconds: float | None) -> None:
    """Say in one line what cannot work, before anything is opened."""
    names = [name for _, name in socket.if_nameindex()]
    if interface not in names and interface != "any":
        raise LiveError(f"interface {interface!r}: no such interface, expected one of {', '.join(names)}")
    if not Path(path).absolute().parent.is_dir():
        raise LiveError(f"{path}: no such folder to write to")
    for name, value in (("rotate_mb", rotate_mb), ("keep", keep), ("seconds", seconds)):
        if value is not None and value <= 0:
            raise LiveError(f"{name}: got {value}, expected more than 0")
    if keep is not None and rotate_mb is None:
        raise LiveError("keep: needs rotate_mb, expected a size after which a new file begins")


# ---------------------------------------------------------------------------------------------------------- dumpcap


def _with_dumpcap(
    interface: str,
    path: str,
    bpf: str,
    rotate_mb: float | None,
    keep: int | None,
    seconds: float | None,
    progress: Progress,
    begun: Begun,
) -> RecordSummary:
    """Run dumpcap; it writes and rotates, we watch. Ctrl-C reaches it as well, and it closes its files."""
    command = ["dumpcap", "-i", interface, "-w", path]
    command += ["-f", bpf] if bpf else []
    command += ["-b", f"filesize:{max(1, round(rotate_mb * 1000))}"] if rotate_mb else []
    command += ["-b", f"files:{keep}"] if keep else []
    command += ["-a", f"duration:{seconds:g}"] if seconds else []
    begin = time.monotonic()
    files: list[str] = []
    said: list[str] = []
    packets = 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        assert child.stderr is not None
        lines = _lines(child.stderr.fileno())
        try:
            packets = _watch(lines, files, said, progress, begun)
        except KeyboardInterrupt:
            child.send_signal(2)
            with contextlib.suppress(KeyboardInterrupt):
                packets = _watch(lines, files, said, progress, begun)
        finally:
            _stop(child)
    text = "\n".join(said)
    if child.returncode not in (0, -2):
        raise LiveError(f"interface {interface!r}: {_dumpcap_error(said)}")
    total = re.search(r"Packets captured: (\d+)", text)
    drops = re.search(r"received/dropped on interface .*?: \d+/(\d+)", text)
    kept = tuple(name for name in files if os.path.exists(name))
    return RecordSummary(
        int(total[1]) if total else packets,
        int(drops[1]) if drops else None,
        kept,
        time.monotonic() - begin,
        "dumpcap",
    )


def _lines(descriptor: int) -> Iterator[str]:
    """What dumpcap says, as it says it; its counter ends in a carriage return, not a newline."""
    rest = ""
    while octets := os.read(descriptor, 4096):
        *whole, rest = re.split(r"[\r\n]+", rest + octets.decode("utf-8", "replace"))
        yield from whole
    yield rest


def _watch(lines: Iterator[str], files: list[str], said: list[str], progress: Progress, begun: Begun) -> int:
    """Follow dumpcap to its end; returns the packets it last counted."""
    packets = 0
    for line in lines:
        counted = re.match(r"Packets: (\d+) ?", line)
        if counted:
            packets = int(counted[1])
            progress(packets, sum(map(_size, files)))
            line = line[counted.end() :]  # a new file is named behind the counter
        if line.startswith("File: "):
            files.append(line[6:])
            begun(line[6:])
        elif line and len(said) < 200:
            said.append(line)
    return packets


def _size(path: str) -> int:
    """Bytes of a file, 0 where it is gone: dumpcap deletes the oldest while we look."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Have the child end: by itself, then asked, then at once."""
    for ask in (child.terminate, child.kill):
        try:
            child.wait(STOP_S)
            return
        except subprocess.TimeoutExpired:
            ask()
    child.wait()


def _dumpcap_error(said: list[str]) -> str:
    """The sentence of dumpcap that names the trouble."""
    useful = [line for line in said if not line.startswith(("Capturing on", "Running as", "Please", "dumpcap: "))]
    useful += [line.removeprefix("dumpcap: ") for line in said if line.startswith("dumpcap: ")]
    return useful[0] if useful else "dumpcap could not start"


# ------------------------------------------------------------------------------------------------------------ scapy


@dataclass(slots=True)
class BlockFile:
    """A pcapng file that grows by whole blocks, each one write: valid at any moment."""

    path: str
    interface: str
    link_type: int
    bpf: str = ""
    size: int = 0
    packets: int = 0
    _descriptor: int = field(default=-1)

    def open(self) -> BlockFile:
        """Create the file, or empty it, with section and interface blocks."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        system = f"{platform.system()} {platform.release()}".encode()
        self._write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), {3: system, 4: b"tapwall"}))
        options = {2: self.interface.encode(), 9: b"\x09", 11: b"\x00" + self.bpf.encode() if self.bpf else b""}
        self._write(_block(1, struct.pack("<HHI", self.link_type, 0, SNAPLEN), options))
        return self

    def add(self, time_ns: int, data: bytes, wire: int) -> None:
        """Append one packet: captured bytes, length on the wire."""
        head = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), wire)
        self._write(_block(6, head + data, {}))
        self.packets += 1

    def close(self, time_ns: int, received: int, drops: int) -> None:
        """Append the interface statistics and close."""
        if self._descriptor < 0:
            return
        head = struct.pack("<III", 0, time_ns >> 32, time_ns & 0xFFFFFFFF)
        try:
            self._write(_block(5, head, {4: struct.pack("<Q", received), 5: struct.pack("<Q", drops)}))
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, octets: bytes) -> None:
        """One block, whole; a block that the disk had no room for is taken back."""
        try:
            written = os.write(self._descriptor, octets)
        except OSError as error:
            raise LiveError(f"{self.path}: cannot write: {(error.strerror or '').lower()}") from None
        if written < len(octets):
            os.ftruncate(self._descriptor, self.size)
            raise LiveError(f"{self.path}: cannot write: disk full at byte {self.size}")
        self.size += written


def _block(kind: int, body: bytes, options: dict[int, bytes]) -> bytes:
    """One pcapng block, little-endian; empty options are left out."""
    body += bytes(-len(body) % 4)
    for code, value in options.items():
        if value:
            body += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    if any(options.values()):
        body += bytes(4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


@dataclass(slots=True)
class _Ring:
    """The files of a recording: the one being written, and those before it that are kept."""

    path: str
    interface: str
    link_type: int
    bpf: str
    rotate_bytes: int
    keep: int
    begun: Begun
    files: list[str] = field(default_factory=list)
    number: int = 0
    written: int = 0  # bytes of finished files
    current: BlockFile | None = None

    def add(self, time_ns: int, data: bytes, wire: int, statistics: tuple[int, int]) -> None:
        """Append a packet; begin another file first where this one is full."""
        if self.current is not None and self.rotate_bytes and self.current.size >= self.rotate_bytes:
            self.close(time_ns, statistics)
        if self.current is None:
            self.begin()
        assert self.current is not None
        self.current.add(time_ns, data, wire)

    def begin(self) -> None:
        """Open the next file, and delete those that are too many."""
        self.number += 1
        path = Path(self.path)
        name = path.with_name(f"{path.stem}_{self.number:05d}{path.suffix}") if self.rotate_bytes else path
        try:
            self.current = BlockFile(str(name), self.interface, self.link_type, self.bpf).open()
        except OSError as error:
            raise LiveError(f"{name}: cannot write: {(error.strerror or '').lower()}") from None
        self.files.append(str(name))
        self.begun(str(name))
        while self.keep and len(self.files) > self.keep:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.files.pop(0))

    def close(self, time_ns: int, statistics: tuple[int, int]) -> None:
        """Finish the present file."""
        if self.current is not None:
            current, self.current = self.current, None
            self.written += current.size
            current.close(time_ns, *statistics)

    @property
    def size(self) -> int:
        """Bytes written to all files."""
        return self.written + (self.current.size if self.current is not None else 0)


def _with_scapy(
    interface: str,
    path: str,
    bpf: str,
    rotate_mb: float | None,
    keep: int | None,
    seconds: float | None,
    progress: Progress,
    begun: Begun,
) -> RecordSummary:
    """Read a packet socket that scapy has opened and filtered."""
    sniffer = _open_socket(interface, bpf)
    raw: socket.socket = sniffer.ins
    raw.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    family = raw.getsockname()[3]
    if family not in LINK_TYPES:
        sniffer.close()
        raise LiveError(
            f"interface {interface!r}: hardware type {family} is unknown, expected one of {sorted(LINK_TYPES)}"
        )
    ring = _Ring(path, interface, LINK_TYPES[family], bpf, round((rotate_mb or 0) * 1_000_000), keep or 0, begun)
    begin = time.monotonic()
    packets = drops = 0
    try:
        _enlarge_buffer(raw)
        _new_drops(raw)  # until its filter is attached the socket sees, and with no buffer drops, what nobody asked for
        ring.begin()
        looked = begin
        while seconds is None or time.monotonic() - begin < seconds:
            ready, _, _ = select.select([raw], [], [], POLL_S)
            packet = _receive(raw, loopback=family == 772) if ready else None
            if packet is not None:
                ring.add(*packet, (packets, drops))
                packets += 1
            if time.monotonic() - looked >= POLL_S:
                looked = time.monotonic()
                drops += _new_drops(raw)
                progress(packets, ring.size)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise LiveError(f"interface {interface!r}: {(error.strerror or str(error)).lower()}") from None
    finally:
        with contextlib.suppress(OSError):
            drops += _new_drops(raw)
        sniffer.close()
        ring.close(time.time_ns(), (packets, drops))
    progress(packets, ring.size)
    return RecordSummary(packets, drops, tuple(ring.files), time.monotonic() - begin, "scapy")


def _open_socket(interface: str, bpf: str) -> Any:
    """scapy's listening socket: promiscuous, with the filter compiled and attached to the kernel."""
    from scapy.all import conf  # the parts alone leave conf without its sockets
    from scapy.error import Scapy_Exception

    try:
        return conf.L2listen(iface=interface, filter=bpf or None)
    except PermissionError:
        raise LiveError(f"interface {interface!r}: no permission to capture, expected root or CAP_NET_RAW") from None
    except (OSError, Scapy_Exception, ImportError) as error:
        raise LiveError(f"interface {interface!r}: cannot capture: {error}") from None


def _receive(raw: socket.socket, *, loopback: bool) -> tuple[int, bytes, int] | None:
    """One packet as (time in ns, bytes, length on the wire); None for the outgoing copy that a loopback also shows."""
    data, extra, _, address = raw.recvmsg(65_536, socket.CMSG_SPACE(16) + socket.CMSG_SPACE(20), socket.MSG_TRUNC)
    if loopback and address[2] == PACKET_OUTGOING:
        return None
    time_ns = time.time_ns()
    for level, kind, value in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(value) >= 16:
            second, nano = struct.unpack("@qq", value[:16])
            time_ns = second * 10**9 + nano
        elif level == SOL_PACKET and kind == 8 and len(value) >= 20:
            data = _with_vlan(data, value)
    return time_ns, data, len(data)


def _with_vlan(data: bytes, auxiliary: bytes) -> bytes:
    """Put back the VLAN tag that the network card took off (struct tpacket_auxdata: status, …, tci, tpid)."""
    status, _, _, _, _, tci, tpid = struct.unpack("@IIIHHHH", auxiliary[:20])
    if not status & 0x10 or len(data) < 12:  # TP_STATUS_VLAN_VALID
        return data
    tag = struct.pack("!HH", tpid if status & 0x40 else 0x8100, tci)  # TP_STATUS_VLAN_TPID_VALID
    return data[:12] + tag + data[12:]


def _enlarge_buffer(raw: socket.socket) -> None:
    """Let the kernel hold BUFFER bytes for us (scapy: 64 KiB); an ordinary user gets what net.core.rmem_max allows."""
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)


def _new_drops(raw: socket.socket) -> int:
    """Packets dropped since the last call (struct tpacket_stats; reading resets it)."""
    _, drops = struct.unpack("@II", raw.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    return int(drops)
