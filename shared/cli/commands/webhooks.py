"""Webhooks: who is told of what, and what became of it."""

from enum import StrEnum
from typing import Annotated

import typer

from shared.cli.command import Failed, Session, command
from shared.cli.platform import Json, segment
from shared.domain.webhook import State

app = typer.Typer(help="Webhooks: subscriptions, and the log of what was sent to them.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument()]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--event", help="Such as message.read, or message.*; may be repeated.", show_default=False),
]
Secret = Annotated[str | None, typer.Option("--secret", help="Your own, whsec_…, instead of a new one.")]
Description = Annotated[str | None, typer.Option("--description", help="For you; nobody else reads it.")]


class Signing(StrEnum):
    HMAC = "hmac"
    ED25519 = "ed25519"


@command(app, "create")
def create(
    session: Session,
    address: Annotated[str, typer.Argument(metavar="URL", help="https, and a public address.")],
    kinds: Kinds = None,
    signing: Annotated[
        Signing,
        typer.Option("--signing", help="hmac: a shared secret; ed25519: a private key, which the platform keeps."),
    ] = Signing.HMAC,
    secret: Secret = None,
    description: Description = None,
) -> None:
    """Subscribe a URL to these events, or to all, and show the secret that verifies them, this once."""
    given = {"secret": secret, "description": description}
    body = {"url": address, "events": kinds or ["*"], "signing": signing.value, **_given(given)}
    _show_key(session, session.platform.post("/v1/webhooks", body))


@command(app, "list")
def list_webhooks(session: Session, limit: Limit = 50) -> None:
    """List the tenant's webhooks."""
    page = session.platform.items("/v1/webhooks", limit=limit)

    def human() -> None:
        rows = [
            (each["webhook_id"], each["url"], each["events"], each["enabled"], each["disabled_reason"])
            for each in page["items"]
        ]
        columns = ("webhook", "url", "events", "enabled", "switched off because")
        session.output.table(columns, rows, empty="no webhooks yet")

    session.output.document(page, human)


@command(app, "show")
def show(session: Session, webhook_id: WebhookId) -> None:
    """Show one webhook; its secret is never shown again."""
    webhook = session.platform.get(_path(webhook_id))
    session.output.document(webhook, lambda: session.output.facts(webhook))


@command(app, "update")
def update(
    session: Session,
    webhook_id: WebhookId,
    address: Annotated[str | None, typer.Option("--to", metavar="URL", help="Where it goes from now on.")] = None,
    kinds: Kinds = None,
    description: Description = None,
    enabled: Annotated[
        bool | None,
        typer.Option("--enable/--disable", help="Also one that was switched off for failing.", show_default=False),
    ] = None,
) -> None:
    """Change a webhook; what is not named stays."""
    changes = _given({"url": address, "events": kinds or None, "description": description, "enabled": enabled})
    if not changes:
        raise typer.BadParameter("say what is to change: --to, --event, --description, --enable or --disable")
    webhook = session.platform.call("PATCH", _path(webhook_id), changes).body
    session.output.document(webhook, lambda: session.output.facts(webhook))


@command(app, "delete")
def delete(session: Session, webhook_id: WebhookId) -> None:
    """Remove a webhook; what is still on its way to it is given up."""
    session.platform.call("DELETE", _path(webhook_id))
    session.output.document({"deleted": [webhook_id]}, lambda: print(f"deleted {webhook_id}"))


@command(app, "rotate")
def rotate(
    session: Session,
    webhook_id: WebhookId,
    secret: Secret = None,
    keep_hours: Annotated[
        int, typer.Option("--keep-hours", min=0, help="How long the old one signs too; 0: it has leaked.")
    ] = 24,
) -> None:
    """Replace the secret, and show the new one, this once."""
    body = {"keep_hours": keep_hours, **_given({"secret": secret})}
    _show_key(session, session.platform.post(f"{_path(webhook_id)}/rotate-secret", body))


@command(app, "test")
def test(session: Session, webhook_id: WebhookId) -> None:
    """Send a webhook.ping now and show what the receiver says; exit code 1 when it is not 2xx."""
    found = session.platform.post(f"{_path(webhook_id)}/test")
    session.output.document(found, lambda: session.output.facts(found))
    if not found["ok"]:
        raise Failed(f"the receiver did not take it: {found['problem'] or found['status_code']}")


@command(app, "deliveries")
def deliveries(
    session: Session,
    webhook_id: WebhookId,
    state: Annotated[State | None, typer.Option("--status", help="Only these; failed: given up.")] = None,
    limit: Limit = 50,
) -> None:
    """What was sent and is to be sent, the newest first; kept for 30 days."""
    status = None if state is None else state.value
    page = session.platform.items(f"{_path(webhook_id)}/deliveries", limit=limit, status=status)

    def human() -> None:
        names = ("created_at", "delivery_id", "type", "status", "tries", "status_code", "reason", "next_try_at")
        columns = ("created", "delivery", "event", "status", "tries", "answer", "reason", "next try")
        rows = [tuple(each[name] for name in names) for each in page["items"]]
        session.output.table(columns, rows, empty="nothing was sent yet")

    session.output.document(page, human)


@command(app, "delivery")
def delivery(session: Session, webhook_id: WebhookId, delivery_id: Annotated[str, typer.Argument()]) -> None:
    """One delivery: its body, and each try with what the receiver answered."""
    found = session.platform.get(f"{_path(webhook_id)}/deliveries/{segment(delivery_id)}")

    def human() -> None:
        session.output.facts({name: value for name, value in found.items() if name != "history"})
        names = ("number", "at", "milliseconds", "status_code", "problem", "response")
        rows = [tuple(each[name] for name in names) for each in found["history"]]
        session.output.table(("try", "at", "ms", "answer", "problem", "response"), rows, title="\ntries")

    session.output.document(found, human)


@command(app, "replay")
def replay(
    session: Session,
    webhook_id: WebhookId,
    delivery_id: Annotated[str | None, typer.Argument(show_default=False)] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="All from a time on: 2026-11-21T00:00:00Z.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="With --since: up to this time (default: now).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="With --since: also those that were delivered.")] = False,
) -> None:
    """Send again, under the same webhook-id: one delivery, or all that failed since a time."""
    if (delivery_id is None) == (since is None) or (since is None and (until or everything)):
        raise typer.BadParameter("give a DELIVERY_ID, or --since and, if you like, --until and --all")
    if delivery_id is not None:
        session.platform.post(f"{_path(webhook_id)}/deliveries/{segment(delivery_id)}/replay")
        count = 1
    else:
        count = _replay_range(session, webhook_id, {"since": since, **_given({"until": until})}, everything)
    session.output.document({"replayed": count}, lambda: session.output.say(f"replayed: {count}"))


def _replay_range(session: Session, webhook_id: str, times: Json, everything: bool) -> int:
    body: Json = {**times, "status": "all" if everything else "failed"}
    count = 0
    while True:
        page = session.platform.post(f"{_path(webhook_id)}/replay", body)
        count += int(page["replayed"])
        if not page["next_cursor"]:
            return count
        body["cursor"] = page["next_cursor"]


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{segment(webhook_id)}"


def _given(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _show_key(session: Session, webhook: Json) -> None:
    def human() -> None:
        session.output.facts(webhook)
        if webhook["secret"]:
            session.output.say("[dim]the secret is shown this once[/dim]")

    session.output.document(webhook, human)
