"""One tenant's view of a running platform, over its public HTTP surface only."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from shared.cli.credentials import Client

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

NEWEST = 2**53
"""As ``before`` of a history: the last ones. There are no greater numbers."""

_PAGE = 200
_UNAUTHENTICATED = 401
_PATIENCE = 65  # seconds: a rate limit's window is a minute
_AWAY = 1.0  # seconds between two looks for a platform that is away


class PlatformRefused(Exception):
    """The platform answered, and the answer is no. ``problem`` is its RFC 9457 document, ``body`` what came."""

    def __init__(self, status: int, problem: Json, body: Any = None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.status = status
        self.problem = problem
        self.body = body

    @property
    def passing(self) -> bool:
        """Whether the same request may be taken later: the platform starts, stops or is overloaded (RFC 9110, 15.6)."""
        return self.status in (502, 503, 504)

    @property
    def failed(self) -> bool:
        """Whether the platform failed, whatever was asked of it: who has something to lose asks again."""
        return 500 <= self.status < 600  # beyond are the close codes of sockets


class PlatformUnreachable(Exception):
    """Nobody answered at ``url``; the text says why and what to do."""

    passing = failed = True

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"no answer from {url}: {why}")
        self.url = url


Lost = Callable[[Exception], None]
"""Hears why a platform is away that is waited for."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any
    milliseconds: float


@dataclass
class Platform:
    """
    Asks for a token when the first call needs one. ``transport`` stands in for the network in tests, ``sleep``
    for the time that a rate limit takes.
    """

    client: Client
    transport: "httpx.BaseTransport | None" = None
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    _token: str | None = field(default=None, repr=False)

    @cached_property
    def _http(self) -> "httpx.Client":
        import httpx

        return httpx.Client(
            base_url=self.client.url,
            transport=self.transport,
            timeout=httpx.Timeout(self.timeout, connect=5.0),
            headers={"User-Agent": "chat4all-cli"},
        )

    def close(self) -> None:
        if "_http" in self.__dict__:
            self._http.close()

    def token(self) -> Json:
        """
        A fresh access token for the tenant's client.

        Raises:
            PlatformRefused: the platform does not know the client.
            PlatformUnreachable: nobody answers.
        """
        credentials = {"client_id": self.client.client_id, "client_secret": self.client.client_secret}
        answer: Json = self.call("POST", "/auth/token", credentials, anonymous=True).body
        return answer

    def get(self, path: str, *, act_as: str | None = None, **params: Any) -> Any:
        return self.call("GET", path, act_as=act_as, params=params).body

    def post(self, path: str, body: Any = None, *, act_as: str | None = None) -> Any:
        return self.call("POST", path, body, act_as=act_as).body

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        act_as: str | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        timeout: float | None = None,
    ) -> Answer:
        """
        One request. Parameters that are None are left out; a rate limit is waited for, up to a minute, and a token
        that has ended is replaced.

        Raises:
            PlatformRefused: any answer from 300 on.
            PlatformUnreachable: no answer.
        """
        import httpx

        sent = dict(headers or {})
        if act_as:
            sent["X-Act-As"] = act_as
        given = {name: value for name, value in (params or {}).items() if value is not None}
        limit = httpx.USE_CLIENT_DEFAULT if timeout is None else timeout
        renewed = anonymous
        while True:
            if not anonymous:
                sent["Authorization"] = f"Bearer {self._bearer()}"
            began = time.perf_counter()
            try:
                response = self._http.request(method, path, json=body, params=given, headers=sent, timeout=limit)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise PlatformUnreachable(self.client.url, str(error) or type(error).__name__) from None
            elapsed = (time.perf_counter() - began) * 1000
            content = _content(response)
            if response.is_success:
                return Answer(response.status_code, response.headers, content, elapsed)
            if response.status_code == _UNAUTHENTICATED and not renewed:
                renewed, self._token = True, None  # it may have ended: a token lasts an hour
                continue
            pause = _pause(response)
            if pause is None:
                raise PlatformRefused(response.status_code, _problem(response, content), content)
            print(f"rate limit reached: going on in {pause} s", file=sys.stderr)
            self.sleep(pause)

    def items(self, path: str, *, limit: int, act_as: str | None = None, **params: Any) -> Json:
        """
        Up to ``limit`` items of a list, over as many pages as it takes, in the shape of one page:
        {"items": […], "next_cursor": … or None}.
        """
        items: list[Any] = []
        cursor: str | None = None
        while True:
            size = min(limit - len(items), _PAGE)
            page = self.get(path, act_as=act_as, limit=size, cursor=cursor, **params)
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor or not page["items"] or len(items) >= limit:
                return {"items": items, "next_cursor": cursor}

    def log(
        self, *, after: int | None = None, wait: float = 0, newest: int = _PAGE, lost: Lost | None = None
    ) -> Iterator[Json]:
        """
        Entries {"offset", "event"} of the event log after ``after`` (None: ``newest`` many of the last ones); to
        its end, or for ever when each question may wait so many seconds for an answer. With ``lost`` a platform that
        goes away after its first answer is waited for; ``lost`` hears why, once for each time.
        """
        heard: Lost | None = None  # until somebody has answered: the address may be wrong
        while True:
            limit = newest if after is None else _PAGE
            asked = {"after": after, "limit": limit, "wait": wait or None}
            page = self._patiently("/v1/events", asked, self.timeout + wait, heard)
            heard = lost
            yield from page["items"]
            # Not judged by the items: a page can be full of events that other tenants own.
            position = int(page["next_cursor"] or 0)
            if not wait and position in (0, after):
                return
            after = position

    def _patiently(self, path: str, params: Mapping[str, Any], timeout: float, lost: Lost | None) -> Json:
        told = False
        while True:
            try:
                answer: Json = self.call("GET", path, params=params, timeout=timeout).body
                return answer
            except (PlatformRefused, PlatformUnreachable) as error:
                if lost is None or not error.passing:
                    raise
                if not told:
                    lost(error)
            told = True
            self.sleep(_AWAY)

    def chain(self, *, message_id: str | None = None, trace_id: str | None = None) -> list[Json]:
        """The kept entries of a message or of a trace, oldest first."""
        entries: list[Json] = self.get("/v1/events", message_id=message_id, trace_id=trace_id)["items"]
        return entries

    def _bearer(self) -> str:
        if self._token is None:
            self._token = self.token()["access_token"]
        return self._token


def _pause(response: "httpx.Response") -> int | None:
    """Seconds after which a rate limit lets us go on; None when it is something else, or too long to wait."""
    asked = response.headers.get("Retry-After", "")
    if response.status_code != 429 or not asked.isdigit() or int(asked) > _PATIENCE:
        return None
    return max(int(asked), 1)


def segment(text: str) -> str:
    """
    ``text`` as one segment of a path.

    >>> segment("instagram:@bruno/1")
    'instagram%3A%40bruno%2F1'
    """
    return quote(text, safe="")


def _content(response: "httpx.Response") -> Any:
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        return response.text


def _problem(response: "httpx.Response", content: Any) -> Json:
    if isinstance(content, dict) and ("title" in content or "detail" in content):
        return content
    title = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    text = content if isinstance(content, str) else json.dumps(content) if content is not None else ""
    return {"status": response.status_code, "title": title, "detail": text[:500]}
