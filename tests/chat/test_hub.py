"""chat.hub: dialogues of a whole server in memory (support/chat_world.py): rooms, messages, presence, floods."""

import pytest
from chat_world import Client, World

from chat import wire
from chat.hub import Policy
from chat.limits import Limits, Rates, Timeouts


def texts(client: Client) -> list[tuple[int, str, str]]:
    return [(m.seq, m.sender, m.text) for m in client.take(wire.Msg)]


def test_a_message_is_acknowledged_and_the_same_for_all() -> None:
    """SEND gives ACK to the sender and one MSG to everybody, the sender as well, byte for byte the same."""
    world = World()
    ann, bob = world.join("ann", "bob")
    ann.raw = bob.raw = b""

    ann.say(wire.Send("lobby", "c1", "hello"))

    assert ann.last(wire.Ack) == wire.Ack("c1", "lobby", 1, 1_700_000_001_500)
    assert texts(bob) == [(1, "ann", "hello")]
    assert ann.raw.endswith(bob.raw)


def test_order_is_the_same_for_all_and_gapless() -> None:
    """Two senders, three receivers: one order, 1, 2, 3, ..."""
    world = World()
    clients = world.join("ann", "bob", "cid")
    for i in range(20):
        clients[i % 2].say(wire.Send("lobby", f"c{i}", str(i)))

    views = [texts(client) for client in clients]

    assert views[0] == views[1] == views[2]
    assert [seq for seq, _, _ in views[0]] == list(range(1, 21))


def test_a_repeated_id_gives_the_same_ack_and_no_second_message() -> None:
    """Retries are idempotent, also from the next connection of the same name."""
    world = World()
    ann, bob = world.join("ann", "bob")
    ann.say(wire.Send("lobby", "c1", "once"), wire.Send("lobby", "c1", "once"))
    first, second = ann.take(wire.Ack)
    world.leave(ann)

    again = world.connect("192.0.2.1").login("ann").say(wire.Join("lobby"), wire.Send("lobby", "c1", "once"))

    assert first == second == again.last(wire.Ack)
    assert texts(bob) == [(1, "ann", "once")]


# request of a member of lobby -> error code
REFUSED = [
    (wire.Send("lobby", "i", "x" * (16 * 1024 + 1)), "too-long"),
    (wire.Send("lobby", "i", "é" * (8 * 1024 + 1)), "too-long"),
    (wire.Send("lobby", "i", ""), "empty"),
    (wire.Send("lobby", "", "x"), "bad-id"),
    (wire.Send("lobby", "i" * 65, "x"), "bad-id"),
    (wire.Send("nowhere", "i", "x"), "no-room"),
    (wire.Send("a b", "i", "x"), "bad-room"),
    (wire.Send("@nobody", "i", "x"), "not-member"),
    (wire.Send("lobby", "i", "x", edits=99), "no-message"),
    (wire.Send("lobby", "i", deletes=99), "no-message"),
    (wire.Join(""), "bad-room"),
    (wire.Join("../etc"), "bad-room"),
    (wire.Join("x" * 65), "bad-room"),
    (wire.Join("lobby\n"), "bad-room"),
    (wire.Join("@nobody"), "no-user"),
    (wire.Join("@bob+cid"), "private"),
    (wire.Part("other"), "not-member"),
    (wire.MembersAsk("other"), "not-member"),
    (wire.History("other"), "not-member"),
    (wire.History(), "bad-request"),
    (wire.Offer("r", "../x", 1, "0" * 64, "lobby"), "bad-file"),
    (wire.Offer("r", "x\x1b[2J", 1, "0" * 64, "lobby"), "bad-file"),
    (wire.Offer("r", "con.txt", 1, "0" * 64, "lobby"), "bad-file"),
    (wire.Offer("r", "x", 1, "zz", "lobby"), "bad-file"),
    (wire.Offer("r", "x", 1, "0" * 64, "other"), "no-room"),
    (wire.Resume([wire.RoomSeq("lobby", 0)] * 101), "too-many-rooms"),
    (wire.Admin("dance"), "bad-request"),
    (wire.Admin("kick", room="lobby", target="bob\x00"), "too-long"),
]


