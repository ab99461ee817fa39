"""Display filters: which packets of a batch an expression in Wireshark's syntax selects.

In: the text of a filter, then batches that have passed all stages, in order. Out: bool[packets]. The grammar, the
fields and what differs from Wireshark stand in docs/display-filter.md, which a test holds against FIELDS. Comparisons
mean what they mean in Wireshark 4.0: `==`, `<` … hold if any value of the field does, `!=` if the field is there and no
value is equal, `!==` if any value differs; a field by itself asks whether it is there. Addresses and ports that an
ICMP error quotes count, as they do there.
It must not read files or print; what cannot be parsed raises FilterError in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import numpy as np

from analysis import layers
from analysis.columns import TCP, UDP, Array, Batch
from analysis.errors import AnalysisError
from analysis.facts import Facts
from analysis.filter_fields import FIELDS, Field, Seen, View, quotes_of
from analysis.named_tuples import NamedTuple

LONGEST = 8192  # characters of an expression
DEEPEST = 64  # parentheses inside each other
LONGEST_PATTERN = 512  # characters of a regular expression


class FilterError(AnalysisError):
    """The text is no filter: what, where, expected."""


# ------------------------------------------------------------------------------------------------------------- tokens

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<operator>&&|\|\||===|!==|==|!=|~=|>=|<=|\^\^|\.\.|[!()<>{},~&])
    | (?P<word>[0-9]*\.?[A-Za-z0-9_:][A-Za-z0-9_:./\-]*)
    )""",
    re.X,
)  # fmt: skip
_SYNONYMS = {
    "and": "&&", "or": "||", "xor": "^^", "not": "!", "eq": "==", "any_eq": "==", "===": "all_eq", "all_eq": "all_eq",
    "ne": "!=", "all_ne": "!=", "any_ne": "!==", "~=": "!==", "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "~": "matches",
    "contains": "contains", "matches": "matches", "in": "in", "bitand": "&", "bitwise_and": "&",
}  # fmt: skip
_COMPARISONS = frozenset(("==", "all_eq", "!=", "!==", ">", ">=", "<", "<=", "contains", "matches", "in"))


class _Token(NamedTuple):
    kind: str  # string, operator, word, end
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise FilterError(
                f"filter: got {text[at : at + 12]!r} at column {at + 1}, expected a field, value or operator"
            )
        word, start = found[found.lastgroup], found.start(found.lastgroup)
        at = found.end()
        if found.lastgroup == "word" and ".." in word:  # a range of a set: 80..90
            low, high = word.split("..", 1)
            yield _Token("word", low, start)
            yield _Token("operator", "..", start + len(low))
            yield _Token("word", high, start + len(low) + 2)
            continue
        if found.lastgroup != "string" and word in _SYNONYMS:
            yield _Token("operator", _SYNONYMS[word], start)
        else:
            yield _Token(found.lastgroup, word, start)
    yield _Token("end", "", len(text))


# --------------------------------------------------------------------------------------------------------- expressions

Node = Callable[[View], Array]


