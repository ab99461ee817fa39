"""The protocol's bytes as a table: the 12-byte header, the typed body of every frame, and encode().

docs/wire.md as code. Bodies are JSON objects, read into the structs below; DATA alone is raw. This file knows no socket,
clock, user or room: bytes become frames in chat/decoder.py, what a frame means is for session, hub and transfer.
"""

from enum import IntEnum
from struct import Struct as Layout
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

MAGIC: Final = b"TW"
VERSION: Final = 1
HEADER: Final = Layout("!2sBBHHI")  # magic, version, type, flags, channel, length of the body
DATA_HEAD: Final = Layout("!16sQI")  # file id, offset, crc32c; the bytes of the chunk follow

IGNORABLE: Final = 0x0001  # who does not know the type may skip the frame
LOGIN_CAP: Final = 4 << 10  # body bytes before login: a HELLO or an AUTH is some hundred
CONTROL_CAP: Final = 64 << 10  # body bytes of a control or chat frame after login: 16 KiB of text, escaped
DATA_CAP: Final = DATA_HEAD.size + (1 << 20)  # body bytes of DATA: chunks of 1 MiB cost least and delay chat least

U53 = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # every number on the wire is exact in JSON, JavaScript and SQLite


class Type(IntEnum):
    """Frame types, the header's fourth byte."""

    HELLO = 0x01
    WELCOME = 0x02
    AUTH = 0x03
    AUTH_OK = 0x04
    ERROR = 0x05
    PING = 0x06
    PONG = 0x07
    GOAWAY = 0x08
    NOTICE = 0x09
    JOIN = 0x10
    PART = 0x11
    MEMBERS = 0x12
    PRESENCE = 0x13
    SEND = 0x20
    ACK = 0x21
    MSG = 0x22
    HISTORY = 0x23
    RESUME = 0x24
    GAP = 0x25
    OFFER = 0x30
    ACCEPT = 0x31
    DATA = 0x32
    CREDIT = 0x33
    FETCH = 0x34
    DONE = 0x35
    ADMIN = 0x40


class Body(Struct, frozen=True, omit_defaults=True):
    """Base of all bodies. Unknown fields of a JSON body are ignored, so that fields can be added."""


# --- session ---------------------------------------------------------------------------------------------------------


class Hello(Body, frozen=True):
    """client, first frame. `transfer` is the one-time token that makes this connection a file connection."""

    versions: list[int]
    agent: str = ""
    features: list[str] = []
    transfer: str = ""


class Limits(Body, frozen=True):
    """What the server will take, announced in WELCOME. Bytes, counts, seconds as the names say."""

    text_bytes: U53
    login_frame_bytes: U53
    control_frame_bytes: U53
    data_frame_bytes: U53
    history_page: U53
    rooms_per_session: U53
    room_members: U53
    sessions_per_account: U53
    connections_per_address: U53
    message_burst: U53
    messages_per_s: float
    file_bytes: U53
    account_bytes: U53
    file_days: U53
    ping_s: float
    dead_s: float
    login_s: float
    frame_s: float


class Welcome(Body, frozen=True):
    """server, the answer to HELLO. `auth` are the mechanisms that AUTH may name."""

    version: int
    server: str
    features: list[str]
    limits: Limits
    auth: list[str]


class Auth(Body, frozen=True):
    """client. mechanism: guest (user), password (user, secret), token (user, secret), register (user, secret, perhaps
    invite), session (session: the token of an earlier AUTH_OK)."""

    mechanism: str
    user: str = ""
    secret: str = ""
    invite: str = ""
    session: str = ""


class AuthOk(Body, frozen=True):
    """server. `account` is the name others see, `session` the token for AUTH session and RESUME."""

    account: str
    session: str
    roles: list[str] = []
    guest: bool = False


class Error(Body, frozen=True):
    """server. `ref` is the client's id or the name of the frame at fault; `offset` where a file must go on."""

    code: str
    text: str
    ref: str = ""
    retry_ms: U53 = 0
    offset: U53 | None = None


class Ping(Body, frozen=True):
    """both. The other side answers PONG with the same nonce."""

    nonce: U53 = 0


class Pong(Body, frozen=True):
    """both."""

    nonce: U53 = 0


class Goaway(Body, frozen=True):
    """server, before it closes: come back after `retry_ms`. client, before it closes: it leaves for good, and its
    presence ends at once instead of being held for its return."""

    reason: str = ""
    retry_ms: U53 = 0


