"""Webhooks from a simulated provider: signed, in any order, repeated until the receiver takes them."""

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from typing import Any

import httpx

FIRST_PAUSE = 0.2  # seconds; doubles
LONGEST_PAUSE = 10.0
GIVE_UP_AFTER = 7 * 24 * 3600.0  # seconds, as WhatsApp does (channels.md 2.4)
MOST_PENDING = 100_000
AT_ONCE = 32


class Callbacks:
    """
    POSTs JSON to ``url`` with ``X-Hub-Signature-256`` over the body's bytes.

    Anything but a 2xx is repeated with growing pauses, so a receiver that was killed misses nothing; what is
    pending lives in memory and ends with ``aclose``. With no ``url`` nothing is posted.
    """

    def __init__(self, url: str | None, app_secret: str, http: httpx.AsyncClient | None = None) -> None:
        self.url = url
        self.answered = 0
        self.refused = 0
        self._secret = app_secret.encode()
        self._given = http
        self._own: httpx.AsyncClient | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        return self.pending >= MOST_PENDING

    def post(self, body: Mapping[str, Any], after: float = 0.0) -> None:
        """Post ``body`` in ``after`` seconds, and again until it is taken."""
        if self.url is None:
            return
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        task = asyncio.get_running_loop().create_task(self._until_taken(self.url, raw, after))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def subscribe(self, verify_token: str) -> bool:
        """Whether the receiver answers the challenge, as Meta asks when somebody sets up a webhook."""
        if self.url is None:
            return False
        challenge = str(random.randrange(10**9))
        query = {"hub.mode": "subscribe", "hub.verify_token": verify_token, "hub.challenge": challenge}
        try:
            answer = await self._http().get(self.url, params=query, timeout=5.0)
        except httpx.RequestError:
            return False
        return answer.status_code == 200 and answer.text == challenge

    async def drain(self) -> None:
        """Wait until nothing is pending."""
        while self._pending:
            await asyncio.wait(set(self._pending))

    async def aclose(self) -> None:
        pending = set(self._pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if self._own is not None:
            await self._own.aclose()

    async def _until_taken(self, url: str, raw: bytes, after: float) -> None:
        signed = "sha256=" + hmac.new(self._secret, raw, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature-256": signed}
        await asyncio.sleep(after)
        waited, pause = 0.0, FIRST_PAUSE
        while waited < GIVE_UP_AFTER:
            async with self._slots:
                if await self._taken(url, raw, headers):
                    self.answered += 1
                    return
            self.refused += 1
            wait = pause * random.uniform(0.8, 1.2)
            await asyncio.sleep(wait)
            waited, pause = waited + wait, min(2 * pause, LONGEST_PAUSE)

    async def _taken(self, url: str, raw: bytes, headers: dict[str, str]) -> bool:
        try:
            answer = await self._http().post(url, content=raw, headers=headers, timeout=20.0)
        except httpx.RequestError:
            return False
        return answer.is_success

    def _http(self) -> httpx.AsyncClient:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = httpx.AsyncClient(limits=httpx.Limits(max_connections=AT_ONCE))
        return self._own
