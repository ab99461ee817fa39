"""One connection to a server as a client sees it: connect, TLS with pins, HELLO and WELCOME, then frames both ways.

In: address and token. Out: `Link` with `send` and `receive`. Used for the chat connection and for each file connection; what
the frames mean is for `chat.client` and `chat.sharing`. Every wait has a time limit, what is received is bounded by the codec.
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final

from chat import wire
from chat.decoder import CLIENT, Caps, Decoder, Frame
from chat.errors import ChatError, WireError
from chat.pins import Tls, check_pin, default_pins
from chat.safe_text import safe_name

READ_BYTES: Final = 256 << 10  # per read; a file's chunks are 256 KiB and more
CONNECT_S: Final = 10.0  # the server's own limit for the TLS handshake
HELLO_S: Final = 15.0
LOGIN_S: Final = 30.0  # a queue of passwords may be before ours
ALPN: Final = "tapwall/1"


class LinkError(ChatError):
    """The connection could not be made, or is gone. Trying again may help."""


class RefusedError(ChatError):
    """The server said no. `code` is a word of docs/wire.md, `retry_s` when to try again (0: no use)."""

    def __init__(self, code: str, text: str, retry_s: float = 0.0) -> None:
        super().__init__(f"{safe_name(code)}: {safe_name(text)}")
        self.code = code
        self.text = safe_name(text)
        self.retry_s = retry_s


def check_body(body: wire.Body, limits: wire.Limits | None) -> None:
    """Refuse here what no server would take: a frame beyond its cap costs the connection, and the message would be sent
    again over the next one. Raises RefusedError: too-long, or bad-request for text that is no Unicode."""
    cap = limits.control_frame_bytes if limits is not None else wire.CONTROL_CAP
    try:
        size = len(wire.encode(body)) - wire.HEADER.size
    except UnicodeEncodeError:
        raise RefusedError("bad-request", "half a surrogate pair is no text") from None
    if size > cap:
        raise RefusedError("too-long", f"{size} bytes as a frame, the server takes {cap}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `tls` None means clear text, which only loopback and a lab should use."""

    host: str = "127.0.0.1"
    port: int = 1234
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """True for `localhost` and loopback addresses, where clear text is the default."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def default_address(host: str = "127.0.0.1", port: int = 1234) -> Address:
    """Clear text on loopback, elsewhere TLS with trust on first use."""
    return Address(host, port, None if is_loopback(host) else Tls(default_pins()))


class Link:
    """An open connection after WELCOME. MUST be used by one reader task; `send` never blocks, `drain` waits for room."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caps: Caps) -> None:
        self._reader, self._writer = reader, writer
        self._decoder = Decoder(wire.FROM_SERVER, caps)
        self._frames: deque[Frame] = deque()
        self._fault: WireError | None = None
        self.welcome: wire.Welcome

    def send(self, body: wire.Body) -> None:
        """Queue one frame. After the connection is gone this does nothing; the reader learns it."""
        if not self._writer.is_closing():
            self._writer.write(wire.encode(body))

    async def drain(self) -> None:
        """Wait until what was sent fits into the socket's buffer."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise LinkError(f"connection lost: {_reason(error)}") from error

    async def receive(self, timeout_s: float) -> wire.Body:
        """The next frame's body. LinkError at the end of the connection, after `timeout_s` of silence or at bytes that are
        not the protocol."""
        while not self._frames:
            if self._fault is not None:
                raise LinkError(f"the server's bytes are not the protocol: {safe_name(str(self._fault))}")
            try:
                async with asyncio.timeout(timeout_s):
                    data = await self._reader.read(READ_BYTES)
            except TimeoutError:
                raise LinkError(f"the server was silent for {timeout_s:.0f} s") from None
            except OSError as error:
                raise LinkError(f"connection lost: {_reason(error)}") from error
            if not data:
                raise LinkError("the server closed the connection")
            self._feed(data)
        return self._frames.popleft().body

    def _feed(self, data: bytes) -> None:
        try:
            self._frames.extend(self._decoder.feed(data))
        except WireError as fault:
            self._frames.extend(fault.frames)
            self._fault = fault

    @property
    def limits(self) -> wire.Limits:
        """What the server takes."""
        return self.welcome.limits

    def abort(self) -> None:
        """Drop the connection at once; for a broken one, and for tests."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Flush and close, waiting a second at most: a dead peer must not keep us."""
        self._writer.close()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        self._writer.transport.abort()
        await asyncio.sleep(0)  # the transport lets its socket go in the loop's next turn


