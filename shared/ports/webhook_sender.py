"""Calling an address that a customer chose: guarded, bounded, and never raising for what the receiver does."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from shared.domain.webhook import Answer


class WebhookSender(Protocol):
    async def check(self, url: str) -> None:
        """
        Whether webhooks may go to this URL, as far as can be known now: ``post`` looks again.

        Raises:
            Invalid: it is no URL for that, its name cannot be resolved, or it leads to an address that is refused
                (reliability.md 1.3). The detail says which.
        """
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, within: timedelta) -> Answer:
        """
        One request, whose connection goes to an address that was judged after it was resolved. Redirects are not
        followed, no more than some KiB of the answer are read. Whatever goes wrong is in the answer.
        """
        ...
