"""The routing rules of a tenant."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import orjson

from shared.domain.errors import Conflict, NotFound, Unavailable
from shared.domain.routing_rules import (
    RoutingRule,
    action_from_json,
    action_to_json,
    first_match,
    in_order,
    match_from_json,
    match_to_json,
)
from shared.ports import Tables
from shared.ports.tables import Row
from shared.repositories.identity_schema import ROUTING_RULES

MAX_RULES = 1000
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RoutingRules:
    tables: Tables

    async def first_match(
        self, tenant: str, channel: str, account_id: str, addresses: frozenset[str]
    ) -> RoutingRule | None:
        """The rule that decides about a message to this account from somebody of these addresses; None: none does."""
        return first_match(await self.all(tenant), channel, account_id, addresses)

    async def all(self, tenant: str) -> list[RoutingRule]:
        """In the order in which they are tried."""
        rows = await self.tables.slice(ROUTING_RULES, (tenant,), limit=MAX_RULES + 1)
        return in_order(_rule(row) for row in rows)

    async def get(self, tenant: str, rule_id: str) -> RoutingRule | None:
        row = await self.tables.get(ROUTING_RULES, (tenant, rule_id))
        return None if row is None else _rule(row)

    async def add(self, tenant: str, rule: RoutingRule) -> None:
        """
        Raises:
            Conflict: the tenant has too many.
        """
        if len(await self.all(tenant)) >= MAX_RULES:
            raise Conflict(f"a tenant has at most {MAX_RULES} routing rules; remove one first")
        row: Row = {
            "tenant": tenant,
            "rule_id": rule.rule_id,
            "created_at": rule.created_at,
            "version": 1,
            **_content(rule),
        }
        await self.tables.put_if_absent(ROUTING_RULES, row)

    async def change(self, tenant: str, rule_id: str, change: Callable[[RoutingRule], RoutingRule]) -> RoutingRule:
        """
        Apply ``change`` to what is stored; it may be called again when somebody else changes the rule too.

        Raises:
            NotFound: there is no such rule.
        """
        key = (tenant, rule_id)
        for _ in range(_ATTEMPTS):
            row = await self.tables.get(ROUTING_RULES, key)
            if row is None:
                raise no_such_rule(rule_id)
            changed, version = change(_rule(row)), row["version"]
            assert isinstance(version, int)
            changes: Row = {**_content(changed), "version": version + 1}
            if await self.tables.update_if(ROUTING_RULES, key, expected={"version": version}, changes=changes):
                return changed
        raise Unavailable(f"the rule {rule_id!r} is being changed by many at once; try again")

    async def remove(self, tenant: str, rule_id: str) -> None:
        await self.tables.delete(ROUTING_RULES, (tenant, rule_id))


def no_such_rule(rule_id: str) -> NotFound:
    return NotFound(f"there is no routing rule {rule_id!r}")


def _content(rule: RoutingRule) -> Row:
    return {
        "match": orjson.dumps(match_to_json(rule.match)).decode(),
        "action": orjson.dumps(action_to_json(rule.action)).decode(),
        "priority": rule.priority,
    }


def _rule(row: Row) -> RoutingRule:
    priority, created_at = row["priority"], row["created_at"]
    assert isinstance(priority, int) and isinstance(created_at, datetime)
    return RoutingRule(
        rule_id=str(row["rule_id"]),
        match=match_from_json(orjson.loads(str(row["match"]))),
        action=action_from_json(orjson.loads(str(row["action"]))),
        priority=priority,
        created_at=created_at,
    )
