"""What a process is told beside where its data and its servers are; each mode puts it behind the same ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.domain.sealing_keys import keys_of
from shared.domain.webhook import WebhookPolicy
from shared.runtime.object_stores import s3_settings
from shared.runtime.webhook_policy import policy_of, private_allowed
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from shared.adapters.s3.settings import S3Settings


_SECRET_KEY = "CHAT4ALL_SECRET_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """
    ``keys``: of the vault, the first seals. ``provider_hosts``: that channel accounts may name beside the providers'
    own. ``private_webhooks``: webhooks may go to this machine and its neighbours. ``url``: how clients reach this
    process; presigned URLs of a folder begin with it. ``s3``: keeps the bytes of files; without it a folder does.
    ``clamav``: where clamd is; without it no file is scanned.
    """

    keys: Sequence[bytes] = field(default=(), repr=False)
    provider_hosts: Sequence[str] = ()
    webhook_policy: WebhookPolicy = field(default_factory=WebhookPolicy)
    private_webhooks: bool = False
    url: str = "http://127.0.0.1:8080"
    s3: "S3Settings | None" = None
    clamav: str = ""

    @classmethod
    def read(cls, cfg: Mapping[str, str]) -> "Choices":
        """
        From the environment of a function that is a process of its own.

        Raises:
            WiringError: a value does not fit.
        """
        return cls(
            keys=_keys(cfg),
            provider_hosts=split(cfg.get("CHAT4ALL_PROVIDER_HOSTS", "")),
            webhook_policy=policy_of(cfg),
            private_webhooks=private_allowed(cfg),
            url=cfg.get("CHAT4ALL_PUBLIC_URL", "http://127.0.0.1:8080"),
            s3=s3_settings(cfg, mode=cfg.get("CHAT4ALL_MODE", "embedded")),
            clamav=cfg.get("CHAT4ALL_CLAMAV", ""),
        )


def _keys(cfg: Mapping[str, str]) -> list[bytes]:
    try:
        return keys_of(cfg.get(_SECRET_KEY, ""))
    except ValueError as error:
        raise WiringError(f"{_SECRET_KEY}: {error}") from None


def split(listed: str) -> list[str]:
    """
    >>> split("a, b,")
    ['a', 'b']
    """
    return [one.strip() for one in listed.split(",") if one.strip()]
