"""Channels, and the tenant's accounts at the providers."""

from typing import Annotated

import typer

from shared.cli.command import Failed, Session, command
from shared.cli.platform import segment

app = typer.Typer(help="Channels and the accounts at their providers.", no_args_is_help=True)


@command(app, "list")
def list_channels(session: Session) -> None:
    """The channels that are installed and what they can do."""
    page = session.platform.items("/v1/channels", limit=200)

    def human() -> None:
        rows = [
            (
                each["name"],
                each["configured"],
                each["breaker"],
                f"{each['capabilities']['max_text_length']} {each['capabilities']['text_length_in']}",
                each["capabilities"]["files"],
                each["capabilities"]["delivered_receipts"],
                each["capabilities"]["read_receipts"],
            )
            for each in page["items"]
        ]
        columns = ("channel", "configured", "breaker", "longest text", "files", "tells delivered", "tells read")
        session.output.table(columns, rows)

    session.output.document(page, human)


@command(app, "accounts")
def accounts(session: Session, channel: Annotated[str, typer.Argument()]) -> None:
    """The tenant's accounts on a channel; secrets are masked."""
    page = session.platform.items(f"/v1/channels/{segment(channel)}/accounts", limit=200)

    def human() -> None:
        rows = [(each["account_id"], each.get("enabled"), each.get("settings")) for each in page["items"]]
        session.output.table(("account", "enabled", "settings"), rows)

    session.output.document(page, human)


@command(app, "check")
def check(
    session: Session, channel: Annotated[str, typer.Argument()], account_id: Annotated[str, typer.Argument()]
) -> None:
    """Ask the provider whether the account works; exit code 1 when it does not."""
    found = session.platform.post(f"/v1/channels/{segment(channel)}/accounts/{segment(account_id)}/check")
    session.output.document(found, lambda: session.output.facts(found))
    if not found.get("ok"):
        raise Failed(f"{channel} account {account_id} does not work: {found.get('detail', '')}")
