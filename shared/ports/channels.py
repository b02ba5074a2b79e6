"""The registry of channels, and the accounts that tenants have at the providers (C5)."""

from collections.abc import Mapping
from typing import Any, Protocol

from shared.ports.channel import Channel


class Channels(Protocol):
    def names(self) -> tuple[str, ...]:
        """Installed channels, without the in-app one, in alphabetical order."""
        ...

    def type_of(self, name: str) -> type[Channel]:
        """
        The channel's class: limits, Config, check_address.

        Raises:
            NotFound: no such channel is installed; the detail names those that are.
        """
        ...

    def open(self, name: str, config: Mapping[str, Any]) -> Channel:
        """
        A channel for one account; ``config`` has plain values, secrets included.

        Raises:
            Invalid: the channel's Config refuses it; errors point at /settings/… or /secrets/….
        """
        ...
