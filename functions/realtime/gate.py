"""
Who may open a socket or a stream, by what its request brought or its first frame says, and how often (E11).

Each that proves somebody counts as a request of their tenant, as any call does; each that proves nobody counts as one
of its address, and so does a socket that brought nothing, before it is accepted. What an answer says of the limits is
put into ``scope["state"]["limits"]``.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from functions.realtime import incoming
from functions.realtime.func import Realtime
from functions.realtime.origins import normal
from functions.realtime.session import Limits
from shared.domain.errors import Chat4AllError, Forbidden, Invalid, NotFound, RateLimited, Unauthenticated
from shared.domain.identity import MESSAGES
from shared.http.authenticator import Authenticator
from shared.http.caller import Caller
from shared.http.middleware import header
from shared.http.rate_limit import MESSAGES as MESSAGES_POLICY
from shared.http.rate_limit import RateLimiter
from shared.http.tickets import Admission

Scope = dict[str, Any]


FIRST_FRAME = 5.0
"""Seconds in which a socket without credentials must send them."""


class Gate:
    def __init__(self, realtime: Realtime, authenticator: Authenticator, limiter: RateLimiter, limits: Limits) -> None:
        self._realtime, self._authenticator, self._limiter = realtime, authenticator, limiter
        self._limits = limits
        self._unproven: Counter[str] = Counter()
        """By address."""

    async def check_origin(self, scope: Scope) -> None:
        """
        Raises:
            Forbidden: a page of a foreign origin.
            RateLimited: one of too many.
        """
        if not same_origin(scope, self._limits.origins):
            raise await self.turned_away(Forbidden("pages of this origin may not open sockets or streams"), scope)

    async def admission(self, scope: Scope) -> Admission | None:
        """
        By what the request brought; None: nothing.

        Raises:
            Unauthenticated, Forbidden, Invalid, NotFound: no token or ticket, or not for this user; no such user.
            RateLimited: too many came.
        """
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        given = header(scope, b"x-act-as")
        act_as = query.get("act_as") if given is None else given.decode("latin-1")
        authorization = header(scope, b"authorization")
        if authorization is not None:
            return await self._by_authorization(authorization, act_as, scope)
        if "ticket" in query:
            return await self._by_ticket(query["ticket"], scope)
        if "token" in query:
            return await self.by_token(query["token"], act_as, scope)
        return None

    async def count_unproven(self, scope: Scope) -> None:
        """
        A socket that brought nothing counts as one that proves nobody; what it proves wrong later costs no more.

        Raises:
            RateLimited: one of too many.
        """
        answered = await self.turned_away(Unauthenticated("nothing was brought"), scope)
        if isinstance(answered, RateLimited):
            raise answered
        scope["state"]["counted"] = True

    @contextmanager
    def unproven(self, scope: Scope) -> Iterator[None]:
        """
        While a socket is open and has not said whose it is.

        Raises:
            RateLimited: the address has as many of these as one may have.
        """
        address = self._limiter.address(scope)
        if self._unproven[address] >= self._limits.unproven:
            told = f"an address may have {self._limits.unproven} sockets here that have not said whose they are"
            raise RateLimited(told, retry_after=timedelta(seconds=FIRST_FRAME))
        self._unproven[address] += 1
        try:
            yield
        finally:
            self._unproven[address] -= 1
            if not self._unproven[address]:
                del self._unproven[address]

    async def introduced(self, frame: str | bytes, scope: Scope) -> Admission:
        """
        By the first frame.

        Raises:
            Unauthenticated, Forbidden, Invalid, NotFound, RateLimited: as ``admission``; or it is no such frame.
        """
        try:
            said = incoming.read(frame)
        except Invalid as error:
            raise await self.turned_away(error, scope) from None
        if not isinstance(said, incoming.Auth):
            raise await self.turned_away(Unauthenticated("send an auth frame first"), scope)
        return await self.by_token(said.token, said.act_as, scope)

    async def by_token(self, token: str, act_as: str | None, scope: Scope) -> Admission:
        """
        Raises:
            Unauthenticated, Forbidden, Invalid, NotFound, RateLimited: as ``admission``.
        """
        return await self._by_authorization(b"Bearer " + token.encode("utf-8", "replace"), act_as, scope)

    async def turned_away(self, error: Chat4AllError, scope: Scope) -> Chat4AllError:
        """What somebody who proved to be nobody is told: ``error``, or that they tried too often."""
        if scope["state"].pop("counted", False):
            return error
        answered, scope["state"]["limits"] = await self._limiter.turn_away(error, scope)
        return answered

    async def _by_authorization(self, authorization: bytes, act_as: str | None, scope: Scope) -> Admission:
        try:
            caller = self._authenticator.known(authorization) or await self._authenticator.authenticate(authorization)
        except Unauthenticated as error:
            raise await self.turned_away(error, scope) from None
        await self._count(caller, scope)
        caller.require(MESSAGES)
        user_id = caller.acting_as(act_as)
        if caller.user_id is None and not await self._realtime.users.exists(caller.tenant, user_id):
            raise NotFound(f"there is no user {user_id!r}")
        return Admission(caller, user_id)

    async def _by_ticket(self, ticket: str, scope: Scope) -> Admission:
        try:
            admission = await self._realtime.tickets.redeem(ticket, origin(scope), by_get=scope["type"] == "http")
        except Unauthenticated as error:
            raise await self.turned_away(error, scope) from None
        await self._count(admission.caller, scope)
        return admission

    async def _count(self, caller: Caller, scope: Scope) -> None:
        scope["state"]["limits"], refused = await self._limiter.judge(caller.tenant, MESSAGES_POLICY, scope)
        if refused is not None:
            raise refused


def origin(scope: Scope) -> str | None:
    """Whose page asks; programs send none."""
    given = header(scope, b"origin")
    return None if given is None else given.decode("latin-1")


def same_origin(scope: Scope, allowed: frozenset[str]) -> bool:
    """
    Whether it is no page that asks, or one of this host, or of an origin that is allowed. A port that is the scheme's
    own may be named or not (RFC 6454); ``allowed`` ones are ``normal``.

    >>> same_origin({"headers": [(b"host", b"a.example"), (b"origin", b"https://a.example:443")]}, frozenset())
    True
    >>> same_origin({"headers": [(b"host", b"a.example:8080"), (b"origin", b"http://a.example")]}, frozenset())
    False
    """
    asking = origin(scope)
    if asking is None or "*" in allowed:
        return True
    page = normal(asking)
    if page in allowed:
        return True
    host = header(scope, b"host")
    if not host or "://" not in page:
        return False
    scheme = page.partition("://")[0]  # ours is not known: TLS may end before us
    return page == normal(f"{scheme}://{host.decode('latin-1')}")
