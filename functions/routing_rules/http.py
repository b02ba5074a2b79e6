"""/v1/routing-rules."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from functions.routing_rules.func import RuleBook, to_document
from shared.domain.identity import CHANNELS
from shared.domain.routing_rules import DEFAULT_PRIORITY, RoutingRule, position
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import Answer, Body, Integer, Page, Timestamp, api_router, problems, scoped

RulesCaller = Annotated[Caller, scoped(CHANNELS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class MatchBody(Body):
    channel: Name = Field(examples=["whatsapp"])
    account_id: Name | None = Field(None, description="Left out: every account")
    from_: Annotated[str, StringConstraints(min_length=1, max_length=320)] | None = Field(
        None, alias="from", description="The sender's identifier; left out: everybody"
    )


class ConversationAction(Body):
    """`conversation_id`, or `with` (the sender's user and this one), and then `channels` if wanted."""

    type: Literal["conversation"]
    conversation_id: Name | None = None
    with_: Name | None = Field(None, alias="with", examples=["userB"])
    channels: list[Name] | None = Field(
        None, min_length=1, max_length=20, description="How `with` gets it; left out: all"
    )


class DeskAction(Body):
    type: Literal["desk"]
    department: Name | None = None


Action = Annotated[ConversationAction | DeskAction, Field(discriminator="type")]
Priority = Annotated[Integer, Field(ge=0, le=1_000_000, description="The lowest number is tried first")]


class NewRule(Body):
    match: MatchBody
    action: Action = Field(examples=[{"type": "conversation", "with": "userB", "channels": ["instagram"]}])
    priority: Priority = DEFAULT_PRIORITY


class RuleChanges(Body):
    """What is given replaces the old one as a whole; what is left out stays."""

    match: MatchBody | None = None
    action: Action | None = None
    priority: Priority | None = None


class RuleAnswer(Answer):
    rule_id: str
    match: dict[str, Any] = Field(examples=[{"channel": "whatsapp", "from": "+5511999998888"}])
    action: dict[str, Any] = Field(examples=[{"type": "conversation", "with": "userB", "channels": ["instagram"]}])
    priority: int
    created_at: Timestamp


def router(rules: RuleBook) -> APIRouter:
    routes = api_router("Routing rules")

    @routes.post("/v1/routing-rules", status_code=201, responses=problems(403, 409))
    async def add_rule(body: NewRule, caller: RulesCaller) -> RuleAnswer:
        """
        Where an inbound message goes. Rules are tried by priority, lowest number first; then the one that
        names a sender, then the one that names an account, then the older one.
        """
        return _rule(await rules.add(caller.tenant, _document(body)))

    @routes.get("/v1/routing-rules", responses=problems(403))
    async def list_rules(caller: RulesCaller, limit: Limit = 50, cursor: Cursor = None) -> Page[RuleAnswer]:
        """In the order in which they are tried; a tenant has at most 1000."""
        after = decode_cursor(cursor, (int, int, int, str)) if cursor else ()
        found = [rule for rule in await rules.all(caller.tenant) if position(rule) > after]
        more = encode_cursor(position(found[limit - 1])) if len(found) > limit else None
        return Page(items=[_rule(rule) for rule in found[:limit]], next_cursor=more)

    @routes.get("/v1/routing-rules/{rule_id}", responses=problems(403, 404))
    async def get_rule(rule_id: str, caller: RulesCaller) -> RuleAnswer:
        return _rule(await rules.get(caller.tenant, rule_id))

    @routes.patch("/v1/routing-rules/{rule_id}", responses=problems(403, 404))
    async def change_rule(rule_id: str, body: RuleChanges, caller: RulesCaller) -> RuleAnswer:
        return _rule(await rules.change(caller.tenant, rule_id, _document(body)))

    @routes.delete("/v1/routing-rules/{rule_id}", status_code=204, responses=problems(403, 404))
    async def delete_rule(rule_id: str, caller: RulesCaller) -> None:
        await rules.remove(caller.tenant, rule_id)

    return routes


def _document(body: NewRule | RuleChanges) -> dict[str, Any]:
    return body.model_dump(by_alias=True, exclude_none=True)


def _rule(rule: RoutingRule) -> RuleAnswer:
    document = to_document(rule)
    return RuleAnswer(rule_id=rule.rule_id, created_at=rule.created_at, **document)
