"""How webhooks are called, from what the environment of one function's process says."""

from collections.abc import Mapping
from datetime import timedelta

from shared.domain.webhook import SCHEDULE, WebhookPolicy, schedule_of
from shared.runtime.wiring_error import WiringError

ALLOW_PRIVATE = "CHAT4ALL_WEBHOOK_ALLOW_PRIVATE"
CONCURRENCY = "CHAT4ALL_CONCURRENCY"
_TRUE = frozenset({"1", "true", "yes", "on"})


def policy_of(cfg: Mapping[str, str]) -> WebhookPolicy:
    """
    Raises:
        WiringError: a value does not fit.
    """
    default = WebhookPolicy()
    try:
        schedule = cfg.get("CHAT4ALL_WEBHOOK_SCHEDULE")
        timeout = float(cfg.get("CHAT4ALL_WEBHOOK_TIMEOUT", default.timeout.total_seconds()))
        hours = float(cfg.get("CHAT4ALL_WEBHOOK_DISABLE_AFTER", default.disable_after / timedelta(hours=1)))
        return WebhookPolicy(
            schedule=SCHEDULE if schedule is None else schedule_of(schedule),
            timeout=timedelta(seconds=timeout),
            at_once=int(cfg.get(CONCURRENCY, default.at_once)),
            in_flight=int(cfg.get("CHAT4ALL_WEBHOOK_IN_FLIGHT", default.in_flight)),
            disable_after=timedelta(hours=hours),
        )
    except ValueError as error:
        raise WiringError(f"a CHAT4ALL_WEBHOOK_ setting does not fit: {error}") from None


def private_allowed(cfg: Mapping[str, str]) -> bool:
    return cfg.get(ALLOW_PRIVATE, "").lower() in _TRUE
