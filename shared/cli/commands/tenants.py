"""Tenants: made on the machine that holds the data, never over the network."""

from typing import Annotated

import typer

from shared.cli.command import Failed, Session, command

app = typer.Typer(help="Tenants of this platform.", no_args_is_help=True)


@app.callback()
def tenants() -> None:
    """Tenants of this platform."""


@command(app, "create")
def create(session: Session, name: Annotated[str, typer.Argument(help="a-z, 0-9 and -")]) -> None:
    """Create a tenant and print a client for it; the secret is shown once and kept in credentials.json."""
    from shared.domain.errors import Chat4AllError
    from shared.runtime.platform import create_tenant
    from shared.runtime.start_error import StartError
    from shared.settings import SettingsError, load_settings

    try:
        client = create_tenant(load_settings(data_dir=session.connection.data_dir), name)
    except (Chat4AllError, StartError, SettingsError) as error:
        raise Failed(str(error)) from None
    document = {"tenant": client.tenant, "client_id": client.client_id, "client_secret": client.client_secret}
    session.output.document(document, lambda: session.output.facts(document))