@pytest.mark.parametrize(("body", "code"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_not_granted_is_an_error_and_nothing_else(body: wire.Body, code: str) -> None:
    """A refused request has one ERROR with its code, the connection lives, nobody else sees anything."""
    world = World()
    ann, bob = world.join("ann", "bob")

    ann.say(body)

    assert [error.code for error in ann.take(wire.Error)] == [code]
    assert bob.got == []
    assert ann.say(wire.Ping(1)).last(wire.Pong) == wire.Pong(1)


def test_joining_tells_room_members_and_what_was_missed() -> None:
    """JOIN with `after`: JOIN, MEMBERS, the missed messages in order, then live ones; without: none of the old."""
    world = World()
    (ann,) = world.join("ann")
    for i in range(5):
        ann.say(wire.Send("lobby", f"c{i}", str(i)))

    bob = world.connect().login("bob").say(wire.Join("lobby", after=2))
    cid = world.connect("192.0.2.9").login("cid").say(wire.Join("lobby"))
    ann.say(wire.Send("lobby", "c9", "live"))

    joined = bob.last(wire.Joined)
    assert (joined.seq, joined.oldest, joined.count) == (5, 1, 2)
    assert [m.name for m in bob.take(wire.Members)[0].members] == ["ann", "bob"]
    assert [seq for seq, _, _ in texts(bob)] == [3, 4, 5, 6]
    assert [seq for seq, _, _ in texts(cid)] == [6]


def test_resume_brings_back_all_rooms() -> None:
    """RESUME after a cut: each room from where the client was; an impossible one is named, the others work."""
    world = World()
    ann, bob = world.join("ann", "bob")
    bob.say(wire.Join("two"))
    ann.say(wire.Join("two"), wire.Send("lobby", "a", "1"), wire.Send("two", "b", "2"))
    world.leave(bob)
    ann.say(wire.Send("lobby", "c", "3"), wire.Send("two", "d", "4"))

    back = world.connect("192.0.2.2").login("bob")
    back.say(wire.Resume([wire.RoomSeq("lobby", 1), wire.RoomSeq("two", 0), wire.RoomSeq("@x+y", 0)]))

    assert sorted((m.room, m.seq) for m in back.take(wire.Msg)) == [("lobby", 2), ("two", 1), ("two", 2)]
    assert [(e.code, e.ref) for e in back.take(wire.Error)] == [("private", "@x+y")]


def test_a_direct_message_finds_its_receiver_and_nobody_else() -> None:
    """The first message to @bob joins bob's connections; others cannot join, read or name the room."""
    world = World()
    ann, bob, eve = world.join("ann", "bob", "eve")
    ann.say(wire.Join("@bob"), wire.Send("@bob", "c1", "psst"))

    assert bob.last(wire.Joined).room == "@ann+bob"
    assert texts(bob) == [(1, "ann", "psst")]
    eve.say(
        wire.Join("@ann+bob"),
        wire.History("@ann+bob"),
        wire.Send("@ann+bob", "x", "y"),
        wire.Admin("topic", room="@ann+bob"),
    )
    assert {e.code for e in eve.take(wire.Error)} == {"private", "no-room"}
    assert "@ann+bob" not in [row["room"] for row in eve.say(wire.Admin("rooms")).last(wire.AdminResult).rows]
    assert eve.take(wire.Msg) == []


def test_the_next_guest_of_a_name_reads_nothing_of_the_one_before() -> None:
    """A guest's direct rooms begin with the guest: who takes the name later gets neither replay nor history."""
    world = World()
    ann, bob = world.join("ann", "bob")
    ann.say(wire.Join("@bob"), wire.Send("@bob", "c1", "secret"))
    world.leave(bob, for_good=True)

    other = world.connect("192.0.2.77").login("bob").say(wire.Resume([wire.RoomSeq("@ann+bob", 0)]))

    assert other.take(wire.Msg) == []
    other.say(wire.History("@ann", after=0))
    assert world.other[-1].rooms == {"@ann+bob": 1}  # type: ignore[attr-defined]


def test_names_are_one_persons() -> None:
    """A name in use, and one that looks like it, are refused; after the owner left for good it is free."""
    world = World()
    (ann,) = world.join("ann10")

    taken = world.connect().login("ann10").last(wire.Error)
    alike = world.connect().login("annl0").last(wire.Error)
    ann.say(wire.Goaway())
    free = world.connect().login("ann10").last(wire.AuthOk)

    assert (taken.code, alike.code, free.account) == ("name-taken", "name-taken", "ann10")


def test_a_guest_with_a_like_name_does_not_keep_an_account_out() -> None:
    """Somebody who came as `annl0` before `ann10` had an account: its owner gets in, and no second look-alike does."""
    world = World()
    world.join("annl0")
    world.hub.accounts = {"ann10"}

    assert world.connect().login("ann10").last(wire.AuthOk).account == "ann10"
    assert world.connect().login("annlo").last(wire.Error).code == "name-taken"


def test_a_short_cut_does_not_flap_presence() -> None:
    """A lost user stays listed for 30 s; back in time nobody hears of it; else PRESENCE says so once."""
    world = World()
    ann, bob = world.join("ann", "bob")
    world.leave(bob)
    world.pass_time(20)
    back = world.connect("192.0.2.2").login("bob").say(wire.Join("lobby"))
    world.pass_time(40)
    assert ann.take(wire.Presence) == []

    world.leave(back)
    for _ in range(40):
        ann.say(wire.Ping())
        world.pass_time(1)

    assert [p.left for p in ann.take(wire.Presence)] == [["bob"]]


def test_presence_is_one_frame_a_second_and_a_count_in_large_rooms() -> None:
    """Many come and go: one PRESENCE a room and second; above 200 members only the count."""
    world = World(limits=Limits(names_listed=5))
    (ann,) = world.join("ann")
    for i in range(4):
        world.connect(f"192.0.2.{i + 10}").login(f"user{i}").say(wire.Join("lobby"))
    world.pass_time(1.1)
    (first,) = ann.take(wire.Presence)
    for i in range(4, 9):
        world.connect(f"192.0.2.{i + 10}").login(f"user{i}").say(wire.Join("lobby"))
    world.pass_time(1.1)
    (second,) = ann.take(wire.Presence)

    assert [m.name for m in first.joined] == ["user0", "user1", "user2", "user3"]
    assert (second.count, second.joined) == (10, [])
    assert ann.say(wire.MembersAsk("lobby")).last(wire.Members) == wire.Members("lobby", 10)


def test_flood_is_delayed_then_refused_then_kicked() -> None:
    """The burst passes, as many again pass with a delay, then ERROR flood with retry_ms, then the door."""
    rates = Rates(
        messages_per_s=1,
        message_burst=5,
        strikes=3,
        account_messages_per_s=0,
        address_messages_per_s=0,
        room_messages_per_s=0,
    )
    world = World(rates)
    ann, bob = world.join("ann", "bob")

    for i in range(14):
        ann.say(wire.Send("lobby", f"c{i}", "x"))

    assert len(texts(bob)) == 10
    delays = [e.seconds for e in world.other if type(e).__name__ == "Delay"]
    assert len(delays) == 5 and delays == sorted(delays) and delays[-1] >= 4.9
    errors = ann.take(wire.Error)
    assert [e.code for e in errors] == ["flood"] * 4 + ["flood-kick"]
    assert all(e.retry_ms > 0 for e in errors[:4])


@pytest.mark.parametrize("bucket", ["account_messages_per_s", "address_messages_per_s", "room_messages_per_s"])
def test_each_bucket_holds(bucket: str) -> None:
    """Several connections share the buckets of account, address and room."""
    off = {"messages_per_s": 0, "account_messages_per_s": 0, "address_messages_per_s": 0, "room_messages_per_s": 0}
    world = World(Rates(**{**off, bucket: 1}, message_burst=2, strikes=10_000))
    ann, _ = world.join("ann", "bob")

    for i in range(50):
        ann.say(wire.Send("lobby", f"c{i}", "x"))

    assert any(e.code == "flood" for e in ann.take(wire.Error))


def test_another_configuration_holds_for_who_is_here() -> None:
    """A slower rate and a shorter text bind a connection that was there before."""
    world = World()
    (ann,) = world.join("ann")
    rates = Rates(
        messages_per_s=1.0, message_burst=2, account_messages_per_s=0, address_messages_per_s=0, room_messages_per_s=0
    )
    world.hub.adjust(Limits(text_bytes=5), rates, Timeouts(), Policy())

    assert ann.say(wire.Send("lobby", "a", "too long")).last(wire.Error).code == "too-long"
    ann.say(*[wire.Send("lobby", f"b{n}", "x") for n in range(8)])
    assert {error.code for error in ann.take(wire.Error)} == {"flood"}


def test_caps_of_rooms_and_sessions_hold() -> None:
    """Rooms a connection, rooms a user makes, members of a room, connections of an account, rooms in all."""
    world = World(limits=Limits(rooms_per_session=3, rooms_per_user=2, room_members=2, sessions_per_account=2, rooms=4))
    world.hub.accounts = {"acc"}
    ann, bob = world.join("ann", "bob")
    assert [e.code for e in ann.say(wire.Join("r1"), wire.Join("r2"), wire.Join("r3")).take(wire.Error)] == [
        "too-many-rooms"
    ]
    assert bob.say(wire.Join("r3")).take(wire.Error) == []
    assert bob.say(wire.Join("r4")).last(wire.Error).code == "room-full"
    assert ann.say(wire.Join("r3")).last(wire.Error).code == "too-many-rooms"
    assert world.connect().login("cid").say(wire.Join("lobby")).last(wire.Error).code == "room-full"
    accounts = [world.connect().login("acc") for _ in range(3)]
    assert [bool(c.take(wire.AuthOk)) for c in accounts] == [True, True, False]


def test_closed_rooms_are_not_made_by_joining() -> None:
    """open_rooms = false: JOIN of an unknown room is no-room."""
    world = World(policy=Policy(open_rooms=False))
    (ann,) = world.join("ann")

    assert ann.say(wire.Join("new")).last(wire.Error).code == "no-room"


def test_an_empty_room_nobody_wrote_in_is_forgotten() -> None:
    """Made by joining, left: gone; its number is used again, and what is said in the new one stays there."""
    world = World()
    ann, bob = world.join("ann", "bob")
    number = ann.say(wire.Join("tmp")).last(wire.Joined).channel
    ann.say(wire.Part("tmp"))

    assert "tmp" not in world.hub.rooms
    assert bob.say(wire.Join("next")).last(wire.Joined).channel == number
    bob.say(wire.Send("next", "c", "x"))
    assert ann.take(wire.Msg) == []


def test_edits_and_deletions_are_messages_that_name_their_target() -> None:
    """Own messages are edited and deleted, others' not; history shows the new text, or none."""
    world = World()
    ann, bob = world.join("ann", "bob")
    ann.say(wire.Send("lobby", "a", "helo"), wire.Send("lobby", "b", "bye"))
    ann.say(wire.Send("lobby", "c", "hello", edits=1), wire.Send("lobby", "d", deletes=2))
    bob.say(wire.Send("lobby", "e", "hacked", edits=1), wire.Send("lobby", "f", deletes=1))

    assert [(m.seq, m.edits, m.deletes) for m in bob.take(wire.Msg)] == [(1, 0, 0), (2, 0, 0), (3, 1, 0), (4, 0, 2)]
    assert [e.code for e in bob.take(wire.Error)] == ["forbidden", "forbidden"]
    page, _ = world.history.page("lobby", wire.History("lobby"), 0, 10, 1 << 20)
    assert [(m.text, m.edited, m.deleted) for m in page[:2]] == [("hello", True, False), ("", False, True)]


def test_a_slow_member_delays_nobody_and_is_told_exactly_what_it_missed() -> None:
    """Its buffer full, it leaves the live set: what the ring has is replayed, of the rest one GAP of exactly that size."""
    world = World(limits=Limits(ring_bytes=2000))
    ann, bob, slow = world.join("ann", "bob", "slow")
    slow.pause_at = 500
    for i in range(40):
        ann.say(wire.Send("lobby", f"c{i}", "x" * 50))
    before = [m.seq for m in slow.take(wire.Msg)]

    slow.pause_at = 1 << 60
    slow.drain()

    (gap,) = slow.take(wire.Gap)
    after = [m.seq for m in slow.take(wire.Msg)]
    assert len(texts(bob)) == 40
    assert gap.reason == "slow"
    assert before + list(range(gap.first, gap.last + 1)) + after == list(range(1, 41))
    ann.say(wire.Send("lobby", "z", "live"))
    assert [m.seq for m in slow.take(wire.Msg)] == [41]