class DisplayFilter:
    """A parsed filter; `select` takes the batches of one capture in order. Raises FilterError."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise FilterError(f"filter: got {len(text)} characters, expected at most {LONGEST}")
        self.text = text
        self._node = _Parser(text).filter()
        self._start_ns: int | None = None

    def select(self, batch: Batch, seen: Seen, facts: Facts) -> Array:
        """bool[packets] of a batch that has passed all stages."""
        if self._start_ns is None and len(batch.packets.time_ns):
            self._start_ns = int(batch.packets.time_ns[0])
        return self._node(View(batch, seen, facts, self._start_ns or 0, quotes_of(batch)))


class _Parser:
    """Recursive descent: or, xor, and, not, then a comparison, a field or parentheses."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def filter(self) -> Node:
        """The whole expression."""
        if self._next.kind == "end":
            raise FilterError("filter: got nothing, expected an expression")
        node = self._either()
        if self._next.kind != "end":
            raise self._wrong("'and', 'or' or the end")
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _has(self, text: str) -> bool:
        if self._next.kind == "operator" and self._next.text == text:
            self._at += 1
            return True
        return False

    def _wrong(self, expected: str) -> FilterError:
        token = self._next
        got = repr(token.text) if token.kind != "end" else "the end"
        return FilterError(f"filter: got {got} at column {token.at + 1}, expected {expected}")

    def _either(self) -> Node:
        node = self._exclusive()
        while self._has("||"):
            node = _joined(np.logical_or, node, self._exclusive())
        return node

    def _exclusive(self) -> Node:
        node = self._both()
        while self._has("^^"):
            node = _joined(np.logical_xor, node, self._both())
        return node

    def _both(self) -> Node:
        node = self._not()
        while self._has("&&"):
            node = _joined(np.logical_and, node, self._not())
        return node

    def _not(self) -> Node:
        if self._has("!"):
            self._deeper()
            node = self._not()
            self._depth -= 1
            return lambda view: ~node(view)
        if self._has("("):
            self._deeper()
            node = self._either()
            if not self._has(")"):
                raise self._wrong("')'")
            self._depth -= 1
            return node
        return self._comparison()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise FilterError(f"filter: got more than {DEEPEST} levels, expected a flatter expression")

    def _comparison(self) -> Node:
        token = self._next
        if token.kind != "word":
            raise self._wrong("a field or protocol")
        name = self._take().text
        operator = self._next.text if self._next.kind == "operator" else ""
        if name not in FIELDS:
            return self._protocol(token, name, operator)
        field = FIELDS[name]
        if operator == "&":
            self._take()
            return self._masked(name, field)
        if operator not in _COMPARISONS:
            return lambda view: _any(view, field.read(view).row)
        self._take()
        return self._against(name, field, operator, None)

    def _protocol(self, token: _Token, name: str, operator: str) -> Node:
        """A protocol by itself, or what its bytes contain."""
        layer = layers.BY_NAME.get(name)
        if layer is None or not name:
            self._at -= 1
            raise self._wrong("a protocol or one of the fields of docs/display-filter.md")
        if operator in ("contains", "matches") and name in ("tcp", "udp"):
            self._take()
            return self._against(name, FIELDS[f"{name}.payload"], operator, None)
        if operator in _COMPARISONS:
            raise self._wrong("'and', 'or' or the end: a protocol has no value")
        return _has_layer(layer, {"tcp": TCP, "udp": UDP}.get(name, -1))

    def _masked(self, name: str, field: Field) -> Node:
        """`field & mask`, alone or compared."""
        if field.kind != "number":
            raise FilterError(f"filter: {name} has no bits")
        mask = _number(self._value(name))
        if self._next.kind == "operator" and self._next.text in _COMPARISONS:
            return self._against(name, field, self._take().text, mask)

        def node(view: View) -> Array:
            values = field.read(view)
            return _any(view, values.row[(values.value.astype(np.int64) & mask) != 0])

        return node

    def _value(self, name: str) -> _Token:
        token = self._next
        if token.kind not in ("word", "string"):
            raise self._wrong(f"a value for {name}")
        return self._take()

    def _against(self, name: str, field: Field, operator: str, mask: int | None) -> Node:
        """The right side of a comparison."""
        if operator == "in":
            tests = [self._member(name, field) for _ in self._members()]
            if not self._has("}"):
                raise self._wrong("'}'")
            return _compare(field, lambda value: np.logical_or.reduce([test(value) for test in tests]), "any", mask)
        token = self._value(name)
        if operator in ("contains", "matches"):
            return _compare(field, _searcher(name, field, operator, token), "any", mask)
        how = {"!=": "none", "!==": "other", "all_eq": "all"}.get(operator, "any")
        symbol = "==" if how != "any" else operator
        return _compare(field, _test(name, field, symbol, token), how, mask)

    def _members(self) -> Iterator[None]:
        if not self._has("{"):
            raise self._wrong("'{'")
        yield
        while self._next.kind in ("word", "string") or self._has(","):
            yield

    def _member(self, name: str, field: Field) -> Callable[[Any], Array]:
        low = self._value(name)
        if not self._has(".."):
            return _test(name, field, "==", low)
        above, below = _test(name, field, ">=", low), _test(name, field, "<=", self._value(name))
        return lambda value: above(value) & below(value)


