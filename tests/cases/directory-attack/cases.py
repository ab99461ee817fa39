"""Scenes of attacks on a Windows directory, and of ordinary use of one."""

from cases import fires, silent
from payloads import der, der_int, rpc_talk, smb2, smb2_tree
from traffic import Wire

ME, DC = "10.0.0.66", "10.0.0.2"
SAMR = "12345778-1234-abcd-ef00-0123456789ac"
DRSUAPI = "e3514235-4b06-11d1-ab04-00c04fc2dcd2"


def _ticket(service: str, etype: int, kind: int = 13, user: str = "bob") -> bytes:
    """A TGS-REP (RFC 4120 5.4.2): realm, client, a ticket for `service`, the encrypted part's type."""
    names = [der(0x1B, part.encode()) for part in service.split("/")]
    principal = der(0x30, der(0xA0, der_int(2)), der(0xA1, der(0x30, *names)))
    sealed = der(0x30, der(0xA0, der_int(etype)), der(0xA2, der(4, bytes(200))))
    realm = der(0x1B, b"LAB.LOCAL")
    ticket = der(0x61, der(0x30, der(0xA0, der_int(5)), der(0xA1, realm), der(0xA2, principal), der(0xA3, sealed)))
    client = der(0x30, der(0xA0, der_int(1)), der(0xA1, der(0x30, der(0x1B, user.encode()))))
    body = der(0x30, der(0xA0, der_int(5)), der(0xA1, der_int(kind)), der(0xA3, realm), der(0xA4, client), der(0xA5, ticket), der(0xA6, sealed))  # fmt: skip
    return der(0x60 | kind, body)


def _fetch(wire: Wire, service: str, etype: int, at: float, kind: int = 13, user: str = "bob") -> None:
    answer = _ticket(service, etype, kind, user)
    ask = der(0x6C if kind == 13 else 0x6A, der(0x30, der(0xA1, der_int(5)), der(0xA2, der_int(kind - 1))))
    wire.talk(ME, DC, 88, [("c", len(ask).to_bytes(4, "big") + ask), ("s", len(answer).to_bytes(4, "big") + answer)], at=at)  # fmt: skip


@fires(title="SAMR")
def account_listing(wire: Wire) -> None:
    """A listing of all accounts over SAMR, as samrdump and net do."""
    wire.talk(ME, DC, 49_155, rpc_talk(SAMR, (64, 6, 5, 7, 13, *([34, 36, 1] * 12))))


@fires(title="Kerberoasting")
def kerberoasting(wire: Wire) -> None:
    """Tickets with RC4 for eight service accounts within a second."""
    for number in range(8):
        _fetch(wire, f"MSSQLSvc/sql{number}.lab.local", 23, 0.1 * number)


@fires(title="AS-REP")
def asrep_roasting(wire: Wire) -> None:
    """Logons with RC4 answered without pre-authentication for six accounts: their replies can be guessed offline."""
    for number in range(6):
        _fetch(wire, "krbtgt/LAB.LOCAL", 23, 0.1 * number, kind=11, user=f"user{number}")


@fires("high", title="replication")
def foreign_replication(wire: Wire) -> None:
    """A workstation changes replication partners of a domain controller (DCShadow's calls)."""
    wire.talk(ME, DC, 49_155, rpc_talk(DRSUAPI, (0, 12, 5, 6, 1)))


@fires(title="log in to it")
def forced_authentication(wire: Wire) -> None:
    """A client uses the server's pipe, and half a second later the server opens the client's file service."""
    wire.talk(ME, DC, 445, [*smb2_tree(r"\\dc\IPC$", 2), ("c", smb2(9, bytes(60)))], at=0, close="")
    wire.talk(DC, ME, 445, smb2_tree(r"\\10.0.0.66\share"), at=0.5)


@silent()
def logon(wire: Wire) -> None:
    """A logon: AES tickets for a file server, the directory and one web service."""
    for number, service in enumerate(("cifs/fs.lab.local", "ldap/dc.lab.local", "HTTP/intra.lab.local")):
        _fetch(wire, service, 18, 0.1 * number)


@silent()
def permission_dialog(wire: Wire) -> None:
    """A permission dialog resolves two names over SAMR."""
    wire.talk(ME, DC, 49_155, rpc_talk(SAMR, (64, 5, 7, 17, 1)))


@silent()
def file_server(wire: Wire) -> None:
    """Two workstations use a file server, and each other hours apart."""
    for number, client in enumerate(("10.0.0.9", "10.0.0.10")):
        wire.talk(client, "10.0.0.5", 445, smb2_tree(r"\\fs\home"), at=10.0 * number)
    wire.talk("10.0.0.9", "10.0.0.10", 445, smb2_tree(r"\\b\share"), at=100)
    wire.talk("10.0.0.10", "10.0.0.9", 445, smb2_tree(r"\\a\share"), at=4000)


@fires(title="asked 6 hosts who is logged on")
def session_collection(wire: Wire) -> None:
    """BloodHound's collector asks six hosts for their sessions."""
    for number in range(6):
        said = rpc_talk("4b324fc8-1670-01d3-1278-5a47bf6ee188", (12,))
        wire.talk(ME, f"10.0.0.{number + 20}", 49_155, said, at=number)


@fires(title="looked for service accounts")
def weak_accounts(wire: Wire) -> None:
    """A search for accounts without pre-authentication (userAccountControl with 4194304)."""
    match = der(0xA9, der(0x81, b"1.2.840.113556.1.4.803"), der(0x82, b"userAccountControl"), der(0x83, b"4194304"))
    search = der(0x63, der(4, b"dc=lab,dc=local"), der(10, b"\x02"), der(10, b"\0"), der_int(0), der_int(0), der(1, b"\0"), match, der(0x30))  # fmt: skip
    wire.talk(
        ME,
        DC,
        389,
        [("c", der(0x30, der_int(2), search)), ("s", b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\0\x04\0\x04\0")],
    )
