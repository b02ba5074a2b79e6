"""/v1/users and the identities under it."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AliasChoices, Field, StrictBool, StringConstraints

from functions.users.func import UserAccounts
from shared.domain.identity import USER_ID, USERS, Identity, User
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import Answer, Body, CallerOf, Page, Timestamp, api_router, problems, scoped

Key = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Value = Annotated[str, StringConstraints(max_length=500)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
UsersCaller = Annotated[Caller, scoped(USERS)]


class NewUser(Body):
    user_id: str = Field(
        pattern=USER_ID,
        description="Yours to choose, for ever; it outlives the erasure of the user, so let it name nobody",
        examples=["userA"],
    )
    display_name: Name | None = Field(None, examples=["Ana Souza"])
    metadata: dict[Key, Value] = Field({}, max_length=50, examples=[{"plan": "gold"}])


class UserChanges(Body):
    """A merge patch (RFC 7396): null removes, what is left out stays."""

    display_name: Name | None = Field(None, examples=["Ana"])
    metadata: dict[Key, Value | None] | None = Field(None, max_length=50, examples=[{"plan": None}])


class UserAnswer(Answer):
    user_id: str
    display_name: str | None
    metadata: dict[str, str]
    contact_of: str | None = Field(description="The channel on which this contact first wrote; null for users")
    created_at: Timestamp
    updated_at: Timestamp


class ErasureAnswer(Answer):
    user_id: str
    erased_at: Timestamp
    removed: dict[str, int] = Field(description="What was removed beside the profile", examples=[{"identities": 2}])


class NewIdentity(Body):
    channel: str = Field(
        validation_alias=AliasChoices("channel", "channel_type"),
        max_length=32,
        description="`channel_type` is accepted too",
        examples=["whatsapp"],
    )
    identifier: str = Field(
        validation_alias=AliasChoices("identifier", "channel_identifier"),
        min_length=1,
        max_length=320,
        description="How the person is known there: E.164 for whatsapp and sms, @name or id for instagram …; "
        "`channel_identifier` is accepted too",
        examples=["+5511999998888"],
    )
    is_active: StrictBool = Field(True, description="false: known, but not written to")


class IdentityAnswer(Answer):
    user_id: str
    channel: str
    identifier: str = Field(description="In the channel's canonical form")
    is_active: bool
    linked_at: Timestamp


def router(accounts: UserAccounts) -> APIRouter:
    routes = api_router("Users and identities")
    again: dict[int | str, dict[str, Any]] = {200: {"model": UserAnswer, "description": "It was there already"}}

    @routes.post("/v1/users", status_code=201, responses={**again, **problems(403, 409)})
    async def create_user(body: NewUser, caller: UsersCaller, response: Response) -> UserAnswer:
        """The same id again with the same content is 200, with other content 409."""
        user, created = await accounts.create(caller.tenant, body.user_id, body.display_name, body.metadata)
        response.status_code = 201 if created else 200
        return _user(user)

    @routes.get("/v1/users", responses=problems(403))
    async def list_users(caller: UsersCaller, limit: Limit = 50, cursor: Cursor = None) -> Page[UserAnswer]:
        """Users and contacts by user_id."""
        after = str(decode_cursor(cursor, (str,))[0]) if cursor else ""
        found = await accounts.users.list(caller.tenant, after=after, limit=limit + 1)
        page = found[:limit]
        more = encode_cursor([page[-1].user_id]) if len(found) > limit else None
        return Page(items=[_user(user) for user in page], next_cursor=more)

    @routes.get("/v1/users/{user_id}", responses=problems(403, 404))
    async def get_user(user_id: str, caller: CallerOf) -> UserAnswer:
        _may_read(caller, user_id)
        return _user(await accounts.get(caller.tenant, user_id))

    @routes.patch("/v1/users/{user_id}", responses=problems(403, 404))
    async def change_user(user_id: str, body: UserChanges, caller: UsersCaller) -> UserAnswer:
        return _user(await accounts.change(caller.tenant, user_id, body.model_dump(exclude_unset=True)))

    @routes.delete("/v1/users/{user_id}", responses=problems(403, 404))
    async def erase_user(user_id: str, caller: UsersCaller) -> ErasureAnswer:
        """
        Erase the person's data: profile, identities, memberships, tokens.

        Messages in other people's conversations keep the bare user_id, which is never given to anybody
        again. Repeating it is harmless.
        """
        erasure = await accounts.erase(caller.tenant, user_id)
        return ErasureAnswer(user_id=erasure.user_id, erased_at=erasure.erased_at, removed=dict(erasure.removed))

    linked: dict[int | str, dict[str, Any]] = {
        200: {"model": IdentityAnswer, "description": "It was linked already; is_active is now as given"}
    }

    @routes.post("/v1/users/{user_id}/channels", status_code=201, responses={**linked, **problems(403, 404, 409)})
    async def link_identity(user_id: str, body: NewIdentity, caller: UsersCaller, response: Response) -> IdentityAnswer:
        """An identifier is linked to one user of the tenant at most; another one's is 409."""
        identity, created = await accounts.link(caller.tenant, user_id, body.channel, body.identifier, body.is_active)
        response.status_code = 201 if created else 200
        return _identity(identity)

    @routes.get("/v1/users/{user_id}/channels", responses=problems(403, 404))
    async def list_identities(user_id: str, caller: CallerOf) -> Page[IdentityAnswer]:
        """All at once: a user has at most 100."""
        _may_read(caller, user_id)
        identities = await accounts.linked(caller.tenant, user_id)
        return Page(items=[_identity(identity) for identity in identities], next_cursor=None)

    @routes.delete("/v1/users/{user_id}/channels/{channel}/{identifier}", status_code=204, responses=problems(403, 404))
    async def unlink_identity(user_id: str, channel: str, identifier: str, caller: UsersCaller) -> None:
        await accounts.unlink(caller.tenant, user_id, channel, identifier)

    return routes


def _may_read(caller: Caller, user_id: str) -> None:
    """A user may read what is kept about them; a client what its scope allows."""
    caller.acting_as(user_id)
    if caller.user_id is None:
        caller.require(USERS)


def _user(user: User) -> UserAnswer:
    return UserAnswer(
        user_id=user.user_id,
        display_name=user.display_name,
        metadata=dict(user.metadata),
        contact_of=user.contact_of,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )


def _identity(identity: Identity) -> IdentityAnswer:
    return IdentityAnswer(
        user_id=identity.user_id,
        channel=identity.channel,
        identifier=identity.identifier,
        is_active=identity.is_active,
        linked_at=identity.linked_at,
    )
