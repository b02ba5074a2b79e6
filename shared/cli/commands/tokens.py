"""Access tokens, for curl and for trying things out."""

from typing import Annotated

import typer

from shared.cli.command import Session, command
from shared.cli.platform import segment


def register(app: typer.Typer) -> None:
    command(app, "token")(token)


def token(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", help="A token that acts only as this user.")] = None,
    ttl: Annotated[
        int | None, typer.Option("--ttl", min=1, help="Seconds that a user token is good for.", show_default=False)
    ] = None,
) -> None:
    """Print an access token: of the tenant's client, or of one user."""
    if user is None and ttl is not None:
        raise typer.BadParameter("--ttl goes with --user")
    if user is None:
        granted = session.platform.token()
    else:
        body = {} if ttl is None else {"ttl_seconds": ttl}
        granted = session.platform.post(f"/v1/users/{segment(user)}/tokens", body)
    session.output.document(granted, lambda: print(granted["access_token"]))
