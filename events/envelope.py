"""
One event: typed data and the CloudEvents attributes of design.md 3.

The id of an event that another one brings about is computed, never drawn: uuid5 of the cause's id, the type
and the part that tells siblings apart. Handling an event twice therefore emits the same ids, and every
consumer can drop the repeat without asking anybody (A11, E1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import NAMESPACE_URL, uuid5

import msgspec
from msgspec import Struct

from events.cloudevent import BadEvent, CloudEvent
from events.vocabulary import rfc3339

_IDS = uuid5(NAMESPACE_URL, "https://chat4all.dev/events")
SCHEMA_BASE = "https://chat4all.dev/schemas/"


def derived_id(*parts: str) -> str:
    """
    The id that ``parts`` always give.

    >>> derived_id("a", "b") == derived_id("a", "b") != derived_id("a", "c")
    True
    """
    return str(uuid5(_IDS, "\n".join(parts)))


class EventData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data of one event type; a subclass sets ``TYPE`` and says how its events are keyed and filtered."""

    TYPE: ClassVar[str]

    @property
    def partition_key(self) -> str:
        """The broker keys its records by it: a conversation stays in one partition."""
        raise NotImplementedError

    @property
    def subject(self) -> str:
        """The id of the entity that the event is about."""
        raise NotImplementedError

    @property
    def part(self) -> str:
        """What tells apart two events of this type that have the same cause."""
        return ""

    @property
    def attributes(self) -> Mapping[str, str]:
        """Extension attributes that Triggers filter on; names are a-z and 0-9 only."""
        return {}


D = TypeVar("D", bound=EventData, covariant=True)
E = TypeVar("E", bound=EventData)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[D]):
    """``time`` is aware UTC; ``traceparent`` is W3C trace context, absent when nobody traces."""

    id: str
    source: str
    tenant: str
    time: datetime
    data: D
    traceparent: str | None = None

    def caused(self, data: E, *, source: str, at: datetime) -> "Event[E]":
        """The event that this one brings about; the same call gives the same id."""
        return Event(
            id=derived_id(self.id, data.TYPE, data.part),
            source=source,
            tenant=self.tenant,
            time=at,
            data=data,
            traceparent=self.traceparent,
        )

    def to_cloudevent(self) -> CloudEvent:
        data = self.data
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": data.TYPE,
            "subject": data.subject,
            "time": rfc3339(self.time),
            "datacontenttype": "application/json",
            "dataschema": f"{SCHEMA_BASE}{data.TYPE}.json",
            "partitionkey": data.partition_key,
            "tenant": self.tenant,
            **data.attributes,
        }
        if self.traceparent:
            attributes["traceparent"] = self.traceparent
        return CloudEvent(attributes, msgspec.json.encode(data))


def from_cloudevent(cloudevent: CloudEvent, catalogue: Mapping[str, type[EventData]]) -> Event[Any]:
    """
    The typed event.

    Raises:
        BadEvent: the type is not in ``catalogue``, the data breaks its schema, or ``time`` or ``tenant`` is
            absent or malformed. Such an event can never be handled.
    """
    attributes = cloudevent.attributes
    kind = attributes["type"]
    model = catalogue.get(kind)
    if model is None:
        raise BadEvent(f"type {kind!r} is not in the catalogue")
    try:
        data = msgspec.json.decode(cloudevent.data, type=model)
        time = datetime.fromisoformat(attributes["time"])
        tenant = attributes["tenant"]
    except KeyError as error:
        raise BadEvent(f"{kind}: attribute {error.args[0]!r} is missing") from None
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadEvent(f"{kind}: {error}") from None
    if time.tzinfo is None:
        raise BadEvent(f"{kind}: time {attributes['time']!r} has no offset")
    return Event(
        id=attributes["id"],
        source=attributes["source"],
        tenant=tenant,
        time=time,
        data=data,
        traceparent=attributes.get("traceparent"),
    )
