"""The EventSink of a function on Knative: it POSTs binary CloudEvents to the broker's ingress (K_SINK)."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from events import CloudEvent, Event
from shared.domain.errors import Refused, TooLarge, Unavailable
from shared.ports.event_sink import LARGEST_EVENT

Headers = list[tuple[bytes, bytes]]

_REFUSALS: Mapping[int, type[Refused]] = {400: Refused, 413: TooLarge}


class _Answer(NamedTuple):
    """status: 0 when none came; why: for people, "" when the event was taken."""

    status: int
    why: str


class HttpEventSink:
    """``client`` follows no redirects; one that gives up before the broker does may have its event taken after all."""

    def __init__(self, address: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._client = client

    async def emit(self, *events: Event[Any]) -> None:
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *events: CloudEvent) -> None:
        """
        All at once: the broker's ingress takes no batch.

        Raises:
            Unavailable: the broker did not answer 2xx to each; append all again.
            TooLarge: an event is above 1 MiB.
            Refused: the broker answered 400 to one.
        """
        wires = [event.to_binary() for event in events]
        if any(_size(headers, body) > LARGEST_EVENT for headers, body in wires):  # Kafka's broker would answer 503
            raise TooLarge(f"an event is larger than {LARGEST_EVENT} bytes")
        async with asyncio.TaskGroup() as group:
            posts = [group.create_task(self._post(headers, body)) for headers, body in wires]
        failed = [answer for answer in (post.result() for post in posts) if answer.why]
        refusals = [_REFUSALS[answer.status] for answer in failed if answer.status in _REFUSALS]
        away = [answer for answer in failed if answer.status not in _REFUSALS]
        if away:
            raise Unavailable(f"the broker did not take {len(away)} of {len(events)} events: {away[0].why}")
        if refusals:
            raise refusals[0](f"the broker takes {len(refusals)} of {len(events)} events never")

    async def ping(self) -> None:
        """
        Whether the ingress answers; it takes nothing. Not whether the Broker is there: Kafka's answers 405 to any path.

        Raises:
            Unavailable: it does not answer, or neither 2xx nor 405.
        """
        try:
            answer = await self._client.options(self._address)
        except httpx.HTTPError as error:
            raise Unavailable(f"the broker does not answer: {type(error).__name__}") from error
        # 405 says that it is one that takes POST only.
        if not answer.is_success and answer.status_code != httpx.codes.METHOD_NOT_ALLOWED:
            raise Unavailable(f"the broker answers {answer.status_code}")

    async def _post(self, headers: Headers, body: bytes) -> _Answer:
        try:
            answer = await self._client.post(self._address, headers=headers, content=body)
        except httpx.HTTPError as error:
            return _Answer(0, type(error).__name__)
        return _Answer(answer.status_code, "" if answer.is_success else f"status {answer.status_code}")


def _size(headers: Headers, body: bytes) -> int:
    return len(body) + sum(len(name) + len(value) for name, value in headers)