class Notice(Body, frozen=True):
    """server. What the system has to say: its own frame type, so that no user can imitate it. kind: topic, role, kick,
    ban, mute, room, server."""

    text: str
    kind: str = "server"
    room: str = ""
    actor: str = ""
    target: str = ""


# --- rooms -----------------------------------------------------------------------------------------------------------


class Join(Body, frozen=True):
    """client. `@name` is the direct conversation with that user. `after` asks for what came after that seq."""

    room: str
    after: U53 | None = None


class Joined(Body, frozen=True):
    """server, the answer to JOIN (same type). `room` is the canonical name (`@alice+bob` for a direct one), `seq` the
    last message so far, `oldest` the first one that is still kept, `count` the members now."""

    room: str
    channel: int
    seq: U53
    oldest: U53 = 0
    role: str = "member"
    topic: str = ""
    count: U53 = 0
    private: bool = False
    read_only: bool = False


class Part(Body, frozen=True):
    """client."""

    room: str


class Parted(Body, frozen=True):
    """server, the answer to PART (same type), or unasked: reason kicked, banned, closed."""

    room: str
    reason: str = "left"
    text: str = ""


class Member(Body, frozen=True):
    """One name in MEMBERS or PRESENCE. role: owner, moderator, member."""

    name: str
    role: str = "member"
    muted: bool = False
    guest: bool = False


class Members(Body, frozen=True):
    """server, after Joined, and the answer to the client's MEMBERS. Above 200 members `members` is empty and `count`
    alone is true."""

    room: str
    count: U53
    members: list[Member] = []


class MembersAsk(Body, frozen=True):
    """client (same type as Members)."""

    room: str


class Presence(Body, frozen=True):
    """server, at most one a room and second: who came, whose role changed, who left."""

    room: str
    count: U53
    joined: list[Member] = []
    changed: list[Member] = []
    left: list[str] = []


# --- messages --------------------------------------------------------------------------------------------------------


class Send(Body, frozen=True):
    """client. `id` is the client's own, unique for the account for 24 hours: sent again, it gives the same ACK. `edits`
    or `deletes` is the seq of the message to change."""

    room: str
    id: str
    text: str = ""
    edits: U53 = 0
    deletes: U53 = 0


class Ack(Body, frozen=True):
    """server, after the message is on disk. ts: milliseconds since 1970."""

    id: str
    room: str
    seq: U53
    ts: U53


class FileRef(Body, frozen=True):
    """A file in a message. file_id: 32 hexadecimal digits, sha256: 64."""

    file_id: str
    name: str
    size: U53
    sha256: str
    mime: str = ""


class Msg(Body, frozen=True):
    """server, to every member, the sender as well (who knows it by `id`). An edit or a deletion is a message with a
    seq of its own that names its target; in history the target wears the new text and `edited`, or `deleted`."""

    room: str
    seq: U53
    ts: U53
    sender: str
    text: str = ""
    id: str = ""
    file: FileRef | None = None
    edits: U53 = 0
    deletes: U53 = 0
    edited: bool = False
    deleted: bool = False


class History(Body, frozen=True):
    """client. The page before or after a seq, or the matches of a query (words, from:NAME, in:ROOM, since:YYYY-MM-DD).
    With neither before nor after: the latest page."""

    room: str = ""
    before: U53 | None = None
    after: U53 | None = None
    limit: U53 = 50
    query: str = ""
    ref: str = ""


class HistoryPage(Body, frozen=True):
    """server, the answer to HISTORY (same type), oldest first. `more`: the page was cut."""

    room: str
    messages: list[Msg]
    more: bool = False
    oldest: U53 = 0
    ref: str = ""


class RoomSeq(Body, frozen=True):
    """The last message that the client has of a room."""

    room: str
    seq: U53


class Resume(Body, frozen=True):
    """client, after AUTH_OK: joins the rooms and sends what came after each seq, or GAP."""

    rooms: list[RoomSeq]
    session: str = ""


class Gap(Body, frozen=True):
    """server. Messages first..last of the room will not come by themselves. reason: slow (HISTORY has them) or
    retention (nobody has them)."""

    room: str
    first: U53
    last: U53
    reason: str


# --- files -----------------------------------------------------------------------------------------------------------


class Offer(Body, frozen=True):
    """client, on the chat connection. `ref` is the client's own id for the answer."""

    ref: str
    name: str
    size: U53
    sha256: str
    room: str
    mime: str = ""


class Offered(Body, frozen=True):
    """server, to the room (same type): a file is arriving and may be fetched while it does."""

    room: str
    sender: str
    file: FileRef


