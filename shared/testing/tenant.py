"""One tenant's client on the wire (api.md): what campaigns and benchmarks need of it, and no more."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from shared.testing.history import Item
from shared.testing.http1 import Answer, Client, request

PAGE = 200
"""The most that the platform gives at once."""


class Refused(Exception):
    """A call that the run cannot do without was not answered as it must be."""


@dataclass(slots=True)
class Tenant:
    """``login`` first. ``name`` is also what the tenant's texts carry (canary)."""

    client: Client
    name: str
    client_id: str
    client_secret: str
    token: str = ""

    async def login(self) -> None:
        """
        Raises:
            Refused: no token was given.
        """
        answer = await self.client.call(
            "POST", "/auth/token", {"client_id": self.client_id, "client_secret": self.client_secret}
        )
        if answer.status != 200:
            raise Refused(f"POST /auth/token: {answer.status} {answer.body[:300]!r}")
        self.token = answer.json()["access_token"]

    def request(self, method: str, path: str, content: bytes = b"", *, act_as: str | None = None) -> bytes:
        headers = {"authorization": f"Bearer {self.token}"}
        if act_as is not None:
            headers["x-act-as"] = act_as
        return request(method, path, content, host=f"{self.client.host}:{self.client.port}", headers=headers)

    async def call(self, method: str, path: str, body: Any = None, *, act_as: str | None = None) -> Answer:
        headers = {"authorization": f"Bearer {self.token}"}
        if act_as is not None:
            headers["x-act-as"] = act_as
        return await self.client.call(method, path, body, headers=headers)

    async def must(self, method: str, path: str, body: Any = None, *, act_as: str | None = None) -> Any:
        """
        Raises:
            Refused: the answer is not a 2xx.
        """
        answer = await self.call(method, path, body, act_as=act_as)
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return answer.json() if answer.body else None

    async def add_users(self, user_ids: Sequence[str]) -> None:
        for some in _slices(user_ids, 16):
            await asyncio.gather(*(self.must("POST", "/v1/users", {"user_id": user}) for user in some))

    async def create_conversation(self, members: Sequence[str], *, conversation_id: str | None = None) -> str:
        body: dict[str, Any] = {"type": "private" if len(members) == 2 else "group", "members": list(members)}
        if conversation_id is not None:
            body["conversation_id"] = conversation_id
        created: str = (await self.must("POST", "/v1/conversations", body))["conversation_id"]
        return created

    def sending(
        self,
        *,
        message_id: str,
        conversation: str,
        sender: str,
        text: str,
        to: Sequence[str] = (),
        channels: Sequence[str] = (),
    ) -> bytes:
        """The whole request that sends a text."""
        message: dict[str, Any] = {
            "message_id": message_id,
            "conversation_id": conversation,
            "from": sender,
            "payload": {"type": "text", "text": text},
        }
        if to:
            message["to"] = to
        if channels:
            message["channels"] = channels
        return self.request("POST", "/v1/messages", orjson.dumps(message))

    async def page(
        self, conversation: str, reader: str, *, since: int, limit: int = PAGE
    ) -> tuple[int, tuple[Item, ...]]:
        """The status of the answer, and the messages after ``since``."""
        answer = await self.call(
            "GET",
            f"/v1/conversations/{quote(conversation)}/messages?since={since}&limit={limit}",
            act_as=reader,
        )
        return answer.status, items(answer) if answer.status == 200 else ()


def items(answer: Answer) -> tuple[Item, ...]:
    """A page of history; payloads without a text have None."""
    return tuple(
        Item(
            seq=one["seq"],
            message_id=one["message_id"],
            sender=one.get("from") or "",
            text=one["payload"].get("text"),
        )
        for one in answer.json()["items"]
    )


def _slices(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[at : at + size] for at in range(0, len(values), size)]