def _joined(how: Any, left: Node, right: Node) -> Node:
    def node(view: View) -> Array:
        return np.asarray(how(left(view), right(view)))

    return node


def _any(view: View, rows: Array) -> Array:
    found = np.zeros(view.size, bool)
    found[rows] = True
    return found


def _has_layer(layer: int, transport: int) -> Node:
    def node(view: View) -> Array:
        if layer == layers.FRAME:
            return np.ones(view.size, bool)
        packets = view.batch.packets
        depth = int(packets.n_layers.max(initial=0))
        there = np.arange(depth) < packets.n_layers[:, None]
        found = ((packets.layers[:, :depth] == layer) & there).any(axis=1)
        if transport >= 0:
            found[[quote.row for quote in view.quoted if quote.transport == transport]] = True
        return np.asarray(found)

    return node


def _compare(field: Field, test: Callable[[Any], Array], how: str, mask: int | None) -> Node:
    """`how`: any value passes; all do; none does and there is one; any does not (`other`)."""

    def node(view: View) -> Array:
        values = field.read(view)
        value = values.value if mask is None else values.value.astype(np.int64) & mask
        passed = np.asarray(test(value), dtype=bool)
        if how == "any":
            return _any(view, values.row[passed])
        if how == "other":
            return _any(view, values.row[~passed])
        there, hit, missed = (_any(view, values.row[rows]) for rows in (slice(None), passed, ~passed))
        return there & ~hit if how == "none" else there & ~missed

    return node


def _test(name: str, field: Field, symbol: str, token: _Token) -> Callable[[Any], Array]:
    """A comparison with one value as a function of the field's values."""
    if field.kind in ("ipv4", "ipv6"):
        return _network(name, 4 if field.kind == "ipv4" else 6, symbol, token)
    if field.kind == "ether":
        return _ether(name, symbol, token)
    if field.kind in ("text", "bytes"):
        wanted: Any = _text(token) if field.kind == "text" else _bytes(token)
        return lambda value: np.array([_ordered(one, symbol, wanted) for one in value], dtype=bool)
    number = _number(token) if field.kind == "number" else _nanoseconds(token)
    return lambda value: np.asarray(_ordered(np.asarray(value), symbol, number))


def _ordered(left: Any, symbol: str, right: Any) -> Any:
    if symbol == "==":
        return left == right
    if symbol == ">":
        return left > right
    if symbol == ">=":
        return left >= right
    return left < right if symbol == "<" else left <= right


def _number(token: _Token) -> int:
    """A decimal, hexadecimal or octal number, true or false."""
    text = token.text.lower()
    if text in ("true", "false"):
        return int(text == "true")
    try:
        number = int(text, 8 if len(text) > 1 and text[0] == "0" and text[1] not in "xb" else 0)
    except ValueError:
        raise FilterError(f"filter: got {token.text!r} at column {token.at + 1}, expected a number") from None
    if not -(1 << 62) < number < 1 << 62:
        raise FilterError(f"filter: got {token.text!r} at column {token.at + 1}, expected a number below 2^62")
    return number


