"""
Who is there, who is writing, how far it has come: what open sockets are told of other people (A9, A12, A14).
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from shared.testing.live import Caller, Process, eventually, text


class Socket:
    """A user's open socket; ``frames`` are those that came since it was ready."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.frames: list[dict[str, Any]] = []
        self.wait(type="ready")
        self.frames.clear()

    def say(self, **frame: Any) -> None:
        self._connection.send(json.dumps(frame))

    def wait(self, **wanted: Any) -> dict[str, Any]:
        """The first frame that has these fields."""
        deadline = time.monotonic() + 60
        while True:
            found = [frame for frame in self.frames if wanted.items() <= frame.items()]
            if found:
                return found[0]
            self.frames.append(json.loads(self._connection.recv(timeout=max(deadline - time.monotonic(), 0))))

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def sockets(platform: Process) -> Iterator[Callable[[Caller, str], Socket]]:
    with ExitStack() as stack:

        def opened(caller: Caller, user: str) -> Socket:
            headers = {"Authorization": f"Bearer {caller.as_user(user).token}"}
            url = f"{platform.url.replace('http', 'ws', 1)}/ws"
            return Socket(stack.enter_context(connect(url, additional_headers=headers)))

        yield opened


Open = Callable[[Caller, str], Socket]


def status(caller: Caller, user: str) -> str:
    found: str = caller.must("GET", f"/v1/presence/{user}")["status"]
    return found


def test_a_heartbeat_makes_present_and_a_goodbye_ends_it(acme: Caller) -> None:
    assert acme.must("GET", "/v1/presence/ana") == {"user_id": "ana", "status": "offline", "last_seen": None}
    beat = acme.must("POST", "/v1/presence/heartbeat", {"user_id": "ana"})
    assert (beat["user_id"], beat["status"]) == ("ana", "online")
    assert acme.must("GET", "/v1/presence/ana") == beat
    ana = acme.as_user("ana")
    assert ana.must("POST", "/v1/presence/heartbeat", {"status": "away"})["status"] == "away"
    assert ana.must("POST", "/v1/presence/heartbeat", {"device": "laptop"})["status"] == "online"
    assert ana.must("POST", "/v1/presence/heartbeat", {"device": "laptop", "status": "offline"})["status"] == "away"
    gone = acme.acting("ana").must("POST", "/v1/presence/heartbeat", {"status": "offline"})
    assert gone["status"] == "offline"
    assert gone["last_seen"] >= beat["last_seen"]
    assert acme.must("GET", "/v1/presence/ana") == gone


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, 422),
        ({"user_id": "nobody"}, 422),
        ({"user_id": "ana", "status": "asleep"}, 422),
        ({"user_id": "ana", "device": ""}, 422),
        ({"user_id": "ana", "since": 1}, 422),
        ({"user_id": 7}, 422),
    ],
)
def test_a_heartbeat_of_nobody_or_of_no_known_kind_is_refused(acme: Caller, body: Any, expected: int) -> None:
    answer = acme("POST", "/v1/presence/heartbeat", body)
    assert (answer.status_code, answer.headers["content-type"]) == (expected, "application/problem+json")


def test_presence_is_for_those_who_share_a_conversation(acme: Caller, new_tenant: Callable[[], Caller]) -> None:
    acme.conversation("ana", "bruno")
    acme.must("POST", "/v1/presence/heartbeat", {"user_id": "ana"})
    assert status(acme.as_user("bruno"), "ana") == "online"
    assert status(acme.as_user("ana"), "ana") == "online"
    assert status(acme.acting("bruno"), "ana") == "online"
    for stranger in (acme.as_user("clara"), acme.acting("clara"), new_tenant()):
        assert stranger("GET", "/v1/presence/ana").status_code == 404
    acme.conversation("ana", "clara", "bruno")
    assert status(acme.as_user("clara"), "ana") == "online"
    assert acme("GET", "/v1/presence/nobody").status_code == 404
    assert acme.as_user("bruno")("POST", "/v1/presence/heartbeat", {"user_id": "ana"}).status_code == 403


def test_who_opens_a_socket_is_there_and_is_told_to_those_who_share_a_conversation(acme: Caller, sockets: Open) -> None:
    acme.conversation("ana", "bruno")
    acme.conversation("ana", "bruno", type="group")
    bruno, clara = sockets(acme, "bruno"), sockets(acme, "clara")
    ana = sockets(acme, "ana")
    assert bruno.wait(type="presence")["status"] == "online"
    eventually(lambda: status(acme, "ana") == "online")
    second = sockets(acme, "ana")
    second.close()
    ana.close()
    acme.must("POST", "/v1/presence/heartbeat", {"user_id": "clara", "status": "away"})
    acme.send(acme.conversation("bruno", "clara"), "clara", "the last frame")
    for socket in (bruno, clara):
        socket.wait(type="message")
    told = [frame for frame in bruno.frames if frame["type"] == "presence" and frame["user_id"] == "ana"]
    assert [frame["status"] for frame in told] == ["online"], "once, however many conversations and sockets"
    assert not [frame for frame in clara.frames if frame.get("user_id") == "ana"]
    assert status(acme, "ana") == "online", "for 30 s more"


