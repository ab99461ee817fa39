"""Live capture on the loopback interface: both engines, rotation, drops, kill -9, and errors in one line."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from capture_files import Packet

from analysis import live
from analysis.capture import open_captures
from analysis.errors import LiveError
from analysis.live import BlockFile, record


def may_capture() -> bool:
    """True where the system lets us open a packet socket."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except (OSError, AttributeError):
        return False
    return True


needs_root = pytest.mark.skipif(not may_capture(), reason="needs root or CAP_NET_RAW to open a packet socket")
engines = pytest.mark.parametrize(
    "engine",
    [
        "scapy",
        pytest.param("dumpcap", marks=pytest.mark.skipif(not shutil.which("dumpcap"), reason="needs dumpcap")),
    ],
)
quiet_scapy = pytest.mark.filterwarnings("ignore")  # scapy's import deprecates parts of cryptography


class Talker:
    """Sends numbered datagrams to a loopback port until stopped."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        self.port = self.receiver.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk)

    def _talk(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not self._stop.wait(0.01):
                sender.sendto(b"x" * 800, ("127.0.0.1", self.port))

    def __enter__(self) -> Talker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.receiver.close()


def packets_of(paths: list[str]) -> int:
    """Packets in the files, which must be whole."""
    with open_captures(paths) as capture:
        for _ in capture.chunks():
            pass
        assert not capture.faults
        assert capture.interfaces[0].name == "lo"
        return capture.packets


@pytest.mark.root
@needs_root
@engines
@quiet_scapy
def test_recording_for_a_time(tmp_path: Path, engine: str) -> None:
    """Each datagram once (loopback shows two copies), a valid file, drops known, progress told."""
    told: list[int] = []
    with Talker() as talker:
        summary = record(
            "lo",
            str(tmp_path / "a.pcapng"),
            f"udp port {talker.port}",
            seconds=1.5,
            engine=engine,
            progress=lambda packets, size: told.append(packets),
        )
    assert summary.files == (str(tmp_path / "a.pcapng"),)
    assert summary.packets == packets_of(list(summary.files))
    assert 10 < summary.packets < 200  # one each 10 ms, less what starting takes
    assert summary.drops is not None and 0 <= summary.drops < summary.packets  # a busy machine may drop some
    assert told and told == sorted(told)


@pytest.mark.root
@needs_root
@quiet_scapy
def test_drops_are_of_packets_that_were_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet socket is open before its filter is attached; what it drops meanwhile is not this recording's."""
    linux = pytest.importorskip("scapy.arch.linux")
    attach = linux.attach_filter

    def slowly(*arguments: object) -> None:
        time.sleep(0.3)
        attach(*arguments)

    monkeypatch.setattr(linux, "attach_filter", slowly)
    with Talker() as other, Talker() as talker:
        summary = record("lo", str(tmp_path / "a.pcapng"), f"udp port {talker.port}", seconds=0.5, engine="scapy")
    assert other.port != talker.port
    assert (summary.drops, summary.packets > 0) == (0, True)


@pytest.mark.root
@needs_root
@engines
@quiet_scapy
def test_rotation_keeps_the_newest_files(tmp_path: Path, engine: str) -> None:
    """20 KB a file is some 22 datagrams; two files stay."""
    with Talker() as talker:
        summary = record("lo", str(tmp_path / "a.pcapng"), f"udp port {talker.port}", 0.02, 2, 1.5, engine=engine)
    assert sorted(str(p) for p in tmp_path.iterdir()) == sorted(summary.files)
    assert len(summary.files) == 2
    assert 0 < packets_of(list(summary.files)) <= summary.packets


def test_progress_outlives_files_that_rotation_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest file may go between the look for it and the look at its size."""
    (tmp_path / "kept").write_bytes(b"12345")
    monkeypatch.setattr(live.os.path, "exists", lambda path: True)
    seen: list[tuple[int, int]] = []
    lines = iter([f"File: {tmp_path / 'gone'}", f"File: {tmp_path / 'kept'}", "Packets: 7 "])
    live._watch(lines, [], [], lambda packets, size: seen.append((packets, size)), lambda path: None)

    assert seen == [(7, 5)]


# a shell that starts us in the background may have had SIGINT ignored, which children inherit
SCRIPT = """
import signal, sys
from analysis.live import record
signal.signal(signal.SIGINT, signal.default_int_handler)
print(record('lo', *sys.argv[1:3], engine='scapy').packets)
"""


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_recording_leaves_a_whole_file(tmp_path: Path, kill: signal.Signals) -> None:
    """Each block is one write, so even kill -9 leaves no half packet; Ctrl-C ends with the summary."""
    path = tmp_path / "a.pcapng"
    with Talker() as talker:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), f"udp port {talker.port}"],
            stdout=subprocess.PIPE,
        )
        end = time.monotonic() + 20
        while (not path.exists() or path.stat().st_size < 5000) and time.monotonic() < end:
            time.sleep(0.02)
        child.send_signal(kill)
        said, _ = child.communicate(timeout=10)
    packets = packets_of([str(path)])
    assert packets >= 4
    if kill == signal.SIGINT:
        assert (child.returncode, int(said)) == (0, packets)


BAD = [
    ({"interface": "nosuch0"}, "interface 'nosuch0': no such interface, expected one of .*lo"),
    ({"path": "/nonexistent-folder/a.pcapng"}, "no such folder"),
    ({"seconds": 0}, "seconds: got 0, expected more than 0"),
    ({"keep": 2}, "keep: needs rotate_mb"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_cannot_work_is_said_before_anything_starts(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """One line: what, got, expected."""
    with pytest.raises(LiveError, match=message):
        record(**{"interface": "lo", "path": str(tmp_path / "a.pcapng"), **change})  # type: ignore[arg-type]


@pytest.mark.root
@needs_root
@engines
@quiet_scapy
def test_a_bad_filter_is_one_line(tmp_path: Path, engine: str) -> None:
    """In the words of the filter compiler."""
    with pytest.raises(LiveError, match="filter") as caught:
        record("lo", str(tmp_path / "a.pcapng"), "udp portt 3", seconds=1, engine=engine)
    assert "\n" not in str(caught.value)


def test_a_block_file_is_valid_at_any_moment(tmp_path: Path) -> None:
    """Read between the writes, and after closing with its statistics."""
    path = tmp_path / "a.pcapng"
    file = BlockFile(str(path), "lo", 1, "tcp").open()
    packets = [Packet(10**18 + k, bytes([k]) * k, 2 * k) for k in range(9)]
    for k, packet in enumerate(packets):
        assert packets_of([str(path)]) == k
        file.add(packet.time_ns, packet.data, packet.wire or 0)
    file.close(0, 9, 5)
    with open_captures([str(path)]) as capture:
        (records,) = capture.chunks()
    assert records.time_ns.tolist() == [p.time_ns for p in packets]
    assert records.frame_len.tolist() == [2 * k for k in range(9)]
    assert (capture.interfaces[0].drops, capture.interfaces[0].received, capture.interfaces[0].filter) == (5, 9, "tcp")
    assert path.stat().st_mode & 0o777 == 0o600
