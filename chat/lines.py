"""Events and messages as lines that people read; the same words in the line client and on the full screen.

In: events, whose strings `chat.events` made safe. Out: text, one line an event (a message may have several). Nothing is drawn.
"""

import time

from chat import events
from chat.events import Message


def room_title(room: str, me: str) -> str:
    """A room as people call it: a direct conversation by the other's name."""
    if not room.startswith("@"):
        return room
    return "@" + next((name for name in room[1:].split("+") if name != me), me)


def event_line(event: events.Event, me: str) -> str:
    """An event as people read it; empty for what is not worth a line."""
    room = room_title(getattr(event, "room", ""), me)
    match event:
        case events.Message():
            return f"{time.strftime('%H:%M', time.localtime(event.time))} {room} {line_of(event)}"
        case events.Joined():
            topic = f": {event.topic}" if event.topic else ""
            return (
                ""
                if event.again
                else f"* you are in {room} with {event.members} {'person' if event.members == 1 else 'people'}{topic}"
            )
        case events.Left():
            return f"* you left {room} ({event.reason}{': ' + event.text if event.text else ''})"
        case events.Members():
            names = " ".join(one.name if one.role == "member" else f"{one.name}({one.role})" for one in event.people)
            return f"* {room}: {names or f'{event.count} people'}"
        case events.Presence():
            came = [one.name for one in event.joined if one.name != me]
            lines = [f"* {name} came into {room}" for name in came] + [f"* {name} left {room}" for name in event.left]
            return "\n".join(lines)
        case events.FileOffered():
            return f"* {event.sender} is sending {event.file.name} ({size_text(event.file.size_bytes)}) to {room}; /get"
        case events.Gap():
            return f"* {room}: messages {event.first} to {event.last} are gone ({event.reason})"
        case events.Notice():
            return f"* {notice_text(event)}"
        case events.Failure():
            return f"! {event.code}: {event.text}"
        case events.Connected():
            return f"* {'connected again' if event.again else 'connected'} to {event.server} as {event.account}"
        case events.Disconnected():
            when = "" if event.retry_s is None else f", trying again in {event.retry_s:.1f} s"
            return f"* connection lost: {event.reason}{when}"


def notice_text(event: events.Notice) -> str:
    """What the system says, as a sentence: who did what to whom, and why."""
    why = f": {event.text}" if event.text else ""
    where = f" in {event.room}" if event.room else ""
    match event.kind:
        case "topic":
            return f"{event.actor} set the topic of {event.room}{why}"
        case "role":
            return f"{event.actor} made {event.target} {event.text}{where}"
        case "kick" | "ban" | "mute":
            done = {"kick": "put out", "ban": "banned", "mute": "muted or unmuted"}[event.kind]
            return f"{event.target} was {done}{where} by {event.actor}{why}"
    return event.text + (f" ({event.actor}{where})" if event.actor and event.kind == "room" else "")


def size_text(size: int) -> str:
    """Bytes for people: 17 B, 4.2 KiB, 1.0 GiB."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def line_of(message: Message) -> str:
    """A message in one line for people: sender and what it says."""
    if message.deletes:
        return f"{message.sender} took message {message.deletes} back"
    if message.deleted:
        return f"<{message.sender}> (taken back)"
    if message.file:
        return f"{message.sender} sent {message.file.name} ({size_text(message.file.size_bytes)})"
    mark = f" (edit of {message.edits})" if message.edits else " (edited)" if message.edited else ""
    return f"<{message.sender}> {message.text}{mark}"
