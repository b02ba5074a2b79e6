"""The channel to start from keeps the contract, or it would teach the wrong thing: C4, G6."""

import hashlib
import hmac
import json

import httpx

from shared.channels.skeleton import Skeleton
from shared.ports.channel import WebhookRequest
from shared.testing.contracts.channel import ChannelContract


class TestContract(ChannelContract):
    channel_type = Skeleton
    config = {"account_id": "a1", "token": "t0ken", "webhook_secret": "s3cret"}
    address = "4401"
    taken = httpx.Response(200, json={"id": "m1"})
    webhook = json.dumps(
        {
            "events": [
                {"id": "in1", "at": 1763690000, "sender": "4401", "text": "Oi"},
                {"id": "m1", "at": 1763690001, "status": "read", "reference": "dlv-1"},
            ]
        }
    ).encode()

    def signed(self, body: bytes) -> WebhookRequest:
        signature = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        return WebhookRequest("POST", {"x-signature": signature}, {}, body)
