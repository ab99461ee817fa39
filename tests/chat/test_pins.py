"""Trust on first use: the first certificate is remembered, another one under the same name is refused."""

import os
from pathlib import Path

import pytest

from chat.pins import Tls, TrustError, check_pin, fingerprint_of

ONE, OTHER = b"one certificate", b"another certificate"


def test_the_first_is_pinned_and_the_same_is_taken_again(tmp_path: Path) -> None:
    """The pin file is made private; asking happens once."""
    asked: list[tuple[str, str]] = []
    tls = Tls(tmp_path / "conf" / "known", confirm=lambda *given: asked.append(given) or True)  # type: ignore[func-returns-value]
    check_pin("chat.example", 1234, ONE, tls)
    check_pin("chat.example", 1234, ONE, tls)

    assert asked == [("chat.example:1234", fingerprint_of(ONE))]
    assert tls.pins.read_text() == f"chat.example:1234 {fingerprint_of(ONE)}\n"
    assert tls.pins.stat().st_mode & 0o777 == 0o600
    assert tls.pins.parent.stat().st_mode & 0o777 == 0o700


def test_another_certificate_is_refused(tmp_path: Path) -> None:
    """The message shows both fingerprints and what to do; the pin stays."""
    tls = Tls(tmp_path / "known")
    check_pin("h", 1, ONE, tls)
    with pytest.raises(TrustError, match="Somebody may be in between") as caught:
        check_pin("h", 1, OTHER, tls)

    assert fingerprint_of(ONE) in str(caught.value) and fingerprint_of(OTHER) in str(caught.value)
    check_pin("h", 2, OTHER, tls)  # another port is another server
    check_pin("h", 1, ONE, tls)


def test_who_says_no_pins_nothing(tmp_path: Path) -> None:
    """Without consent there is no pin, and the server is asked about again next time."""
    tls = Tls(tmp_path / "known", confirm=lambda server, fingerprint: False)
    with pytest.raises(TrustError, match="not trusted"):
        check_pin("h", 1, ONE, tls)

    assert not tls.pins.exists()


def test_comments_and_rubbish_in_the_file_are_passed_over(tmp_path: Path) -> None:
    """People edit the file; a line that is no pin is none."""
    (tmp_path / "known").write_text(f"# mine\n\nrubbish\nh:1 {fingerprint_of(ONE)}\n")
    check_pin("h", 1, ONE, Tls(tmp_path / "known", confirm=lambda server, fingerprint: False))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    """Not being able to look is not the same as not knowing."""
    (tmp_path / "known").touch(mode=0)
    with pytest.raises(TrustError, match="Permission denied"):
        check_pin("h", 1, ONE, Tls(tmp_path / "known"))


def test_the_fingerprint_is_written_as_others_write_it() -> None:
    """Capital digits in pairs with colons: SHA-256 of nothing, as every book has it."""
    assert fingerprint_of(b"").startswith("E3:B0:C4:42:98:FC:1C:14")