async def open_link(address: Address, agent: str = "tapwall", transfer: str = "") -> Link:
    """Connect, check the certificate, say HELLO and wait for WELCOME.

    LinkError if the server cannot be reached, TrustError if it is not the pinned one, RefusedError if it says no.
    """
    reader, writer = await _connect(address)
    link = Link(reader, writer, CLIENT)
    try:
        link.send(wire.Hello([wire.VERSION], agent=agent, transfer=transfer))
        body = await _first_answer(link, address)
        if isinstance(body, wire.Error):
            raise RefusedError(body.code, body.text, body.retry_ms / 1000)
        if isinstance(body, wire.Goaway):
            raise LinkError(f"the server is going away: {safe_name(body.reason)}")
        if not isinstance(body, wire.Welcome) or body.version != wire.VERSION:
            raise LinkError(
                f"{address}: got {type(body).__name__} as the answer to HELLO, expected WELCOME of version {wire.VERSION}"
            )
        link.welcome = body
    except BaseException:
        link.abort()
        raise
    return link


@dataclass(frozen=True, slots=True)
class Login:
    """How to say who we are. mechanism: guest, password, token, register (with `invite` where the server wants one), or
    session, whose secret is the token of an earlier login."""

    user: str
    mechanism: str = "guest"
    secret: str = ""
    invite: str = ""


async def log_in(link: Link, login: Login) -> wire.AuthOk:
    """Say AUTH and wait for the answer. RefusedError if it is no, LinkError if there is none."""
    if login.mechanism == "session":
        auth = wire.Auth("session", login.user, session=login.secret)
    else:
        auth = wire.Auth(login.mechanism, login.user, login.secret, login.invite)
    check_body(auth, None)
    link.send(auth)
    while True:
        body = await link.receive(LOGIN_S)
        match body:
            case wire.AuthOk():
                return body
            case wire.Error():
                raise RefusedError(body.code, body.text, body.retry_ms / 1000)
            case wire.Goaway():
                raise LinkError(f"the server is going away: {safe_name(body.reason)}")
            case wire.Ping():
                link.send(wire.Pong(body.nonce))


async def _first_answer(link: Link, address: Address) -> wire.Body:
    try:
        return await link.receive(HELLO_S)
    except LinkError as error:
        hint = "" if address.tls else "; does it want TLS? (--tls)"
        raise LinkError(f"{address}: no answer to HELLO: {error}{hint}") from error


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = _context(address.tls) if address.tls else None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                limit=READ_BYTES,
                ssl=context,
                server_hostname=address.host if context else None,
            )
    except TimeoutError:
        raise LinkError(f"{address}: no answer within {CONNECT_S:.0f} s") from None
    except ssl.SSLCertVerificationError as error:
        raise LinkError(f"{address}: certificate: {safe_name(error.verify_message)}") from error
    except ssl.SSLError as error:
        raise LinkError(
            f"{address}: TLS: {safe_name(error.reason or str(error))}; is it a server in clear text? (--no-tls)"
        ) from error
    except ConnectionError as error:
        if context is None or error.errno == errno.ECONNREFUSED:
            raise LinkError(f"{address}: {_reason(error)}") from error
        raise LinkError(
            f"{address}: closed during the TLS handshake; is it a server in clear text? (--no-tls)"
        ) from error
    except (OSError, UnicodeError) as error:
        raise LinkError(f"{address}: {_reason(error)}") from error
    if address.tls is not None and address.tls.ca is None:
        try:
            check_pin(address.host, address.port, _certificate(writer), address.tls)
        except BaseException:
            writer.transport.abort()
            raise
    return reader, writer


def _reason(error: Exception) -> str:
    """The system's words: asyncio's own repeat the address, and with several addresses list them all."""
    if isinstance(error, socket.gaierror):
        return safe_name(error.strerror or str(error))  # its numbers are not those of the system
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return safe_name(str(error))


def _context(tls: Tls) -> ssl.SSLContext:
    """With a CA the usual checks; with pins none here, because `check_pin` decides. SSLKEYLOGFILE is honoured (lab)."""
    context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    if tls.ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(writer: asyncio.StreamWriter) -> bytes:
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(shown, bytes)  # a TLS server without a certificate cannot complete the handshake
    return shown
