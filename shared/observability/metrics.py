"""
Every metric that we expose, named in one place (E10). Labels have few values: never a user, an address, an id.

Functions call the verbs (``message_accepted``); ``.labels()`` costs a microsecond, so children are kept.
"""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

messages_accepted = Counter(
    "chat4all_messages_accepted_total", "Messages stored and numbered.", ["tenant", "origin"], registry=REGISTRY
)
messages_routed = Counter(
    "chat4all_messages_routed_total", "Messages whose deliveries are planned.", ["tenant"], registry=REGISTRY
)
messages_pushed = Counter(
    "chat4all_messages_pushed_total", "Messages handed to the sockets of their members.", ["tenant"], registry=REGISTRY
)
messages_left = Counter(
    "chat4all_messages_left_total",
    "Messages that nobody was there for: their members read them from where they are.",
    ["tenant"],
    registry=REGISTRY,
)
frames = Counter(
    "chat4all_frames_published_total",
    "Other frames for open sockets, by what they tell of.",
    ["event"],
    registry=REGISTRY,
)
silent_users = Counter(
    "chat4all_users_went_silent_total", "Users who are offline because nothing was heard of them.", registry=REGISTRY
)
deliveries = Counter(
    "chat4all_deliveries_total",
    "Calls to providers, by what came of them: sent, rejected, busy, unknown.",
    ["channel", "outcome"],
    registry=REGISTRY,
)
statuses = Counter(
    "chat4all_statuses_total", "Statuses recorded, as reported.", ["channel", "status"], registry=REGISTRY
)
statuses_unmatched = Counter(
    "chat4all_statuses_unmatched_total",
    "Statuses of messages that are not ours: sent by hand, or by another program of the account.",
    ["channel"],
    registry=REGISTRY,
)
requests_limited = Counter(
    "chat4all_requests_limited_total",
    "Requests answered 429, by the policy that they went beyond.",
    ["tenant", "policy"],
    registry=REGISTRY,
)
messages_failed = Counter(
    "chat4all_messages_failed_total", "Deliveries that will not happen.", ["tenant", "channel"], registry=REGISTRY
)
calls_late = Counter(
    "chat4all_calls_late_total",
    "Calls of a Trigger's subscriber that had no answer when their time was over.",
    ["trigger"],
    registry=REGISTRY,
)
events_retried = Counter(
    "chat4all_events_retried_total",
    "Calls of a Trigger's subscriber that were repeated.",
    ["trigger"],
    registry=REGISTRY,
)
events_dead = Counter(
    "chat4all_events_dead_lettered_total", "Events handed to a dead letter sink.", ["trigger"], registry=REGISTRY
)
events_lost = Counter(
    "chat4all_events_lost_total", "Events dropped, because no sink was set.", ["trigger"], registry=REGISTRY
)
events_parked = Counter(
    "chat4all_events_parked_total", "Events that wait for a person or for redrive.", ["tenant"], registry=REGISTRY
)
files_verified = Counter(
    "chat4all_files_verified_total", "Files with a verdict: ready, rejected.", ["outcome"], registry=REGISTRY
)
file_bytes_verified = Counter("chat4all_file_bytes_verified_total", "Bytes of files with a verdict.", registry=REGISTRY)
files_deduplicated = Counter(
    "chat4all_files_deduplicated_total", "Uploads that were spared, as their bytes were there.", registry=REGISTRY
)
file_bytes_patched = Counter(
    "chat4all_file_bytes_patched_total", "Bytes of files that came through the platform by PATCH.", registry=REGISTRY
)
uploads_open = Gauge(
    "chat4all_uploads_open", "Uploads that take parts, when reap last reached every tenant.", registry=REGISTRY
)
uploads_reaped = Counter(
    "chat4all_uploads_reaped_total", "Uploads that were aborted because nobody finished them.", registry=REGISTRY
)
blobs_buried = Counter(
    "chat4all_blobs_buried_total", "Objects deleted because no file used them any more.", registry=REGISTRY
)
accept_seconds = Histogram(
    "chat4all_accept_seconds", "A message's request until its 202.", registry=REGISTRY, buckets=_SECONDS
)
handle_seconds = Histogram(
    "chat4all_event_handle_seconds", "A function on one event.", ["function"], registry=REGISTRY, buckets=_SECONDS
)
event_age_seconds = Histogram(
    "chat4all_event_age_seconds",
    "From an event's time to the end of its handling: accepted to pushed, for push.",
    ["function"],
    registry=REGISTRY,
    buckets=_SECONDS,
)
events_handled = Counter(
    "chat4all_events_handled_total", "Events by verdict.", ["function", "outcome"], registry=REGISTRY
)
webhook_tries = Counter(
    "chat4all_webhook_tries_total",
    "Requests to webhooks, by what came of them: delivered, refused, timeout, unreachable …",
    ["outcome"],
    registry=REGISTRY,
)
webhook_try_seconds = Histogram(
    "chat4all_webhook_try_seconds", "A request to a webhook.", registry=REGISTRY, buckets=_SECONDS
)
webhook_delivery_seconds = Histogram(
    "chat4all_webhook_delivery_seconds",
    "From an event until a webhook has taken it.",
    registry=REGISTRY,
    buckets=(*_SECONDS, 60, 600, 3600, 6 * 3600, 24 * 3600),
)
webhooks_failed = Counter(
    "chat4all_webhook_deliveries_failed_total", "Webhook deliveries given up; they can be replayed.", registry=REGISTRY
)
webhooks_disabled = Counter(
    "chat4all_webhooks_disabled_total", "Webhooks switched off: gone, failing.", ["reason"], registry=REGISTRY
)


