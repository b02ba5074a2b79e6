"""Who calls the API in tests, what it answers, and fakes of what lies behind it."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import Any, ClassVar, cast

import httpx
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.domain.errors import Busy, Invalid, NotFound, Rejected
from shared.http.problems import pointer
from shared.ports import Ports
from shared.ports.channel import Limits, secret_fields
from shared.runtime.bootstrap import create_tenant
from shared.runtime.credentials_file import Credentials


class FastHasher:
    """The PasswordHasher port, without the slowness."""

    async def hash(self, secret: str) -> str:
        return self._salted(token_hex(8), secret)

    async def verify(self, hashed: str | None, secret: str) -> bool:
        salt, _, _ = (hashed or "").partition("$")
        return hmac.compare_digest(self._salted(salt, secret).encode(), (hashed or "").encode())

    @staticmethod
    def _salted(salt: str, secret: str) -> str:
        return f"{salt}${hashlib.sha256(f'{salt}${secret}'.encode()).hexdigest()}"


class FakeWhatsApp:
    """A channel whose provider answers what the access token says."""

    name: ClassVar[str] = "whatsapp"
    limits: ClassVar[Limits] = Limits(
        text=4096, uncertain_wait=timedelta(minutes=2), media={"image": 5_000_000, "video": 16_000_000}
    )
    webhook_secret_field: ClassVar[str] = "app_secret"

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        phone_number_id: str
        timeout: float = 10.0
        access_token: SecretStr
        app_secret: SecretStr | None = None

    def __init__(self, config: Config) -> None:
        self.config = config

    @staticmethod
    def check_address(identifier: str) -> str:
        digits = identifier.replace(" ", "")
        if not digits.startswith("+") or not digits[1:].isdigit():
            raise Invalid("a WhatsApp number is E.164: + and digits")
        return digits

    async def connect(self) -> str:
        match self.config.access_token.get_secret_value():
            case "revoked":
                raise Rejected("auth_broken", "the provider does not take this token")
            case "slow":
                raise Busy("rate", "the provider asks to wait")
        return "Acme Support, +55 11 99999-8888"


class FakeInstagram(FakeWhatsApp):
    name: ClassVar[str] = "instagram"

    @staticmethod
    def check_address(identifier: str) -> str:
        if not identifier.startswith("@"):
            raise Invalid("an Instagram identifier is @name")
        return identifier.lower()


class FakeChannels:
    """The Channels port over the two above."""

    types: ClassVar[Mapping[str, Any]] = {"instagram": FakeInstagram, "whatsapp": FakeWhatsApp}

    def names(self) -> tuple[str, ...]:
        return tuple(self.types)

    def type_of(self, name: str) -> Any:
        if name not in self.types:
            raise NotFound(f"no channel {name!r} is installed; there are: {', '.join(self.types)}")
        return self.types[name]

    def open(self, name: str, config: Mapping[str, Any]) -> Any:
        kind = self.type_of(name)
        try:
            return kind(kind.Config.model_validate(config))
        except ValidationError as error:
            secrets = secret_fields(kind)
            errors = [
                {
                    "pointer": pointer(["secrets" if one["loc"][0] in secrets else "settings", *one["loc"]]),
                    "detail": one["msg"],
                }
                for one in error.errors()
            ]
            raise Invalid(errors=cast(Any, errors)) from None


@dataclass
class Api:
    """The platform, and an HTTP client that shows its bugs as 500, as a server would."""

    app: FastAPI
    http: httpx.AsyncClient
    ports: Ports
    clock: SettableClock
    cache: MemoryCache

    async def tenant(self, name: str) -> "Member":
        credentials = await create_tenant(self.ports, name)
        answer = await self.http.post(
            "/auth/token",
            json={"client_id": credentials.client_id, "client_secret": credentials.client_secret},
        )
        assert answer.status_code == 200, answer.text
        return Member(self.http, credentials, answer.json()["access_token"])


@dataclass
class Member:
    """Somebody with a token."""

    http: httpx.AsyncClient
    credentials: Credentials
    token: str

    async def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}", **request.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **request)

    async def user(self, user_id: str) -> "Member":
        """This user, made if need be, with a token of its own."""
        made = await self("POST", "/v1/users", json={"user_id": user_id})
        assert made.status_code in (200, 201), made.text
        answer = await self("POST", f"/v1/users/{user_id}/tokens")
        assert answer.status_code == 201, answer.text
        return Member(self.http, self.credentials, answer.json()["access_token"])


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in the answer, which is a whole one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"https://chat4all.dev/problems/{code}"
    assert body["status"] == status
    assert body["title"] and body["detail"]
    assert body["instance"] == answer.request.url.path
    assert len(body["trace_id"]) == 32
    return body
