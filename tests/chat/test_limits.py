"""chat.limits: buckets, names, look-alikes, file names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import Refusal
from chat.limits import Bucket, Buckets, check_file_name, check_name, check_room, direct_room, has_controls, skeleton


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    """3 at once, then one each half second; taken in debt it names the wait."""
    bucket = Bucket(rate=2.0, burst=3.0, now=0.0)

    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0) == -0.5  # not taken
    assert bucket.take(0.0, debt=2.0) == 0.5  # taken, one in debt: half a second until it is paid
    assert bucket.take(0.0, debt=2.0) == 1.0
    assert bucket.take(0.0, debt=2.0) < 0
    assert bucket.take(10.0) == 0.0


def test_a_rate_of_zero_takes_all() -> None:
    """The switch of the configuration."""
    assert {Bucket(0.0, 1.0, 0.0).take(0.0) for _ in range(100)} == {0.0}
    assert {Buckets(0.0, 1.0).take("a", 0.0) for _ in range(100)} == {0.0}


def test_buckets_are_one_a_key_and_are_forgotten() -> None:
    """Keys do not disturb each other; memory is bounded however many keys an attacker makes."""
    buckets = Buckets(rate=1.0, burst=1.0)
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) < 0
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.5) == -0.5
    buckets.give_back("a")
    buckets.give_back("nobody")
    assert buckets.take("a", 0.5) == 0.0

    for i in range(Buckets.MOST + 100):
        buckets.take(str(i), 1.0)

    assert len(buckets._all) <= Buckets.MOST


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 3)), max_size=60))
def test_a_bucket_never_gives_more_than_burst_plus_rate(steps: list[tuple[float, float]]) -> None:
    """Whatever the times and costs: taken <= burst + rate x time."""
    bucket, now, taken = Bucket(rate=2.0, burst=5.0, now=0.0), 0.0, 0.0
    for wait, cost in steps:
        now += wait
        if bucket.take(now, cost) >= 0:
            taken += cost

    assert taken <= 5.0 + 2.0 * now + 1e-6


GOOD_NAMES = [("Ann", "ann"), ("a_b-9", "a_b-9"), ("x" * 32, "x" * 32)]
BAD_NAMES = [
    "",
    "a",
    "x" * 33,
    "ann bob",
    "ann\n",
    "\x1b[31mann",
    "аnn",
    "ann\u202e",
    "a+b",
    "@ann",
    "ad\u200bmin",
    "Admin",
    "r00t",
    "5erver\0",
    "a.b",
]


@pytest.mark.parametrize(("raw", "name"), GOOD_NAMES)
def test_a_good_name_is_folded(raw: str, name: str) -> None:
    """Case does not make another person."""
    assert check_name(raw) == name


@pytest.mark.parametrize("raw", BAD_NAMES)
def test_a_bad_name_is_refused(raw: str) -> None:
    """Too short, too long, controls, blanks, other scripts, reserved ones and what looks like them."""
    with pytest.raises(Refusal) as no:
        check_name(raw)
    assert no.value.code == "bad-name"


@pytest.mark.parametrize("raw", ["müller", "анна", "γιώργος", "山田太郎"])
def test_unicode_names_of_one_script_are_taken_when_switched_on(raw: str) -> None:
    """unicode_names = true."""
    assert check_name(raw, unicode=True) == raw


@pytest.mark.parametrize(
    "raw", ["аnna", "pаypal", "admіn", "αnn", "ann\u202e", "a\u0300\u0300b\u200d", "rооt", "ａdmin", "𝐚dmin", "a b"]
)
def test_mixed_scripts_and_look_alikes_are_refused_also_then(raw: str) -> None:
    """Cyrillic among Latin, invisible characters, styled letters of reserved names."""
    with pytest.raises(Refusal):
        check_name(raw, unicode=True)


@pytest.mark.parametrize(("one", "other"), [("paypal", "раураl"), ("ann1", "annl"), ("bob0", "bobo"), ("corn", "com"), ("cora", "сога"), ("élan", "elan"), ("a_b", "a-b")])  # fmt: skip
def test_look_alikes_have_one_skeleton(one: str, other: str) -> None:
    """UTS #39: names that a person would confuse."""
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("raw", "name"), [("#Lobby", "lobby"), ("a.b-c_d", "a.b-c_d"), ("9", "9")])
def test_rooms_are_folded(raw: str, name: str) -> None:
    """A leading # is dropped."""
    assert check_room(raw) == name


def test_a_direct_room_has_one_name() -> None:
    """Whoever asks."""
    assert direct_room("bob", "ann") == direct_room("ann", "bob") == "@ann+bob"


@pytest.mark.parametrize("name", ["a.txt", "ä ö.png", "no extension", "a" * 255, "console.log", "日本.jpg"])
def test_harmless_file_names_are_taken(name: str) -> None:
    """NFC, as they are."""
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "C:x", ".ssh", "x\0", "x\n", "x\x1b]52;c;x\x07", "evil\u202egnp.exe", "nul", "COM1.txt", "a" * 256, "ü" * 128, "x.", " x", "\ud800", "a\u200b"],
)  # fmt: skip
def test_harmful_file_names_are_refused(name: str) -> None:
    """Paths, controls, bidi, devices, too long, invisible."""
    with pytest.raises(Refusal):
        check_file_name(name)


@given(st.text(max_size=300))
def test_a_taken_file_name_stays_inside_any_folder(name: str) -> None:
    """Whatever is taken is one path component without controls."""
    try:
        taken = check_file_name(name)
    except Refusal:
        return
    assert "/" not in taken and "\\" not in taken and taken not in {".", ".."} and not has_controls(taken)
    assert len(taken.encode()) <= 255


@pytest.mark.parametrize(
    ("text", "found"),
    [("plain", False), ("a\nb", True), ("\x9b", True), ("\u2066", True), ("ü", False), ("\ud800", True)],
)
def test_controls_are_found(text: str, found: bool) -> None:
    """C0, C1, bidi, surrogates; newline where it is not wanted."""
    assert has_controls(text) is found


def test_newlines_may_be_allowed() -> None:
    """In texts, not in names."""
    assert not has_controls("a\n\tb", newlines=True)