def _nanoseconds(token: _Token) -> int:
    found = re.fullmatch(r"(\d{1,10})(?:\.(\d{0,9})\d*)?", token.text)
    if found is None:
        raise FilterError(f"filter: got {token.text!r} at column {token.at + 1}, expected seconds")
    return int(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0"))


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _text(token: _Token) -> str:
    """A string without its quotes, or a bare word."""
    if token.kind != "string":
        return token.text
    return re.sub(r"\\(x[0-9A-Fa-f]{2}|.)", _unescaped, token.text[1:-1], flags=re.S)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    return chr(int(code[1:], 16)) if len(code) == 3 else _ESCAPES.get(code, code)


def _bytes(token: _Token) -> bytes:
    """A string's bytes, or bytes as 01:02:0a."""
    if token.kind != "string":
        if re.fullmatch(r"[0-9A-Fa-f]{2}([:.\-][0-9A-Fa-f]{2})*", token.text):
            return bytes.fromhex(re.sub(r"[:.\-]", "", token.text))
        raise FilterError(f'filter: got {token.text!r} at column {token.at + 1}, expected a "string" or bytes as 0a:0b')
    return _text(token).encode("utf-8", "surrogateescape")


def _searcher(name: str, field: Field, operator: str, token: _Token) -> Callable[[Any], Array]:
    """`contains` and `matches` (a regular expression that ignores case, as Wireshark's)."""
    if field.kind not in ("text", "bytes"):
        raise FilterError(f"filter: {name} is no text and no bytes, {operator} cannot search it")
    if operator == "contains":
        wanted: Any = _text(token) if field.kind == "text" else _bytes(token)
        return lambda value: np.array([wanted in one for one in value], dtype=bool)
    pattern = token.text[1:-1] if token.kind == "string" else token.text
    if len(pattern) > LONGEST_PATTERN:
        raise FilterError(f"filter: got a pattern of {len(pattern)} characters, expected at most {LONGEST_PATTERN}")
    try:
        compiled: Any = (
            re.compile(pattern, re.I)
            if field.kind == "text"
            else re.compile(pattern.encode("latin-1", "replace"), re.I)
        )
    except (re.error, OverflowError) as error:
        raise FilterError(f"filter: got the pattern {pattern!r}, expected a regular expression: {error}") from None
    return lambda value: np.array([compiled.search(one) is not None for one in value], dtype=bool)


def _network(name: str, version: int, symbol: str, token: _Token) -> Callable[[Any], Array]:
    """An address or a network: equality is membership, order is by number."""
    try:
        network = ip_network(token.text if token.kind == "word" else _text(token), strict=False)
    except ValueError:
        network = None
    if network is None or network.version != version:
        raise FilterError(
            f"filter: got {token.text!r} at column {token.at + 1}, expected an IPv{version} address for {name}"
        )
    low, high = int(network.network_address), int(network.broadcast_address)

    def test(words: Any) -> Array:
        upper, lower = (np.asarray(word).astype(np.int64).view(np.uint64) for word in words)
        at_least = _not_below(upper, lower, low)
        at_most = ~_not_below(upper, lower, high + 1) if high + 1 < 1 << 128 else np.ones(len(upper), bool)
        if symbol == "==":
            return at_least & at_most
        if symbol == ">=":
            return at_least
        if symbol == "<":
            return ~at_least
        return at_most if symbol == "<=" else ~at_most

    return test


def _not_below(upper: Array, lower: Array, bound: int) -> Array:
    high, low = np.uint64(bound >> 64), np.uint64(bound & (1 << 64) - 1)
    return np.asarray((upper > high) | ((upper == high) & (lower >= low)))


def _ether(name: str, symbol: str, token: _Token) -> Callable[[Any], Array]:
    if not re.fullmatch(r"[0-9A-Fa-f]{2}([:.\-][0-9A-Fa-f]{2}){5}", token.text):
        raise FilterError(f"filter: got {token.text!r} at column {token.at + 1}, expected a MAC address for {name}")
    number = int(re.sub(r"[:.\-]", "", token.text), 16)
    return lambda words: np.asarray(_ordered(np.asarray(words[1]), symbol, number))
