"""Deliveries by providers: what was planned, what was reported, and how a provider's id leads back to it."""

from dataclasses import dataclass, replace
from datetime import datetime

from events.vocabulary import Status
from shared.domain.status import Report
from shared.ports.tables import Put, Row, Tables
from shared.repositories.schema import DELIVERIES, PROVIDER_MESSAGES, REPORTS

_MANY = 5000  # reports of one message: recipients × channels × a handful of statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    delivery_id: str
    message_id: str
    conversation_id: str
    seq: int
    recipient: str
    channel: str
    address: str


@dataclass(frozen=True, slots=True)
class ProviderMessage:
    delivery_id: str
    attempt: int
    last_part: bool


class Deliveries:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def plan(self, tenant: str, records: list[DeliveryRecord], at: datetime) -> None:
        """Keep planned deliveries, each PENDING; planning twice changes nothing that counts."""
        puts = []
        for record in records:
            puts.append(Put(DELIVERIES, {"tenant": tenant, **_fields(record)}))
            pending = Report(
                recipient=record.recipient,
                channel=record.channel,
                status=Status.PENDING,
                at=at,
                source="route",
                delivery_id=record.delivery_id,
            )
            puts.append(Put(REPORTS, _report_row(tenant, record.message_id, pending)))
        if puts:
            await self._tables.put(*puts)

    async def get(self, tenant: str, delivery_id: str) -> DeliveryRecord | None:
        row = await self._tables.get(DELIVERIES, (tenant, delivery_id))
        if row is None:
            return None
        return DeliveryRecord(
            delivery_id=delivery_id,
            message_id=str(row["message_id"]),
            conversation_id=str(row["conversation_id"]),
            seq=int(str(row["seq"])),
            recipient=str(row["recipient"]),
            channel=str(row["channel"]),
            address=str(row["address"]),
        )

    async def report(self, tenant: str, message_id: str, report: Report) -> Report:
        """
        Append a report; the first one of a kind counts and is returned: its time does not move by repeats. A reason
        that only a later one knows is added to it: the provider may tell of a sending before whoever sent does.
        """
        key = (tenant, message_id, report.recipient, report.channel, report.attempt, str(report.status))
        row = await self._tables.get(REPORTS, key)
        if row is not None:
            first = _report(row)
            if first.reason is not None or report.reason is None:
                return first
            report = replace(first, reason=report.reason)
        await self._tables.put(Put(REPORTS, _report_row(tenant, message_id, report)))
        return report

    async def reports(self, tenant: str, message_id: str) -> list[Report]:
        rows = await self._tables.slice(REPORTS, (tenant, message_id), limit=_MANY)
        return [_report(row) for row in rows]

    async def know_provider_message(
        self, tenant: str, channel: str, provider_message_id: str, known: ProviderMessage
    ) -> None:
        row: Row = {
            "tenant": tenant,
            "channel": channel,
            "provider_message_id": provider_message_id,
            "delivery_id": known.delivery_id,
            "attempt": known.attempt,
            "last_part": known.last_part,
        }
        await self._tables.put(Put(PROVIDER_MESSAGES, row))

    async def of_provider_message(self, tenant: str, channel: str, provider_message_id: str) -> ProviderMessage | None:
        row = await self._tables.get(PROVIDER_MESSAGES, (tenant, channel, provider_message_id))
        if row is None:
            return None
        return ProviderMessage(str(row["delivery_id"]), int(str(row["attempt"])), bool(row["last_part"]))


def _fields(record: DeliveryRecord) -> Row:
    return {
        "delivery_id": record.delivery_id,
        "message_id": record.message_id,
        "conversation_id": record.conversation_id,
        "seq": record.seq,
        "recipient": record.recipient,
        "channel": record.channel,
        "address": record.address,
    }


def _report_row(tenant: str, message_id: str, report: Report) -> Row:
    return {
        "tenant": tenant,
        "message_id": message_id,
        "recipient": report.recipient,
        "channel": report.channel,
        "attempt": report.attempt,
        "status": str(report.status),
        "at": report.at,
        "source": report.source,
        "delivery_id": report.delivery_id,
        "provider_message_id": report.provider_message_id,
        "reason": report.reason,
    }


def _report(row: Row) -> Report:
    at = row["at"]
    assert isinstance(at, datetime)
    return Report(
        recipient=str(row["recipient"]),
        channel=str(row["channel"]),
        status=Status(str(row["status"])),
        at=at,
        source=str(row["source"]),
        attempt=int(str(row["attempt"])),
        delivery_id=_optional(row["delivery_id"]),
        provider_message_id=_optional(row["provider_message_id"]),
        reason=_optional(row["reason"]),
    )


def _optional(value: object) -> str | None:
    return None if value is None else str(value)
