"""Building blocks of the functions' routers: strict JSON, callers, models, documented problems."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from events.vocabulary import rfc3339
from shared.http.caller import Caller
from shared.http.middleware import header
from shared.http.problems import MEDIA_TYPE, require_json, type_of

T = TypeVar("T")

Timestamp = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


def _a_number(value: Any) -> Any:
    if isinstance(value, str | bool):
        raise ValueError("this is not a number")
    return value


Integer = Annotated[int, BeforeValidator(_a_number)]
"""As JSON Schema has it: 7 and 7.0, neither "7" nor true."""


class Body(BaseModel):
    """A request body: a field that we do not know is refused, for it is a misspelt one."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="forbid")


class Page(Answer, Generic[T]):
    items: list[T]
    next_cursor: str | None = Field(description="Give it back as `cursor`; null on the last page")


class FieldProblem(Answer):
    pointer: str = Field(description="JSON pointer (RFC 6901) into the body", examples=["/payload/text"])
    detail: str


class Problem(Answer):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str
    errors: list[FieldProblem] | None = None
    violated_policies: list[str] | None = Field(None, alias="violated-policies", description="429: which limits")


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Strict: NaN, invalid UTF-8, lone surrogates and more than 1024 levels are no JSON (RFC 8259)."""
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class _Route(APIRoute):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.body_field is not None:
            self.responses = {415: _documented(415), **self.responses}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            asked = _JsonRequest(request.scope, request.receive)
            if self.body_field is not None and await asked.body():
                require_json(header(request.scope, b"content-type"))
            return await handle(asked)

        return strict


def api_router(tag: str) -> APIRouter:
    """A router whose bodies are strict JSON; every HTTP face makes its routes on one of these."""
    return APIRouter(tags=[tag], route_class=_Route)


_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="From POST /auth/token")


async def current_caller(request: Request, _: Annotated[Any, Depends(_bearer)] = None) -> Caller:
    """Who calls; the middleware has verified the token before the body was read."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


CallerOf = Annotated[Caller, Depends(current_caller)]


def scoped(scope: str) -> Any:
    """For a caller who must have the scope: ``caller: Annotated[Caller, scoped("users")]``."""

    async def check(caller: CallerOf) -> Caller:
        caller.require(scope)
        return caller

    return Depends(check)


async def acting_user(
    caller: CallerOf,
    x_act_as: Annotated[str | None, Header(description="The user that a client token acts for")] = None,
) -> str:
    """The user that the call is made for, where no body names one."""
    return caller.acting_as(x_act_as)


ActingUser = Annotated[str, Depends(acting_user)]


async def reading_user(
    caller: CallerOf,
    x_act_as: Annotated[str | None, Header(description="The user that a client token reads for")] = None,
) -> str | None:
    """The user whose conversations may be read; None: a client that reads for its whole tenant."""
    return None if x_act_as is None and caller.user_id is None else caller.acting_as(x_act_as)


Reader = Annotated[str | None, Depends(reading_user)]

_PROBLEMS = {
    401: ("unauthenticated", "Say who you are"),
    403: ("forbidden", "You may not do this"),
    404: ("not-found", "There is no such thing here"),
    408: ("too-slow", "Nothing came for too long"),
    409: ("conflict", "This contradicts what is already there"),
    413: ("too-large", "The request is larger than allowed"),
    415: ("unsupported-media-type", "The body is of a type that is not taken here"),
    422: ("invalid", "Something in the request is not right"),
    429: ("quota-exceeded", "Too many requests; come back later"),
    502: ("rejected", "The provider refused"),
    507: ("storage-full", "There is no room for these bytes now; try again later"),
    503: ("unavailable", "A part of the system cannot be reached; try again"),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For ``responses=``: these problems, documented with an example each; 401, 422, 429 and 503 always are."""
    return {status: _documented(status) for status in sorted({401, 422, 429, 503, *statuses})}


def _documented(status: int) -> dict[str, Any]:
    code, title = _PROBLEMS[status]
    example: dict[str, Any] = {
        "type": type_of(code),
        "title": title,
        "status": status,
        "detail": title,
        "instance": "/v1/…",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    if status == 429:
        example["violated-policies"] = ["default"]
    if status == 422:
        example["errors"] = [{"pointer": "/field", "detail": "Field required"}]
    return {
        "description": title,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
