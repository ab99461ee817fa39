"""What relaying a file costs: tapwall's spool and sendfile beside the relay a beginner writes, 2 KiB recv and sendall.

One sender, ten receivers, plaintext. CPU seconds of the server for the whole relay; the sender and receivers here do
the least they can.
"""

import hashlib
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.chat_peers import PEERS, ROOM, Running, until
from chat import wire
from chat.transfer import CHUNK, CREDIT, crc32c

RECEIVERS = 10
NAIVE = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
receivers = []
while len(receivers) < int(sys.argv[2]):
    receivers.append(listener.accept()[0])
sender = listener.accept()[0]
while data := sender.recv(2048):
    for each in receivers:
        each.sendall(data)
for each in receivers:
    each.close()
sender.close()
import time
time.sleep(60)
"""


def relay_costs(size: int, core: int, rounds: int) -> dict[str, float]:
    """Both relays, interleaved; prints and returns CPU seconds a GiB delivered."""
    gib = size * RECEIVERS / (1 << 30)
    rows: dict[str, list[float]] = {"tapwall": [], "naive": [], "growth_mib": []}
    for _ in range(rounds):
        cpu, growth = tapwall(size, core)
        rows["tapwall"].append(cpu / gib)
        rows["growth_mib"].append(growth)
        rows["naive"].append(naive(size, core) / gib)
    found = {name: statistics.median(values) for name, values in rows.items()}
    found["ratio"] = statistics.median(b / a for a, b in zip(rows["tapwall"], rows["naive"], strict=True))
    print(f"\nfile of {size >> 20} MiB, 1 to {RECEIVERS}: CPU s a GiB delivered")
    print(
        f"  tapwall {found['tapwall']:.3f} (upload, sha256 and fsync included; memory grew {found['growth_mib']:.1f} MiB)"
    )
    print(f"  2 KiB recv/sendall {found['naive']:.3f} = {found['ratio']:.2f} x tapwall, wanted 4")
    return found


def swallow(sock: socket.socket, done: list[int]) -> None:
    """Read to the end, keep nothing."""
    buffer, count = bytearray(1 << 20), 0
    while size := sock.recv_into(buffer):
        count += size
    done.append(count)


def naive(size: int, core: int) -> float:
    """CPU of the beginner's relay."""
    port_holder = socket.socket()
    port_holder.bind(("127.0.0.1", 0))
    port = port_holder.getsockname()[1]
    port_holder.close()
    process = subprocess.Popen([sys.executable, "-c", NAIVE, str(port), str(RECEIVERS)])
    os.sched_setaffinity(process.pid, {core})
    try:
        socks: list[socket.socket] = []
        while not socks:
            try:
                socks.append(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                time.sleep(0.05)
        socks += [socket.create_connection(("127.0.0.1", port)) for _ in range(RECEIVERS)]
        *receivers, sender = socks
        done: list[int] = []
        threads = [threading.Thread(target=swallow, args=(sock, done)) for sock in receivers]
        for thread in threads:
            thread.start()
        block = os.urandom(1 << 20)
        for _ in range(size >> 20):
            sender.sendall(block)
        sender.shutdown(socket.SHUT_WR)
        for thread in threads:
            thread.join()
        if done != [size] * RECEIVERS:
            raise RuntimeError(f"the naive relay lost bytes: {done}")
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        process.kill()
        process.wait()


def tapwall(size: int, core: int) -> tuple[float, float]:
    """CPU and memory growth of the server for an upload that ten receivers follow while it arrives."""
    server = Running(PEERS[0], core)
    try:
        chat = socket.create_connection(("127.0.0.1", server.port))
        PEERS[0].join(chat, 0, True)
        block = os.urandom(CHUNK)
        crc, digest = crc32c(block), hashlib.sha256()
        for _ in range(size // len(block)):
            digest.update(block)
        before, rss = server.cpu_s(), server.rss_kib()
        chat.sendall(wire.encode(wire.Offer("up", "bench.bin", size, digest.hexdigest(), ROOM)))
        file_id, token, chunk = accepted(chat, b'"up"')
        done: list[int] = []
        threads = []
        for i in range(RECEIVERS):
            chat.sendall(wire.encode(wire.Fetch(f"d{i}", file_id)))
            sock = file_line(server.port, accepted(chat, f'"d{i}"'.encode())[1])
            threads.append(threading.Thread(target=swallow, args=(sock, done)))
            threads[-1].start()
        up = file_line(server.port, token)
        until(up, b'"auth":')
        assert chunk == len(block)
        window, peak = CREDIT, rss
        for n in range(size // chunk):
            while n >= window:
                window = int(re.findall(rb'"offset":(\d+)', until(up, b'"offset"'))[-1]) // chunk + CREDIT
                peak = max(peak, server.rss_kib())
            up.sendall(wire.data_head(file_id, n * chunk, crc, chunk))
            up.sendall(block)
        until(up, b'"sha256"')
        for thread in threads:
            thread.join()
        if done and min(done) < size:
            raise RuntimeError(f"bytes were lost: {done}")
        return server.cpu_s() - before, (max(peak, server.rss_kib()) - rss) / 1024
    finally:
        server.stop()


def accepted(sock: socket.socket, ref: bytes) -> tuple[str, str, int]:
    """File id, token and chunk size of the ACCEPT for a ref."""
    got = b""
    while b'"sha256"' not in got.partition(b'"ref":' + ref)[2]:
        got += sock.recv(65536)
    body = got.partition(b'"ref":' + ref)[2].decode("utf-8", "replace")
    found = re.search(r'"file_id":"(\w+)","token":"([^"]+)","chunk":(\d+)', body)
    assert found
    return found[1], found[2], int(found[3])


def file_line(port: int, token: str) -> socket.socket:
    """A file connection."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(wire.encode(wire.Hello([1], transfer=token)))
    return sock
