"""What became of a file is told: to its owner's open sockets, and to the webhooks that ask for it (B4, D2)."""

import hashlib
import json
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from shared.testing.live import CANARY, Caller, eventually
from shared.testing.receiver import Receiver

CONTENT = b"relatorio " * 400


def upload(caller: Caller, talk: str, checksum: str) -> dict[str, Any]:
    asked = {"filename": f"{CANARY}.txt", "content_type": "text/plain", "size": len(CONTENT), "conversation_id": talk}
    begun: dict[str, Any] = caller.must("POST", "/v1/files/initiate", asked)
    assert httpx.put(begun["upload_url"], content=CONTENT).is_success
    caller("POST", f"/v1/files/{begun['file_id']}/complete", {"checksum": checksum})
    return begun


@pytest.mark.parametrize(
    ("checksum", "fact", "more"),
    [
        (hashlib.sha256(CONTENT).hexdigest(), "ready", {}),
        ("0" * 64, "rejected", {"reason": "checksum_mismatch"}),
    ],
)
def test_the_owner_and_the_webhooks_hear_what_the_verification_found(
    acme: Caller, checksum: str, fact: str, more: dict[str, str]
) -> None:
    talk, ana = acme.conversation("ana", "bruno"), acme.as_user("ana")
    with Receiver() as receiver:
        acme.must("POST", "/v1/webhooks", {"url": receiver.url(), "events": ["file.*"]})
        url = str(acme.http.base_url).replace("http", "ws", 1) + "/ws"
        with connect(url, additional_headers=dict(ana.headers)) as socket:
            while json.loads(socket.recv(timeout=20))["type"] != "ready":
                pass
            begun = upload(ana, talk, checksum)
            while (frame := json.loads(socket.recv(timeout=20)))["type"] != "file":
                pass
        told = {"file_id": begun["file_id"], "conversation_id": talk, "upload_status": fact, **more}
        assert told.items() <= frame.items()
        (heard,) = eventually(lambda: receiver.of(f"file.{fact}"))
        assert heard.document["data"]["file_id"] == begun["file_id"]
