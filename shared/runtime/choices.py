"""What a process is told beside where its data and its servers are; each mode puts it behind the same ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.domain.webhook import WebhookPolicy
from shared.runtime.webhook_policy import policy_of, private_allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """
    ``keys``: of the vault, the first seals. ``provider_hosts``: that channel accounts may name beside the providers'
    own. ``private_webhooks``: webhooks may go to this machine and its neighbours.
    """

    keys: Sequence[bytes] = field(default=(), repr=False)
    provider_hosts: Sequence[str] = ()
    webhook_policy: WebhookPolicy = field(default_factory=WebhookPolicy)
    private_webhooks: bool = False

    @classmethod
    def read(cls, cfg: Mapping[str, str]) -> "Choices":
        """
        From the environment of a function that is a process of its own.

        Raises:
            WiringError: a value does not fit.
        """
        return cls(
            keys=[key.encode() for key in split(cfg.get("CHAT4ALL_SECRET_KEY", ""))],
            provider_hosts=split(cfg.get("CHAT4ALL_PROVIDER_HOSTS", "")),
            webhook_policy=policy_of(cfg),
            private_webhooks=private_allowed(cfg),
        )


def split(listed: str) -> list[str]:
    """
    >>> split("a, b,")
    ['a', 'b']
    """
    return [one.strip() for one in listed.split(",") if one.strip()]
