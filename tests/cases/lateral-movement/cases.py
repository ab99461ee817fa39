"""Scenes of programs started on other machines, and of file sharing."""

from cases import fires, silent
from payloads import PROGRAM, rpc_bind, rpc_bound, rpc_call, rpc_talk, smb2_create, smb2_tree, smb2_write
from traffic import Wire

ME, TARGET = "10.0.0.66", "10.0.0.5"
SVCCTL = "367abb81-9844-35f1-ad32-98f038001003"
TASKS = "86d35949-83c9-4044-b424-db363231fd0c"
WMI = "9556dc99-828c-11cf-a37e-00aa003240c7"
WINREG = "338cd001-2244-31f1-aaaa-900038001003"
DISPATCH = "00020400-0000-0000-c000-000000000046"


@fires("high", title="after writing a program")
def psexec(wire: Wire) -> None:
    """PsExec's way: a program to ADMIN$, then a service created and started over the pipe svcctl."""
    said = [*smb2_tree(r"\\srv\ADMIN$"), *smb2_create("PSEXESVC.exe"), *smb2_write(PROGRAM)]
    said += [
        *smb2_tree(r"\\srv\IPC$", 2),
        *smb2_create("svcctl"),
        *smb2_write(rpc_bind(SVCCTL)),
        ("s", rpc_bound()[:0]),
    ]
    said += [*smb2_write(rpc_call(15)), *smb2_write(rpc_call(12)), *smb2_write(rpc_call(19))]
    wire.talk(ME, TARGET, 445, said)


@fires(title="scheduled task")
def task(wire: Wire) -> None:
    """A task is registered and run by RPC (atexec, schtasks /s)."""
    wire.talk(ME, TARGET, 49_154, rpc_talk(TASKS, (1, 12, 13)))


@fires(title="WMI")
def wmi(wire: Wire) -> None:
    """A process is created by WMI (wmic process call create)."""
    wire.talk(ME, TARGET, 49_154, rpc_talk(WMI, (6, 24)))


@fires(title="object")
def dcom(wire: Wire) -> None:
    """An object of another machine is driven by DCOM (dcomexec, MMC20.Application): IDispatch calls."""
    wire.talk(ME, TARGET, 49_154, rpc_talk(DISPATCH, (5, 6, 5, 6)))


@fires(title="registry")
def registry(wire: Wire) -> None:
    """The remote registry is opened and a hive saved (secretsdump, reg save)."""
    wire.talk(ME, TARGET, 49_154, rpc_talk(WINREG, (2, 15, 20)))


@fires(title="lsass.dmp")
def stolen_memory(wire: Wire) -> None:
    """A dump of the login process is fetched from an administrative share."""
    wire.talk(ME, TARGET, 445, [*smb2_tree(r"\\srv\C$"), *smb2_create(r"Windows\Temp\lsass.dmp")])


@fires(title="remote sessions")
def desktop_fan_out(wire: Wire) -> None:
    """One workstation opens remote desktops of twelve others."""
    for number in range(12):
        said = [("c", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"), ("s", b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x02\0\x08\0\x02\0\0\0")]  # fmt: skip
        wire.talk(ME, f"10.0.0.{number + 100}", 3389, [*said, ("c", wire.noise(900)), ("s", wire.noise(2000))], at=20.0 * number)  # fmt: skip


@silent()
def file_server(wire: Wire) -> None:
    """Documents on a share of a file server."""
    said = [*smb2_tree(r"\\fs\home"), *smb2_create(r"docs\report.docx"), *smb2_write(b"PK\x03\x04" + bytes(900))]
    wire.talk("10.0.0.9", TARGET, 445, said)


@silent()
def printing(wire: Wire) -> None:
    """A document is printed over a Windows print server."""
    wire.talk("10.0.0.9", TARGET, 49_160, rpc_talk("12345678-1234-abcd-ef00-0123456789ab", (69, 17, 18, 19, 20, 23, 29)))  # fmt: skip


@silent()
def service_list(wire: Wire) -> None:
    """An inventory tool lists services and asks for their state; it starts none."""
    wire.talk("10.0.0.9", TARGET, 49_154, rpc_talk(SVCCTL, (15, 14, 16, 6, 0)))


@silent()
def one_desktop(wire: Wire) -> None:
    """One remote desktop session."""
    said = [("c", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"), ("s", b"\x03\0\0\x13\x0e\xd0\0\0\0\0\0\x02\0\x08\0\x02\0\0\0")]  # fmt: skip
    wire.talk("10.0.0.9", TARGET, 3389, [*said, ("c", wire.noise(9000)), ("s", wire.noise(90_000))])


@fires(title="WinRM")
def winrm(wire: Wire) -> None:
    """Commands over WinRM, encrypted inside HTTP."""
    from payloads import request, response

    head = 'Content-Type: multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted"\r\n'
    ask = request("/wsman", host=f"{TARGET}:5985", method="POST", agent="Microsoft WinRM Client", headers=head, body=b"--Encrypted Boundary" * 9)  # fmt: skip
    wire.talk(ME, TARGET, 5985, [("c", ask), ("s", response(200, b"x" * 300))] * 6)


@silent()
def events_forwarded(wire: Wire) -> None:
    """Windows forwards its events to a collector over WinRM's port: subscriptions and events, no commands."""
    from payloads import request, response

    ask = request(
        "/wsman/SubscriptionManager/WEC", method="POST", agent="Microsoft WinRM Client", body=b"<s:Envelope/>"
    )
    wire.talk(ME, TARGET, 5985, [("c", ask), ("s", response(200, b"x" * 300))] * 6)