class Accept(Body, frozen=True):
    """server, the answer to OFFER and FETCH: open a connection and say `token` in its HELLO. Then send DATA from
    `next_offset`, at most `credit` chunks of `chunk` bytes ahead; or receive from there. An empty token: the server has
    the file already."""

    ref: str
    file_id: str
    token: str
    chunk: U53
    next_offset: U53 = 0
    credit: U53 = 0
    size: U53 = 0
    sha256: str = ""


class Data(Body, frozen=True):
    """both, on a file connection. The one raw body: 16 bytes id, offset, crc32c of the payload, payload."""

    file_id: str
    offset: int
    crc: int
    payload: bytes


class Credit(Body, frozen=True):
    """both: the bytes before `offset` are taken, `credit` more chunks may follow."""

    file_id: str
    offset: U53
    credit: U53


class Fetch(Body, frozen=True):
    """client, on the chat connection. `length` 0 means to the end."""

    ref: str
    file_id: str
    offset: U53 = 0
    length: U53 = 0


class Done(Body, frozen=True):
    """server: the upload is verified and kept, or everything asked for was sent. client: the upload is given up."""

    file_id: str
    size: U53 = 0
    sha256: str = ""


# --- administration --------------------------------------------------------------------------------------------------


class Admin(Body, frozen=True):
    """client. The actions and what each field means to them are tabled in docs/wire.md."""

    action: str
    ref: str = ""
    room: str = ""
    target: str = ""
    value: str = ""
    text: str = ""
    seconds: U53 = 0


class AdminResult(Body, frozen=True):
    """server, the answer to ADMIN (same type)."""

    action: str
    ref: str = ""
    ok: bool = True
    text: str = ""
    rows: list[dict[str, str]] = []


FROM_CLIENT: Final[dict[int, type[Body]]] = {
    Type.HELLO: Hello,
    Type.AUTH: Auth,
    Type.PING: Ping,
    Type.PONG: Pong,
    Type.GOAWAY: Goaway,
    Type.JOIN: Join,
    Type.PART: Part,
    Type.MEMBERS: MembersAsk,
    Type.SEND: Send,
    Type.HISTORY: History,
    Type.RESUME: Resume,
    Type.OFFER: Offer,
    Type.DATA: Data,
    Type.CREDIT: Credit,
    Type.FETCH: Fetch,
    Type.DONE: Done,
    Type.ADMIN: Admin,
}
FROM_SERVER: Final[dict[int, type[Body]]] = {
    Type.WELCOME: Welcome,
    Type.AUTH_OK: AuthOk,
    Type.ERROR: Error,
    Type.PING: Ping,
    Type.PONG: Pong,
    Type.GOAWAY: Goaway,
    Type.NOTICE: Notice,
    Type.JOIN: Joined,
    Type.PART: Parted,
    Type.MEMBERS: Members,
    Type.PRESENCE: Presence,
    Type.ACK: Ack,
    Type.MSG: Msg,
    Type.HISTORY: HistoryPage,
    Type.GAP: Gap,
    Type.OFFER: Offered,
    Type.ACCEPT: Accept,
    Type.DATA: Data,
    Type.CREDIT: Credit,
    Type.DONE: Done,
    Type.ADMIN: AdminResult,
}
TYPE_OF: Final[dict[type[Body], int]] = {
    body: code for table in (FROM_CLIENT, FROM_SERVER) for code, body in table.items()
}


_QUICK_HEADER: Final = Layout("!6sHI")  # the header without flags: its first six bytes ready-made, channel, length
_QUICK_KEY: Final = {body: MAGIC + bytes([VERSION, code, 0, 0]) for body, code in TYPE_OF.items()}
_encode_json = msgspec.json.Encoder().encode


def encode(body: Body, channel: int = 0, flags: int = 0) -> bytes:
    """The frame of a body as bytes. `channel` is the room's number in room frames, 0 elsewhere."""
    if type(body) is Data:
        return data_head(body.file_id, body.offset, body.crc, len(body.payload)) + body.payload
    content = _encode_json(body)
    if flags:
        return HEADER.pack(MAGIC, VERSION, TYPE_OF[type(body)], flags, channel, len(content)) + content
    return _QUICK_HEADER.pack(_QUICK_KEY[type(body)], channel, len(content)) + content


def data_head(file_id: str, offset: int, crc: int, size: int) -> bytes:
    """Header and head of a DATA frame whose `size` payload bytes the caller sends itself (sendfile)."""
    head = HEADER.pack(MAGIC, VERSION, Type.DATA, 0, 0, DATA_HEAD.size + size)
    return head + DATA_HEAD.pack(bytes.fromhex(file_id), offset, crc)
