"""Byte strings that occur in a program, a shell or a known worm and hardly anywhere else, and the search for them.

In: payload bytes. Out: where which mark stands, at most so many of each. Compiled: one look at every fourth pair of
neighbours for all marks, as Wu and Manber search for many patterns: four pairs in a row of each mark are in a table, so
one of them is looked at wherever the mark stands. Interpreted, where captures are small, a search a mark. Both find the
same. It says what was there, never what it means.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from analysis.columns import Array
from analysis.kernel import compiles, lean_kernel

CONTEXT = 60  # bytes around a mark that a reader sees
MOST_HITS = 2_000  # of one mark in one batch

# Mark -> byte strings. Each is long enough that random bytes do not hold it (2^-64 per position or less).
MARKS: tuple[tuple[str, bytes], ...] = (
    ("program-windows", b"This program cannot be run in DOS mode"),
    ("program-windows", b"This program must be run under Win32"),
    ("program-linux", b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00"),
    ("program-linux", b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00"),
    ("reflective-loader", b"ReflectiveLoader"),
    ("shell-windows", b"Microsoft Windows [Version"),
    ("shell-windows", b"Microsoft Windows XP [Version"),
    ("shell-windows", b"Microsoft Windows 2000 [Version"),
    ("shell-unix", b"uid=0(root) gid="),
    ("shell-unix", b"no job control in this shell"),
    ("shell-command", b"/dev/tcp/"),
    ("shell-command", b"while : ; do sh && break"),
    ("slammer", b"hel32hkernQhounthickChGet"),
    ("bluekeep", b"MS_T120\0"),  # CVE-2019-0708: the internal channel, asked for by a client (MS-RDPBCGR 2.2.1.3.4.1)
    ("smbghost", b"\xfcSMB\xff\xff\xff\xff"),  # CVE-2020-0796: original size of a compressed message, overflowing
    ("coin-miner", b'"mining.subscribe"'),  # Stratum
    ("coin-miner", b'"agent":"XMRig'),
    ("iot-worm", b"/bin/busybox "),  # the command that Mirai and its heirs type after each login
    ("plc-program", b"\tP_PROGRAM"),  # S7comm: start or stop of the program
    ("portmap-set", b"\0\0\0\0\0\0\0\2\0\1\x86\xa0\0\0\0\2\0\0\0\1"),  # RFC 1833 2.2.1: call, version 2, SET
    ("ldap-spn-search", b"\x87\x14servicePrincipalName"),  # RFC 4511 4.5.1: a present filter
    ("ldap-spn-search", b"\x87\x14serviceprincipalname"),
    ("ldap-spn-search", b"\x04\x14servicePrincipalName0\x84\0\0\0\x03\x81\x01/"),  # substrings: */*
    ("ldap-weak-accounts", b"\x83\x074194304"),  # match value: accounts without pre-authentication ([MS-ADTS] 2.2.16)
    ("ldap-weak-accounts", b"\x83\x06524288"),  # trusted for delegation
    ("ldap-weak-accounts", b"ms-Mcs-AdmPwd"),  # local administrators' passwords
    ("follina", b"ms-msdt:/"),  # CVE-2022-30190: a document's page that starts the support tool
    ("redis-settings", b"\r\nCONFIG\r\n$3\r\nSET\r\n$3\r\ndir\r\n"),  # RESP: files are to be written elsewhere
    ("redis-settings", b"\r\nconfig\r\n$3\r\nset\r\n$3\r\ndir\r\n"),
    ("adb-shell", b"shell:cd /data/local/tmp"),
    ("bot-orders", b" :.advscan "),
    ("bot-orders", b" :.download http"),
    ("bot-orders", b" :!udpflood "),
    ("bot-orders", b" :.ddos."),
    ("remote-access-tool", b"ping|STRRAT|"),
    ("remote-access-tool", b"|'|'|"),
    ("heap-spray", b"%u9090%u9090"),
    ("heap-spray", b"%u0c0c%u0c0c"),
    ("heap-spray", b"%u0d0d%u0d0d"),
    ("heap-spray", b"%u4141%u4141"),
)


STRIDE = 4  # the shortest mark has so many pairs


def _rarest(mark: bytes) -> int:
    """Where STRIDE pairs of neighbours begin that ordinary text and numbers hold least often."""

    def common(byte: int) -> int:
        return (
            9 if byte == 0 else 6 if byte == 0x20 or 0x61 <= byte <= 0x7A else 3 if byte < 0x20 or byte == 0xFF else 1
        )

    def weight(at: int) -> int:
        return sum(common(mark[k]) * common(mark[k + 1]) for k in range(at, at + STRIDE))

    return min(range(len(mark) - STRIDE), key=weight)


@cache
def _tables() -> tuple[Array, Array, Array, Array]:
    """What the compiled search reads: `head`, `pairs`, `size` and `text` of all marks.

    Pairs of marks are chains of rows 1, 2, …: first two bytes -> a row; a row -> mark, offset in it, the next row of the
    chain.
    """
    longest = max(len(mark) for _, mark in MARKS)
    size = np.array([len(mark) for _, mark in MARKS], np.int64)
    text = np.array([np.frombuffer(mark.ljust(longest, b"\0"), np.uint8) for _, mark in MARKS])
    head = np.zeros(65_536, np.uint16)
    pairs = np.zeros((1 + STRIDE * len(MARKS), 3), np.int64)
    for number, (_, mark) in enumerate(MARKS):
        first = _rarest(mark)
        for offset in range(first, first + STRIDE):
            pair, row = mark[offset] << 8 | mark[offset + 1], 1 + STRIDE * number + offset - first
            pairs[row] = number, offset, head[pair]
            head[pair] = row
    return head, pairs, size, text


@lean_kernel
def _search(
    data: Any, begin: Any, end: Any, head: Any, pairs: Any, size: Any, text: Any, hits: Any, found: Any,
) -> int:  # fmt: skip
    """Fill `found` (packet, position, mark) and return how many; `hits` counts by mark, `found` holds MOST_HITS of each."""
    count = 0
    for index in range(len(begin)):
        low, high = int(begin[index]), int(end[index])
        for at in range(low, high - 1, STRIDE):
            row = int(head[int(data[at]) << 8 | int(data[at + 1])])
            while row > 0:
                mark = int(pairs[row, 0])
                start = at - int(pairs[row, 1])
                length = int(size[mark])
                if start >= low and start + length <= high and int(hits[mark]) < MOST_HITS:
                    k = 0
                    while k < length and int(data[start + k]) == int(text[mark, k]):
                        k += 1
                    if k == length:
                        found[count, 0] = index
                        found[count, 1] = start
                        found[count, 2] = mark
                        count += 1
                        hits[mark] = int(hits[mark]) + 1
                row = int(pairs[row, 2])
    return count


def found(data: Array, begin: Array, end: Array) -> list[tuple[int, int, int]]:
    """(index of the span, position, number of the mark) in this order, for spans of `data` in rising order.

    At most MOST_HITS a mark, the first ones.
    """
    if not len(begin):
        return []
    if not compiles(__name__):
        return sorted(_one_by_one(data, begin, end))
    table = np.zeros((MOST_HITS * len(MARKS), 3), np.int64)
    hits = np.zeros(len(MARKS), np.int64)
    begin, end = np.ascontiguousarray(begin, np.int64), np.ascontiguousarray(end, np.int64)
    count = _search(data, begin, end, *_tables(), hits, table)
    return sorted(map(tuple, table[:count].tolist()))


def within(text: bytes) -> Iterator[tuple[str, int]]:
    """(name, position) of the first of each mark in one payload that does not lie in a batch: what was sealed."""
    for name, mark in MARKS:
        at = text.find(mark)
        if at >= 0:
            yield name, at


def shown(context: bytes) -> str:
    """The bytes around a mark as a reader sees them: what is not printable ASCII is a dot."""
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else "." for byte in context)


def _one_by_one(data: Array, begin: Array, end: Array) -> Iterator[tuple[int, int, int]]:
    """A search of all spans, joined, for each mark."""
    whole = b"".join(data[low:high].tobytes() for low, high in zip(begin.tolist(), end.tolist(), strict=True))
    last = np.cumsum(end - begin)  # where each span ends in the whole
    for number, (_, mark) in enumerate(MARKS):
        at, hits = whole.find(mark), 0
        while at >= 0 and hits < MOST_HITS:
            index = int(np.searchsorted(last, at, side="right"))
            if at + len(mark) <= int(last[index]):
                yield index, int(end[index]) - int(last[index]) + at, number
                hits += 1
            at = whole.find(mark, at + 1)
