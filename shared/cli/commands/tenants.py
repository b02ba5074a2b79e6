"""Tenants: made and seen on the machine that holds the data, never over the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.command import Failed, Session, command

if TYPE_CHECKING:
    from shared.runtime.credentials_file import Credentials
    from shared.settings import Settings

app = typer.Typer(help="Tenants of this platform.", no_args_is_help=True)


@app.callback()
def tenants() -> None:
    """Tenants of this platform."""


@command(app, "create")
def create(session: Session, name: Annotated[str, typer.Argument(help="a-z, 0-9 and -")]) -> None:
    """Create a tenant and print a client for it; the secret is shown once and kept in credentials.json."""
    from shared.runtime.platform import create_tenant

    with _settings(session) as settings:
        _hand_over(session, settings, create_tenant(settings, name))


@command(app, "add-client")
def add_client(session: Session, name: Annotated[str, typer.Argument(help="a-z, 0-9 and -")]) -> None:
    """
    Print one more client of a tenant, as where a secret was lost or is to be replaced.

    It is kept in credentials.json in the place of the one before, which stays valid until `disable-client`.
    """
    from shared.runtime.platform import add_client

    with _settings(session) as settings:
        _hand_over(session, settings, add_client(settings, name))


@command(app, "disable-client")
def disable_client(
    session: Session, client: Annotated[str, typer.Argument(metavar="CLIENT_ID", help="as it was printed")]
) -> None:
    """End a client and the tokens that it got, within seconds."""
    from shared.runtime.platform import disable_client

    with _settings(session) as settings:
        disable_client(settings, client)
    document = {"client_id": client, "disabled": True}
    session.output.document(document, lambda: session.output.facts(document))


@command(app, "list")
def list_tenants(session: Session) -> None:
    """List all tenants, with limits of their own and the client that credentials.json keeps of each."""
    from events.vocabulary import rfc3339
    from shared.runtime.credentials_file import CredentialsFile
    from shared.runtime.platform import all_tenants

    with _settings(session) as settings:
        found = all_tenants(settings)
        kept = {tenant.name: CredentialsFile(settings.data_dir).of(tenant.name) for tenant in found}
    items = [
        {
            "tenant": tenant.name,
            "created_at": rfc3339(tenant.created_at),
            "requests_per_minute": tenant.requests_per_minute,
            "messages_per_minute": tenant.messages_per_minute,
            "client_id": client.client_id if (client := kept[tenant.name]) else None,
        }
        for tenant in found
    ]
    columns = ("tenant", "created", "requests a minute", "messages a minute", "client")
    session.output.document(
        {"items": items, "next_cursor": None},
        lambda: session.output.table(columns, [tuple(item.values()) for item in items]),
    )


@command(app, "limit")
def limit(
    session: Session,
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and -")],
    requests: Annotated[int | None, typer.Option(help="Requests a minute; 0: no limit.", min=0)] = None,
    messages: Annotated[int | None, typer.Option(help="The same for messages, history and files.", min=0)] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Both as the settings have them.")] = False,
) -> None:
    """Give a tenant rate limits of its own, in place of those of the settings; what is left out is the settings'."""
    own = not (requests is None and messages is None)
    if own is reset:  # nothing at all would take away limits that somebody only wanted to see
        raise typer.BadParameter(
            "say --requests, --messages or both; or --reset alone, for the limits of the settings. "
            "`chat4all tenants list` shows those that it has"
        )
    from shared.runtime.platform import limit_tenant

    with _settings(session) as settings:
        tenant = limit_tenant(settings, name, requests=requests, messages=messages)
    document = {
        "tenant": tenant.name,
        "requests_per_minute": tenant.requests_per_minute,
        "messages_per_minute": tenant.messages_per_minute,
    }
    session.output.document(document, lambda: session.output.facts(document))


def _hand_over(session: Session, settings: "Settings", client: "Credentials") -> None:
    """Shown and kept, whichever of the two fails: only a hash of the secret is left, and nothing shows it again."""
    from shared.runtime.platform import keep_client

    document = {"tenant": client.tenant, "client_id": client.client_id, "client_secret": client.client_secret}
    try:
        session.output.document(document, lambda: session.output.facts(document))
    finally:
        keep_client(settings, client)


@contextmanager
def _settings(session: Session) -> "Iterator[Settings]":
    """
    The platform's, as the environment has them.

    Raises:
        Failed: they are wrong, or what is done with them is refused.
    """
    from shared.domain.errors import Chat4AllError
    from shared.runtime.start_error import StartError
    from shared.settings import SettingsError, load_settings

    try:
        yield load_settings(data_dir=session.connection.data_dir)
    except (Chat4AllError, StartError, SettingsError) as error:
        raise Failed(str(error)) from None
