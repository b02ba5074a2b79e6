"""The Channels port over entry points: an installed package adds a channel, nothing here changes (C4, C5)."""

from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import httpx
from pydantic import ValidationError

from events.vocabulary import IN_APP
from shared.domain.errors import FieldError, Invalid, NotFound, Unavailable
from shared.ports.channel import Channel, secret_fields

GROUP = "chat4all.channels"


class InstalledChannels:
    """
    ``http`` is the one client of all channels; who does not close it calls ``close``. A channel's module is imported
    when it is first asked for, so that a function that delivers on one does not pay for the others.

    A tenant chooses the setting ``api`` of its account, so it may name only the provider's own hosts (that of the
    default, and ``hosts`` in the field's json_schema_extra), by https; and ``allowed_hosts`` of the installation.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        installed: Iterable[EntryPoint] | None = None,
        *,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._http = http
        self._allowed_hosts = frozenset(allowed_hosts)
        self._installed = _by_name(entry_points(group=GROUP) if installed is None else installed)
        self._loaded: dict[str, type[Channel]] = {}

    async def close(self) -> None:
        await self._http.aclose()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._installed))

    def type_of(self, name: str) -> type[Channel]:
        """
        Raises:
            NotFound: no such channel is installed; the detail names those that are.
            Unavailable: it is installed and does not load; the detail says why, for whoever installed it.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def open(self, name: str, config: Mapping[str, Any]) -> Channel:
        """
        Raises:
            Invalid: with pointers below /settings or /secrets, as an account is written in api.md.
            NotFound, Unavailable: as ``type_of``.
        """
        channel = self.type_of(name)
        try:
            checked = channel.Config.model_validate(dict(config))
        except ValidationError as error:
            raise Invalid(errors=_field_errors(channel, error)) from None  # the cause holds the secrets
        if not _may_call(channel, getattr(checked, "api", None), self._allowed_hosts):
            detail = f"only the provider's own addresses: {', '.join(sorted(_own_hosts(channel)))}, by https"
            raise Invalid(errors=[{"pointer": "/settings/api", "detail": detail}])
        return channel(checked, self._http)

    def _load(self, name: str) -> type[Channel]:
        if name not in self._installed:
            raise NotFound(f"no channel {name!r} is installed; there are: {', '.join(self.names()) or 'none'}")
        entry = self._installed[name]
        try:
            channel: type[Channel] = entry.load()
            fits = channel.name == name and channel.webhook_secret_field in channel.Config.model_fields
        except Exception as error:
            raise Unavailable(
                f"channel {name!r} ({entry.value}) does not load: {type(error).__name__}: {error}"
            ) from error
        if not fits:
            raise Unavailable(
                f"channel {name!r} ({entry.value}) does not load: its name is {channel.name!r}, its webhook "
                f"secret {channel.webhook_secret_field!r}; the entry point and Config say otherwise"
            )
        return channel


def http_client() -> httpx.AsyncClient:
    """The client that all channels share: connections are kept, and bounded per process."""
    return httpx.AsyncClient(
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=50, keepalive_expiry=5.0),
        headers={"user-agent": "chat4all"},
    )


def _own_hosts(channel: type[Channel]) -> frozenset[str]:
    field = channel.Config.model_fields["api"]
    more = field.json_schema_extra.get("hosts", []) if isinstance(field.json_schema_extra, dict) else []
    default = [httpx.URL(field.default).host] if isinstance(field.default, str) else []
    return frozenset([*default, *(str(host) for host in more)]) if isinstance(more, list) else frozenset(default)


def _may_call(channel: type[Channel], api: object, allowed: frozenset[str]) -> bool:
    if not isinstance(api, str):
        return True  # the channel has no such setting
    try:
        url = httpx.URL(api)
    except httpx.InvalidURL:
        return False
    if url.userinfo:
        return False
    return url.host in allowed or (url.scheme == "https" and url.port is None and url.host in _own_hosts(channel))


def _by_name(installed: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in installed:
        if entry.name == IN_APP:
            raise Unavailable(f"{entry.value} calls itself {IN_APP!r}, which is the in-app channel's name")
        # The same line may be seen twice when a checkout is both installed and on the path.
        if entry.name in found and found[entry.name].value != entry.value:
            raise Unavailable(f"two packages bring channel {entry.name!r}: {found[entry.name].value} and {entry.value}")
        found[entry.name] = entry
    return found


def _field_errors(channel: type[Channel], error: ValidationError) -> list[FieldError]:
    secrets = secret_fields(channel)
    return [
        {"pointer": _pointer(problem["loc"], secrets), "detail": problem["msg"]}
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _pointer(location: tuple[int | str, ...], secrets: frozenset[str]) -> str:
    part = "secrets" if location and location[0] in secrets else "settings"
    return "/".join(["", part, *(str(step).replace("~", "~0").replace("/", "~1") for step in location)])
