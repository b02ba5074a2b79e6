"""POST /auth/token, POST /v1/users/{user_id}/tokens, GET /.well-known/jwks.json."""

import base64
import binascii
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import unquote_plus

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field, ValidationError

from functions.token.func import Grant, Token
from shared.domain.errors import Invalid, Unauthenticated
from shared.http.problems import pointer
from shared.http.routing import Answer, Body, CallerOf, Integer, api_router, problems

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Credentials(Body):
    client_id: str = Field(min_length=1, max_length=128, examples=["acme-web"])
    client_secret: str = Field(min_length=1, max_length=256, examples=["the secret shown when it was made"])
    grant_type: Literal["client_credentials"] = "client_credentials"
    scope: str | None = Field(None, max_length=200, description="Less than all that the client may do")


class AccessToken(Answer):
    access_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = Field(description="Seconds", examples=[3600])
    scope: str = Field(description="Separated by spaces", examples=["channels messages operations users"])


class UserTokenRequest(Body):
    ttl_seconds: Integer = Field(3600, ge=60, le=3600, description="How long the token shall live")


def router(token: Token) -> APIRouter:
    routes = api_router("Tokens")
    documented = {
        "requestBody": {
            "required": True,
            "content": {
                media_type: {"schema": Credentials.model_json_schema()}
                for media_type in ("application/json", _FORMS[0])
            },
        }
    }

    @routes.post("/auth/token", responses=problems(), openapi_extra=documented)
    async def get_token(request: Request, response: Response) -> AccessToken:
        """
        A token for a client: JSON or form; or its credentials by HTTP Basic with
        grant_type=client_credentials (RFC 6749 4.4).
        """
        given = await _credentials(request)
        grant = await token.for_client(given.client_id, given.client_secret, given.scope)
        return _answer(grant, response)

    @routes.post("/v1/users/{user_id}/tokens", status_code=201, responses=problems(403, 404))
    async def get_user_token(
        user_id: str, caller: CallerOf, response: Response, body: UserTokenRequest | None = None
    ) -> AccessToken:
        """A token that acts only as this user: for an app in the user's hands. Needs a client token."""
        lifetime = timedelta(seconds=(body or UserTokenRequest(ttl_seconds=3600)).ttl_seconds)
        return _answer(await token.for_user(caller, user_id, lifetime), response)

    @routes.get("/.well-known/jwks.json", responses={})
    async def get_public_keys(response: Response) -> dict[str, list[dict[str, str]]]:
        """The public keys that our tokens can be verified with (RFC 7517); may be kept for 15 minutes."""
        response.headers["cache-control"] = "public, max-age=900"
        keys: dict[str, list[dict[str, str]]] = await token.keys.published()
        return keys

    return routes


def _answer(grant: Grant, response: Response) -> AccessToken:
    response.headers["cache-control"] = "no-store"
    return AccessToken(
        access_token=grant.access_token, expires_in=grant.expires_in, scope=" ".join(sorted(grant.scopes))
    )


async def _credentials(request: Request) -> Credentials:
    fields = await _fields(request)
    fields.update(_basic(request.headers.get("authorization")))
    try:
        return Credentials.model_validate(fields)
    except ValidationError as error:
        raise Invalid(
            errors=[{"pointer": pointer(one["loc"]), "detail": one["msg"]} for one in error.errors()]
        ) from None


async def _fields(request: Request) -> dict[str, Any]:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in _FORMS:
        async with request.form(max_files=0, max_fields=10) as form:
            return dict(form)
    body = await request.body()
    if not body:
        return {}
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"the body is neither a form nor JSON: {error.msg}") from None
    if not isinstance(fields, dict):
        raise Invalid("the body is not one JSON object")
    return fields


def _basic(authorization: str | None) -> dict[str, str]:
    """The credentials of RFC 6749 2.3.1: form-encoded, then joined by a colon."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise Unauthenticated("the Authorization header is no HTTP Basic") from None
    return {"client_id": unquote_plus(client_id), "client_secret": unquote_plus(secret)}
