"""Webhooks from a simulated provider: signed, in any order, repeated until the receiver takes them."""

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from heapq import heappop, heappush
from typing import Any

import httpx

FIRST_PAUSE = 0.2  # seconds; doubles
LONGEST_PAUSE = 10.0
GIVE_UP_AFTER = 7 * 24 * 3600.0  # seconds, as WhatsApp does (channels.md 2.4)
MOST_PENDING = 100_000
AT_ONCE = 32
GATHER = 0.02  # seconds; what is due by then goes in one webhook, as Meta does
MOST_ENTRIES = 100


class Callbacks:
    """
    POSTs Meta's ``{"object", "entry": [...]}`` to ``url``, with ``X-Hub-Signature-256`` over the body's bytes.

    Anything but a 2xx is repeated with growing pauses, so a receiver that was killed misses nothing; what is
    pending lives in memory and ends with ``aclose``. With no ``url`` nothing is posted.
    """

    def __init__(self, kind: str, url: str | None, app_secret: str, http: httpx.AsyncClient | None = None) -> None:
        """``kind`` is the webhook's ``object``."""
        self.url = url
        self.answered = 0
        self.refused = 0
        self.blank = 0
        """Of those answered: without a word, as proxies do in the place of a receiver that says something."""
        self._kind = kind
        self._secret = app_secret.encode()
        self._given = http
        self._own: httpx.AsyncClient | None = None
        self._due: list[tuple[float, int, bool, str]] = []  # a heap of (when, n, alone, entry)
        self._count = 0
        self._posting = 0
        self.pending_alone = 0
        """Of those pending."""
        self._pump: asyncio.Task[None] | None = None
        self._earlier = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def pending(self) -> int:
        """Entries that the receiver has not taken yet."""
        return len(self._due) + self._posting

    @property
    def full(self) -> bool:
        return self.pending >= MOST_PENDING

    def post(self, entry: Mapping[str, Any], after: float = 0.0, *, alone: bool = False) -> None:
        """
        Post ``entry`` in ``after`` seconds, and again until it is taken.

        ``alone`` keeps it out of others' webhooks: a receiver that refuses it refuses nothing else.
        """
        if self.url is None:
            return
        self._count += 1
        self.pending_alone += alone
        when = asyncio.get_running_loop().time() + after
        raw = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        heappush(self._due, (when, self._count, alone, raw))
        if self._pump is None or self._pump.done():
            self._pump = self._owned(self._post_what_is_due(self.url))
        elif self._due[0][1] == self._count:
            self._earlier.set()

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
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def aclose(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._due.clear()
        self._posting = self.pending_alone = 0  # a task that was cancelled before it began has not said so
        if self._own is not None:
            await self._own.aclose()

    def _owned(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _post_what_is_due(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            wait = self._due[0][0] - loop.time()
            if wait > 0:
                self._earlier.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._earlier.wait(), wait)
                continue
            await asyncio.sleep(GATHER)
            while self._due and self._due[0][0] <= loop.time():
                self._owned(self._until_taken(url, *self._webhook(loop.time())))

    def _webhook(self, now: float) -> tuple[list[str], bool]:
        """
        The entries of one webhook, and whether it is of one that is alone. The same entry twice is two webhooks, which
        is how providers repeat.
        """
        entries: list[str] = []
        of_one = False
        while self._due and self._due[0][0] <= now and len(entries) < MOST_ENTRIES and not of_one:
            _, _, alone, raw = self._due[0]
            if entries and (alone or raw in entries):
                break
            heappop(self._due)
            entries.append(raw)
            of_one = alone
        self._posting += len(entries)
        return entries, of_one

    async def _until_taken(self, url: str, entries: list[str], alone: bool) -> None:
        try:
            raw = f'{{"object":"{self._kind}","entry":[{",".join(entries)}]}}'.encode()
            signed = "sha256=" + hmac.new(self._secret, raw, hashlib.sha256).hexdigest()
            headers = {"content-type": "application/json", "x-hub-signature-256": signed}
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
        finally:
            self._posting -= len(entries)
            self.pending_alone -= alone

    async def _taken(self, url: str, raw: bytes, headers: dict[str, str]) -> bool:
        try:
            answer = await self._http().post(url, content=raw, headers=headers, timeout=20.0)
        except httpx.RequestError:
            return False
        self.blank += answer.is_success and not answer.content
        return answer.is_success

    def _http(self) -> httpx.AsyncClient:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = httpx.AsyncClient(limits=httpx.Limits(max_connections=AT_ONCE))
        return self._own
