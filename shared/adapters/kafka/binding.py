"""
CloudEvents in Kafka records, binary mode, as Knative's broker writes and reads them (kafka-broker.md 1 and 4).

Attributes are headers ``ce_<name>`` in UTF-8, datacontenttype is ``content-type``, the record's key is the
extension partitionkey. A structured record of somebody else is read, too.
Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from collections.abc import Callable, Mapping, Sequence

from events import CloudEvent
from events.cloudevent import STRUCTURED, BadEvent, check_attributes, from_structured

RecordHeaders = list[tuple[str, str | bytes | None]]
"""What librdkafka takes; what it gives is bytes or None."""


def to_headers(event: CloudEvent) -> RecordHeaders:
    return [(_header(name), value.encode()) for name, value in event.attributes.items()]


def to_key(event: CloudEvent) -> bytes | None:
    """None spreads the events of no key over the partitions."""
    key = event.attributes.get("partitionkey")
    return key.encode() if key else None


def from_record(headers: RecordHeaders | None, value: bytes | None) -> CloudEvent:
    """
    Raises:
        BadEvent: the record is no CloudEvent.
    """
    attributes: dict[str, str] = {}
    content_type = ""
    try:
        for name, raw in headers or ():
            if name[:3] == "ce_":
                attributes[name[3:]] = _text(raw)
            elif name == "content-type":
                content_type = _text(raw)
    except UnicodeDecodeError:
        raise BadEvent("a header is not UTF-8") from None
    if content_type.startswith(STRUCTURED):
        return from_structured(value or b"")
    if content_type:
        attributes["datacontenttype"] = content_type
    check_attributes(attributes)
    return CloudEvent(attributes, value or b"")


def is_structured(headers: RecordHeaders) -> bool:
    """Whether its attributes are not in the headers."""
    return not any(name == "ce_specversion" for name, _ in headers)


def _text(raw: str | bytes | None) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw or ""


def matcher(filters: Sequence[Mapping[str, str]]) -> Callable[[RecordHeaders | None], bool | None]:
    """
    A quick look at a record's headers: whether all attributes of one of ``filters`` have these exact values; None when
    only the whole record can tell, because its attributes are not in the headers.
    """
    wanted = [{_header(name): value.encode() for name, value in filter.items()}.items() for filter in filters]

    def match(headers: RecordHeaders | None) -> bool | None:
        found = dict(headers or ())
        if "ce_specversion" not in found:
            return None
        there = found.items()
        for attributes in wanted:  # noqa: SIM110  a generator costs more than the comparison
            if attributes <= there:
                return True
        return False

    return match


def _header(attribute: str) -> str:
    return "content-type" if attribute == "datacontenttype" else "ce_" + attribute