def test_who_falls_silent_is_offline_after_thirty_seconds(acme: Caller, sockets: Open) -> None:
    acme.conversation("ana", "bruno")
    bruno = sockets(acme, "bruno")
    beat = acme.must("POST", "/v1/presence/heartbeat", {"user_id": "ana"})
    bruno.wait(type="presence", user_id="ana", status="online")
    began = time.monotonic()
    told = bruno.wait(type="presence", user_id="ana", status="offline")
    assert 25 < time.monotonic() - began < 50
    assert told["last_seen"] == beat["last_seen"]
    assert acme.must("GET", "/v1/presence/ana") == {
        "user_id": "ana",
        "status": "offline",
        "last_seen": beat["last_seen"],
    }


def test_typing_is_shown_to_the_others_in_the_conversation(acme: Caller, sockets: Open) -> None:
    talk = acme.conversation("ana", "bruno")
    ana, bruno, clara = (sockets(acme, user) for user in ("ana", "bruno", "clara"))
    for _ in range(3):
        ana.say(type="typing", conversation_id=talk)
    shown = bruno.wait(type="typing")
    assert set(shown) == {"type", "conversation_id", "user_id", "until"}
    assert (shown["conversation_id"], shown["user_id"]) == (talk, "ana")
    assert acme.acting("bruno")("POST", f"/v1/conversations/{talk}/typing").status_code == 202
    assert ana.wait(type="typing", user_id="bruno")
    for stranger in ("clara", "nobody"):
        assert acme.acting(stranger)("POST", f"/v1/conversations/{talk}/typing").status_code == 404
    clara.say(type="typing", conversation_id=talk)
    assert clara.wait(type="error")["code"] == "not-found"
    acme.send(talk, "ana", "done")
    bruno.wait(type="message")
    assert [frame["user_id"] for frame in bruno.frames if frame["type"] == "typing"].count("ana") == 1
    assert {frame["type"] for frame in clara.frames} <= {"error", "presence"}


def test_the_sender_sees_how_far_a_message_has_come_and_others_are_not_told(acme: Caller, sockets: Open) -> None:
    group = acme.conversation("ana", "bruno", "clara")
    ana, bruno, clara = (sockets(acme, user) for user in ("ana", "bruno", "clara"))
    sent = acme.send(group, "ana")
    message = bruno.wait(type="message", message_id=sent["message_id"])
    bruno.say(type="ack", conversation_id=group, seq=message["seq"])
    delivered = ana.wait(type="receipt", status="DELIVERED", recipient="bruno")
    assert delivered | {"at": ""} == {
        "type": "receipt",
        "conversation_id": group,
        "recipient": "bruno",
        "channel": "chat4all",
        "status": "DELIVERED",
        "from_seq": 1,
        "to_seq": 1,
        "at": "",
    }
    bruno.say(type="read", conversation_id=group, seq=message["seq"])
    ana.wait(type="receipt", status="READ", recipient="bruno")
    assert bruno.wait(type="receipt", status="READ"), "so that bruno's other devices know"
    acme.send(group, "bruno", "the last frame")
    clara.wait(type="message", **{"from": "bruno"})
    assert "receipt" not in {frame["type"] for frame in clara.frames}


def test_conversations_that_one_is_taken_into_come_by_themselves(acme: Caller, sockets: Open) -> None:
    ana, clara = sockets(acme, "ana"), sockets(acme, "clara")
    group = acme.conversation("ana", "bruno", type="group")
    made = ana.wait(type="conversation", action="created")
    assert (made["conversation_id"], made["conversation_type"]) == (group, "group")
    assert made["members"] == ["ana", "bruno"]
    acme.acting("ana").must("POST", f"/v1/conversations/{group}/members", {"user_id": "clara"})
    for socket in (ana, clara):
        added = socket.wait(type="conversation", action="added")
        assert (added["user_id"], added["by"]) == ("clara", "ana")
    said = acme.must("POST", "/v1/messages", {"conversation_id": group, "from": "bruno", "payload": text("hi clara")})
    assert clara.wait(type="message", message_id=said["message_id"])
    acme.acting("ana").must("DELETE", f"/v1/conversations/{group}/members/clara")
    assert clara.wait(type="conversation", action="removed")
    acme.send(group, "bruno", "behind clara's back")
    acme.send(acme.conversation("bruno", "clara"), "bruno", "the last frame")
    clara.wait(type="message", conversation_id=acme.conversation("bruno", "clara"))
    texts = [frame["payload"].get("text", "") for frame in clara.frames if frame["type"] == "message"]
    assert not [one for one in texts if one.startswith("behind")]
