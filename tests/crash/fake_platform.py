"""
A platform small enough to be plainly right, or plainly wrong in one way: the negative test of the checker.

It keeps its promises by appending to a file before it answers. ``--fault`` breaks one of them now and then.
"""

import argparse
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn

FAULTS = ("none", "lose", "double", "gap", "reorder", "alter", "leak", "forget", "retry", "regress")
EVERY = 23


@dataclass
class FakePlatform:
    journal: Path
    fault: str = "none"
    lines: list[dict[str, Any]] = field(default_factory=list)
    rooms: dict[str, dict[str, Any]] = field(default_factory=dict)
    timelines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ids: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    read: dict[tuple[str, str], int] = field(default_factory=dict)
    posts: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        if self.journal.exists():
            for line in self.journal.read_text().splitlines():
                self.apply(json.loads(line))
        self.file = self.journal.open("a")

    def keep(self, fact: dict[str, Any], *, durable: bool = True) -> None:
        if durable:
            self.file.write(json.dumps(fact) + "\n")
            self.file.flush()
        self.apply(fact)

    def apply(self, fact: dict[str, Any]) -> None:
        match fact["kind"]:
            case "room":
                self.rooms[self.place(fact)] = fact
                self.timelines[self.place(fact)] = []
            case "message":
                self.timelines[self.place(fact)].append(fact)
                self.ids[fact["tenant"], fact["message_id"]] = fact
            case "read":
                key = self.place(fact), fact["user"]
                self.read[key] = max(self.read.get(key, 0), fact["seq"])

    @staticmethod
    def place(fact: dict[str, Any]) -> str:
        return f"{fact['tenant']} {fact['conversation_id']}"

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: dict[str, str], body: Any) -> Any:
        tenant = headers.get("authorization", "Bearer ").removeprefix("Bearer ")
        match method, path.strip("/").split("/"):
            case "GET", ["health", "ready"]:
                return 200, {}
            case "POST", ["auth", "token"]:
                return 200, {"access_token": body["client_id"]}
            case "POST", ["v1", "users"]:
                return 201, body
            case "POST", ["v1", "users", _, "tokens"]:
                return 201, {"access_token": tenant}
            case "POST", ["v1", "conversations"]:
                room_id = body.get("conversation_id") or str(
                    uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}{len(self.rooms)}")
                )
                room = {**body, "kind": "room", "tenant": tenant, "conversation_id": room_id}
                self.keep(room)
                return 201, room
            case "POST", ["v1", "messages"]:
                return self.send(tenant, body)
            case "GET", ["v1", "parked"]:
                return 200, {"items": [], "next_cursor": None}
            case "GET", ["v1", "messages", message_id]:
                return self.status(tenant, message_id)
            case "GET", ["v1", "conversations", room_id, "messages"]:
                return self.history(tenant, room_id, int(query["since"][0]), int(query["limit"][0]))
            case "PUT", ["v1", "conversations", room_id, "read"]:
                self.keep(
                    {
                        "kind": "read",
                        "tenant": tenant,
                        "conversation_id": room_id,
                        "user": headers["x-act-as"],
                        "seq": body["seq"],
                    }
                )
                return 202, {}
        return 404, {}

    def send(self, tenant: str, body: dict[str, Any]) -> Any:
        known = self.ids.get((tenant, body["message_id"]))
        self.posts += 1
        broken = self.posts % EVERY == 0
        if known is not None and not (self.fault == "double" and broken):
            if known["payload"] != body["payload"] and self.fault != "retry":
                return 409, {}
            return 202, {"seq": known["seq"]}
        timeline = self.timelines[f"{tenant} {body['conversation_id']}"]
        seq = len(timeline) + 1
        if self.fault == "gap":
            seq += sum(1 for one in timeline if one["message_id"][0] == "0") + (body["message_id"][0] == "0")
        message = {"kind": "message", "tenant": tenant, "seq": seq, **body}
        if self.fault == "lose" and broken:
            return 202, {"seq": seq}
        if self.fault == "alter" and broken:
            message["payload"] = {"type": "text", "text": "something else"}
        if self.fault == "double" and broken:
            self.keep(message)
            message = {**message, "seq": seq + 1}
        if self.fault == "reorder" and broken and len(timeline) > 2:
            timeline.insert(-2, message)
            for number, one in enumerate(timeline, 1):
                one["seq"] = number
            self.ids[tenant, body["message_id"]] = message
            return 202, {"seq": message["seq"]}
        self.keep(message, durable=self.fault != "forget")
        return 202, {"seq": seq}

    def history(self, tenant: str, room_id: str, since: int, limit: int) -> Any:
        place = f"{tenant} {room_id}"
        if place not in self.rooms and self.fault == "leak":
            place = next((other for other in self.rooms if other.endswith(f" {room_id}")), place)
        if place not in self.rooms:
            return 404, {}
        timeline = [one for one in self.timelines[place] if one["seq"] > since]
        return 200, {"items": timeline[:limit], "next_cursor": None}

    def status(self, tenant: str, message_id: str) -> Any:
        message = self.ids.get((tenant, message_id))
        if message is None:
            return 404, {}
        self.asked += 1
        deliveries = []
        for user in self.rooms[self.place(message)]["members"]:
            if user != message["from"]:
                read = self.read.get((self.place(message), user), 0) >= message["seq"]
                back = self.fault == "regress" and self.asked % 2
                deliveries.append(
                    {"recipient": user, "channel": "chat4all", "status": "READ" if read and not back else "SENT"}
                )
        return 200, {**message, "deliveries": deliveries}

    async def hold(self, receive: Any, send: Any) -> None:
        """A socket that is told nothing but that it is open, until its end."""
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": '{"type":"ready"}'})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self.hold(receive, send)
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, answer = self.answer(
            scope["method"], scope["path"], parse_qs(scope["query_string"].decode()), headers, json.loads(body or b"{}")
        )
        content = json.dumps(answer).encode()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-length", str(len(content)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--fault", choices=FAULTS, default="none")
    arguments = parser.parse_args()
    uvicorn.run(
        FakePlatform(arguments.journal, arguments.fault), port=arguments.port, log_level="warning", lifespan="off"
    )
