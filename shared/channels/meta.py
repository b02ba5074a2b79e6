"""
What WhatsApp and Instagram share: Meta's Graph API and its webhooks (channels.md 3.0, 3.2, 3.4).

Signatures are HMAC-SHA256 of the raw body with the app secret, in ``X-Hub-Signature-256``; a webhook's address
is verified by a GET that carries ``hub.verify_token``.
Source: developers.facebook.com/docs/graph-api/webhooks/getting-started, read as channels.md of November 2026.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple, TypeVar

import httpx
import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from shared.domain.errors import Busy, ChannelError, Invalid, Rejected, Unauthenticated, Unknown
from shared.ports.channel import Challenge, WebhookRequest

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""The request has not left: as certain as an answer that says so."""


def _fits_a_header(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("copy it again: it is empty, or holds spaces or signs that no token has")
    return secret


Token = Annotated[SecretStr, AfterValidator(_fits_a_header)]


class MetaConfig(BaseModel):
    """What an account of either product has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    access_token: Token = Field(description="Token of the system user, Page or Instagram user")
    app_secret: Token = Field(description="Secret of the app that signs the webhooks")
    verify_token: Token = Field(description="What you typed as verify token when you set up the webhook")
    api_version: str = Field("v26.0", pattern=r"^v[0-9]{1,3}\.[0-9]{1,2}$", description="Graph API version")
    timeout_seconds: float = Field(
        10.0, gt=0, le=12, description="For each step of a call; a whole call takes twice that at most"
    )  # twice 12 s is less than the 30 s for which deliver leases a mailbox
    uncertain_wait_seconds: float | None = Field(
        None, ge=0, le=86_400, description="How long a lost answer is waited for; the provider's own when left out"
    )

    def uncertain_wait(self, usual: timedelta) -> timedelta:
        return usual if self.uncertain_wait_seconds is None else timedelta(seconds=self.uncertain_wait_seconds)


class Meaning(NamedTuple):
    """What an error code means for a delivery; the reasons are those of channels.md 3.0, rule 4."""

    error: type[Rejected] | type[Busy]
    reason: str
    wait: timedelta | None = None


Meanings = Mapping[int | tuple[int, int], Meaning]
"""By code, or by (code, subcode) where the subcode tells."""

RETRY = Meaning(Busy, "retry")
RATE = Meaning(Busy, "rate")
BAD_RECIPIENT = Meaning(Rejected, "bad_recipient")
BAD_CONTENT = Meaning(Rejected, "bad_content")
WINDOW_CLOSED = Meaning(Rejected, "window_closed")
OPTED_OUT = Meaning(Rejected, "opted_out")
AUTH_BROKEN = Meaning(Rejected, "auth_broken")
POLICY = Meaning(Rejected, "policy")


def meaning_of(meanings: Meanings, code: int, subcode: int, status: int, *, transient: bool = False) -> Meaning:
    """The table's word, else the HTTP status's: what nobody listed is refused unless it sounds temporary."""
    listed = meanings.get((code, subcode)) or meanings.get(code)
    if listed:
        return listed
    if status == 429:
        return RATE
    if status in (408, 425) or status >= 500 or transient:
        return RETRY
    return AUTH_BROKEN if status in (401, 403) else BAD_CONTENT


class GraphError(msgspec.Struct):
    code: int = 0
    error_subcode: int = 0
    message: str = ""
    is_transient: bool = False


class _Failure(msgspec.Struct):
    error: GraphError


@dataclass(frozen=True, slots=True)
class Graph:
    """
    One account's door to the Graph API: one call, and what is certain when it fails.

    ``root`` is the base URL with the version. Chains are cut (``from None``) because a cause would carry the
    request, and the request carries the token.
    """

    http: httpx.AsyncClient
    root: str
    token: SecretStr
    timeout: float
    uncertain_wait: timedelta
    meanings: Meanings

    async def get(self, path: str, answer: type[T], **query: str) -> T:
        """
        Raises:
            Rejected, Busy, Unknown: as ``post``.
        """
        return self._read(await self._call("GET", path, params=query), answer)

    async def post(self, path: str, body: Mapping[str, Any], answer: type[T]) -> T:
        """
        Raises:
            Rejected: the answer says that it was not taken and never will be.
            Busy: the connection was never made, or the answer says come back.
            Unknown: the request left and no answer that can be read came back.
        """
        return self._read(await self._call("POST", path, json=body), answer)

    async def _call(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        try:
            # httpx bounds each step; the second bound is for an answer that drips.
            async with asyncio.timeout(2 * self.timeout):
                return await self.http.request(
                    method,
                    f"{self.root}/{path}",
                    headers=headers,
                    timeout=self.timeout,
                    follow_redirects=False,
                    **request,
                )
        except NEVER_CONNECTED as error:
            raise Busy("retry", f"the provider could not be reached: {type(error).__name__}") from None
        except (httpx.RequestError, TimeoutError) as error:
            raise self._unknown(f"the answer was lost: {type(error).__name__}") from None

    def _read(self, response: httpx.Response, answer: type[T]) -> T:
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=answer)
            failure = msgspec.json.decode(response.content, type=_Failure).error
        except (ValueError, RecursionError):
            if response.status_code == 429:
                raise Busy("rate", "HTTP 429", retry_after=_retry_after(response)) from None
            raise self._unknown(f"the answer cannot be read: HTTP {response.status_code}") from None
        raise self._error(failure, response)

    def _error(self, failure: GraphError, response: httpx.Response) -> ChannelError:
        meaning = meaning_of(
            self.meanings,
            failure.code,
            failure.error_subcode,
            response.status_code,
            transient=failure.is_transient,
        )
        # Meta prints a malformed token back in its message.
        said = failure.message.replace(self.token.get_secret_value(), "…")
        detail = f"{failure.code}/{failure.error_subcode}: {said}"
        if meaning.error is Busy:
            return Busy(meaning.reason, detail, retry_after=_retry_after(response) or meaning.wait)
        return Rejected(meaning.reason, detail)

    def _unknown(self, detail: str) -> Unknown:
        return Unknown("uncertain", detail, retry_after=self.uncertain_wait)


def _retry_after(response: httpx.Response) -> timedelta | None:
    given = response.headers.get("retry-after", "")
    return timedelta(seconds=int(given)) if given.isdecimal() and len(given) < 7 else None


def authenticated(request: WebhookRequest, *app_secrets: SecretStr | None) -> bytes:
    """
    The body, once its signature holds under one of the secrets.

    Raises:
        Unauthenticated: it holds under none; nothing was parsed.
    """
    given = request.headers.get("x-hub-signature-256", "").encode(errors="replace")
    holds = False
    for secret in app_secrets:
        if secret is not None:
            expected = signature(secret.get_secret_value(), request.body).encode()
            holds |= hmac.compare_digest(given, expected)
    if not holds:
        raise Unauthenticated("X-Hub-Signature-256 is missing or does not hold for this body")
    return request.body


def signature(app_secret: str, body: bytes) -> str:
    """
    The value of X-Hub-Signature-256.

    >>> signature("secret", b"{}")
    'sha256=77325902caca812dc259733aacd046b73817372c777b8d95b402647474516e13'
    """
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def challenge(request: WebhookRequest, verify_token: SecretStr) -> Challenge:
    """
    The answer to the GET by which Meta verifies a webhook's address.

    Raises:
        Unauthenticated: it does not know our verify token.
    """
    given = request.query.get("hub.verify_token", "").encode(errors="replace")
    knows = hmac.compare_digest(given, verify_token.get_secret_value().encode())
    if not knows or request.query.get("hub.mode") != "subscribe" or "hub.challenge" not in request.query:
        raise Unauthenticated("hub.verify_token is not the one of this account")
    return Challenge(request.query["hub.challenge"])


def parsed(body: bytes, webhook: type[T]) -> T:
    """
    Raises:
        Invalid: signed, but not JSON of this shape.
    """
    try:
        return msgspec.json.decode(body, type=webhook)
    except RecursionError:
        raise Invalid("the body is nested too deeply") from None
    except ValueError as error:
        raise Invalid(f"not what this provider sends: {error}") from None


def instant(milliseconds: int) -> datetime:
    """
    ``milliseconds`` since 1970, in UTC.

    Raises:
        Invalid: no calendar has it.
    """
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise Invalid("a timestamp is out of range") from None
