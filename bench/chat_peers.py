"""The servers of bench/chat.py: how each is started, joined, spoken to. A row of PEERS is a server.

All speak to one room (channel, subject, topic). A message is 100 bytes of text with the marker `^` in it once; what a
server adds around it is its own affair. Peers that are not installed are left out and named.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chat import wire

ROOM = "bench"
URGENT_NICE = -19


@dataclass(frozen=True, slots=True)
class Peer:
    """start(folder, port) -> command; join(socket, i, sender): until messages flow; message(text) -> bytes on the wire."""

    name: str
    program: str
    start: Callable[[Path, int], list[str]]
    join: Callable[[socket.socket, int, bool], None]
    message: Callable[[bytes], bytes]
    echoes: bool  # a sender that joined gets its own messages
    apart: bool = False  # senders are connections of their own, not members


class Running:
    """A server process, pinned to a core; its CPU and memory from /proc."""

    def __init__(self, peer: Peer, core: int, urgent: bool = False) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.port = free_port()
        command = peer.start(Path(self.folder.name), self.port)
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder.name
        )
        os.sched_setaffinity(self.process.pid, {core})
        self.wait()
        if urgent:
            for thread in os.listdir(f"/proc/{self.process.pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(thread), URGENT_NICE)

    def wait(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError("the server does not listen")

    def cpu_s(self) -> float:
        """User and system time of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self) -> int:
        """Memory resident now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def until(sock: socket.socket, wanted: bytes, limit: int = 1 << 20) -> bytes:
    """Read until a word has come."""
    got = b""
    while wanted not in got:
        data = sock.recv(65536)
        if not data or len(got) > limit:
            raise RuntimeError(f"expected {wanted!r}, got {got[-200:]!r}")
        got += data
    return got


# --- tapwall -----------------------------------------------------------------------------------------------------------

SERVE = """
import sys
from pathlib import Path
from chat import config, process
off = {f"rates.{k}": 0 for k in ("messages_per_s", "account_messages_per_s", "address_messages_per_s", "room_messages_per_s", "requests_per_s", "connects_per_10min")}
given = {"server.port": int(sys.argv[2]), "server.data": sys.argv[1], "history.durable": sys.argv[3] == "on", "limits.unacked": 4096,
         "limits.room_members": 20_000, "limits.connections": 20_000, "server.log": "warning", "files.keep_free_bytes": 0, "files.days": 0}
process.serve(config.load(None, {**off, **given}), lambda address: None)
"""


def start_tapwall(durable: str) -> Callable[[Path, int], list[str]]:
    """Rates off, everything else as it comes."""
    return lambda folder, port: [sys.executable, "-c", SERVE, str(folder / "data"), str(port), durable]


def join_tapwall(sock: socket.socket, i: int, sender: bool) -> None:
    sock.sendall(wire.encode(wire.Hello([1])) + wire.encode(wire.Auth("guest", user=f"member-{i}x")))
    until(sock, b'"session"')
    sock.sendall(wire.encode(wire.Join(ROOM)))
    until(sock, b'"channel"')


def say_tapwall(text: bytes) -> bytes:
    return wire.encode(wire.Send(ROOM, "#########", text.decode()))  # the generator writes the message's number there


# --- the others ----------------------------------------------------------------------------------------------------------


def start_ngircd(folder: Path, port: int) -> list[str]:
    (folder / "ngircd.conf").write_text(
        f"[Global]\nName = irc.bench.local\nInfo = bench\nListen = 127.0.0.1\nPorts = {port}\n"
        "ServerGID = nogroup\nServerUID = nobody\n"
        "[Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxPenaltyTime = 0\n"
        "[Options]\nDNS = no\nIdent = no\nPAM = no\nChrootDir = \n"
    )
    os.chmod(folder, 0o755)
    return ["ngircd", "-n", "-f", str(folder / "ngircd.conf")]


def join_ngircd(sock: socket.socket, i: int, sender: bool) -> None:
    sock.sendall(f"NICK m{i}\r\nUSER m{i} 0 * :m\r\n".encode())
    until(sock, b" 376 ")
    sock.sendall(f"JOIN #{ROOM}\r\n".encode())
    until(sock, b" 366 ")


def say_ngircd(text: bytes) -> bytes:
    return b"PRIVMSG #" + ROOM.encode() + b" :" + text + b"\r\n"


def start_redis(folder: Path, port: int) -> list[str]:
    return [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
        "--maxclients",
        "20000",
    ]


def join_redis(sock: socket.socket, i: int, sender: bool) -> None:
    if not sender:
        sock.sendall(f"SUBSCRIBE {ROOM}\r\n".encode())
        until(sock, b":1\r\n")


def say_redis(text: bytes) -> bytes:
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(ROOM), ROOM.encode(), len(text), text)


def start_mosquitto(folder: Path, port: int) -> list[str]:
    (folder / "m.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nset_tcp_nodelay true\n"
    )
    os.chmod(folder, 0o755)
    return ["mosquitto", "-c", str(folder / "m.conf")]


def mqtt(kind: int, body: bytes) -> bytes:
    """A control packet."""
    size, head = len(body), bytearray([kind])
    while True:
        head.append(size % 128 | (128 if size > 127 else 0))
        size //= 128
        if not size:
            return bytes(head) + body


def join_mosquitto(sock: socket.socket, i: int, sender: bool) -> None:
    name = f"m{i}".encode()
    sock.sendall(mqtt(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name))
    until(sock, b"\x20\x02\x00\x00")
    topic = ROOM.encode()
    sock.sendall(mqtt(0x82, b"\x00\x01" + len(topic).to_bytes(2, "big") + topic + b"\x00"))
    until(sock, b"\x90\x03")


def say_mosquitto(text: bytes) -> bytes:
    topic = ROOM.encode()
    return mqtt(0x30, len(topic).to_bytes(2, "big") + topic + text)


def start_nats(folder: Path, port: int) -> list[str]:
    return ["nats-server", "-a", "127.0.0.1", "-p", str(port)]


def join_nats(sock: socket.socket, i: int, sender: bool) -> None:
    until(sock, b"\r\n")
    sock.sendall(
        b"CONNECT "
        + json.dumps({"verbose": False, "pedantic": False}).encode()
        + b"\r\nSUB "
        + ROOM.encode()
        + b" 1\r\nPING\r\n"
    )
    until(sock, b"PONG\r\n")


def say_nats(text: bytes) -> bytes:
    return b"PUB %s %d\r\n%s\r\n" % (ROOM.encode(), len(text), text)


PEERS = [
    Peer("tapwall", sys.executable, start_tapwall("off"), join_tapwall, say_tapwall, echoes=True),
    Peer("tapwall durable", sys.executable, start_tapwall("on"), join_tapwall, say_tapwall, echoes=True),
    Peer("ngircd", "ngircd", start_ngircd, join_ngircd, say_ngircd, echoes=False),
    Peer("redis", "redis-server", start_redis, join_redis, say_redis, echoes=False, apart=True),
    Peer("mosquitto", "mosquitto", start_mosquitto, join_mosquitto, say_mosquitto, echoes=True),
    Peer("nats", "nats-server", start_nats, join_nats, say_nats, echoes=True),
]


def installed() -> tuple[list[Peer], list[str]]:
    """Those that are there, and the names of those that are not."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    here = [peer for peer in PEERS if shutil.which(peer.program, path=path)]
    return here, [peer.name for peer in PEERS if peer not in here]