@cache
def _child(metric: Counter, *labels: str) -> Counter:
    return metric.labels(*labels)


def message_accepted(tenant: str, origin: str = "api") -> None:
    _child(messages_accepted, tenant, origin).inc()


def message_routed(tenant: str) -> None:
    _child(messages_routed, tenant).inc()


def message_pushed(tenant: str) -> None:
    _child(messages_pushed, tenant).inc()


def message_left(tenant: str) -> None:
    _child(messages_left, tenant).inc()


def frames_published(event: str, count: int) -> None:
    _child(frames, event).inc(count)


def users_went_silent(count: int) -> None:
    silent_users.inc(count)


def status_unmatched(channel: str) -> None:
    _child(statuses_unmatched, channel).inc()


def message_failed(tenant: str, channel: str) -> None:
    _child(messages_failed, tenant, channel).inc()


def delivery(channel: str, outcome: str) -> None:
    _child(deliveries, channel, outcome).inc()


def status_recorded(channel: str, status: str) -> None:
    _child(statuses, channel, status).inc()


def file_verified(outcome: str, size: int) -> None:
    _child(files_verified, outcome).inc()
    file_bytes_verified.inc(size)


def event_parked(tenant: str) -> None:
    _child(events_parked, tenant).inc()


def webhook_tried(outcome: str, seconds: float) -> None:
    _child(webhook_tries, outcome).inc()
    webhook_try_seconds.observe(seconds)


def webhook_delivered(seconds: float) -> None:
    webhook_delivery_seconds.observe(seconds)


def webhook_failed() -> None:
    webhooks_failed.inc()


def webhook_disabled(reason: str) -> None:
    _child(webhooks_disabled, reason).inc()


cache_up = Gauge("chat4all_cache_up", "1 while the cache answers, 0 while we go on without.", registry=REGISTRY)
cache_failures = Counter(
    "chat4all_cache_failures_total", "Operations that the cache did not answer.", registry=REGISTRY
)
fan_out_up = Gauge("chat4all_fan_out_up", "1 while fan-out to other processes works.", registry=REGISTRY)
frames_dropped = Counter(
    "chat4all_frames_dropped_total", "Frames for open sockets that could not be handed over.", registry=REGISTRY
)

sockets_open = Gauge("chat4all_sockets_open", "Open sockets and streams.", ["kind"], registry=REGISTRY)
frames_out = Counter("chat4all_frames_out_total", "Live frames written to sockets.", registry=REGISTRY)
frames_replayed = Counter(
    "chat4all_frames_replayed_total", "Messages read again for a client that came back.", registry=REGISTRY
)
gaps_filled = Counter(
    "chat4all_gaps_filled_total", "Messages read from the timeline before fan-out brought them.", registry=REGISTRY
)
sockets_cut = Counter(
    "chat4all_sockets_cut_total", "Sockets we closed: slow, silent, expired, revoked.", ["reason"], registry=REGISTRY
)


def socket_cut(reason: str) -> None:
    _child(sockets_cut, reason).inc()


def gauges(*names: tuple[str, str]) -> tuple[GaugeMetricFamily, ...]:
    """Families of gauges by trigger, for a collector that is asked only when somebody scrapes."""
    return tuple(GaugeMetricFamily(name, text, labels=["trigger"]) for name, text in names)


TRIGGER_LAG = ("chat4all_trigger_lag_events", "Records of the log that the Trigger has not finished.")
TRIGGER_IN_FLIGHT = ("chat4all_trigger_in_flight", "Events that the Trigger has begun and not finished.")
TRIGGER_CALL_LIMIT = (
    "chat4all_trigger_call_limit",
    "Calls that the Trigger makes at once at most, now; falls when one is not answered in time.",
)


def expose(registry: CollectorRegistry = REGISTRY) -> bytes:
    """The page that Prometheus scrapes, of CONTENT_TYPE."""
    return generate_latest(registry)


__all__ = [
    "CONTENT_TYPE",
    "REGISTRY",
    "TRIGGER_CALL_LIMIT",
    "TRIGGER_IN_FLIGHT",
    "TRIGGER_LAG",
    "Collector",
    "expose",
    "gauges",
]
