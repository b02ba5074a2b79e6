"""Who calls, as a verified token says; and whom they speak for (api.md, Tokens)."""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import Forbidden, Invalid


@dataclass(frozen=True, slots=True)
class Caller:
    """
    ``user_id`` is None for a client token: such a caller acts for any user of its tenant.

    Whoever keeps a caller for long compares ``expires_at``, and ``epoch`` with that of the client now.
    """

    tenant: str
    client_id: str
    user_id: str | None
    scopes: frozenset[str]
    epoch: int
    expires_at: datetime

    def acting_as(self, user_id: str | None) -> str:
        """
        The user that the call is made for; ``user_id`` is the one that the request names, if any.

        Raises:
            Forbidden: a user token names somebody else.
            Invalid: a client token and nobody is named.
        """
        if self.user_id is not None:
            if user_id is None or user_id == self.user_id:
                return self.user_id
            raise Forbidden(f"this token acts only as {self.user_id!r}; leave the user out or name that one")
        if not user_id:
            raise Invalid("say for which user: a client token needs the header X-Act-As (or `from` in a message)")
        return user_id

    def require(self, scope: str) -> None:
        """
        Raises:
            Forbidden: the token does not have the scope.
        """
        if scope not in self.scopes:
            raise Forbidden(f"this needs a token with the scope {scope!r}")
