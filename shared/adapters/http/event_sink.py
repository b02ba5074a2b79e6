"""The EventSink of a function on Knative: it POSTs binary CloudEvents to the broker's ingress (K_SINK)."""

import asyncio
from typing import Any

import httpx

from events import CloudEvent, Event
from shared.domain.errors import Unavailable


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
            Unavailable: the broker did not answer 2xx to each.
        """
        async with asyncio.TaskGroup() as group:
            posts = [group.create_task(self._post(event)) for event in events]
        refusals = [refusal for refusal in (post.result() for post in posts) if refusal]
        if refusals:
            raise Unavailable(f"the broker did not take {len(refusals)} of {len(events)} events: {refusals[0]}")

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

    async def _post(self, event: CloudEvent) -> str | None:
        headers, body = event.to_binary()
        try:
            answer = await self._client.post(self._address, headers=headers, content=body)
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if answer.is_success else f"status {answer.status_code}"
