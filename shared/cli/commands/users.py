"""People of the tenant, and their addresses on the channels."""

from typing import Annotated

import typer

from shared.cli.command import Session, command
from shared.cli.platform import Json, segment

app = typer.Typer(help="The tenant's users and their identities on channels.", no_args_is_help=True)

Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]


@command(app, "create")
def create(
    session: Session,
    user_id: Annotated[str, typer.Argument(help="Your own id for the person.")],
    name: Annotated[str | None, typer.Option("--name", help="What people see.")] = None,
) -> None:
    """Create a user; the same id with the same content again changes nothing."""
    body = {"user_id": user_id} if name is None else {"user_id": user_id, "display_name": name}
    user = session.platform.post("/v1/users", body)
    session.output.document(user, lambda: session.output.facts(user))


@command(app, "update")
def update(
    session: Session,
    user_id: Annotated[str, typer.Argument()],
    name: Annotated[str, typer.Option("--name", help="What people see.", show_default=False)],
) -> None:
    """Change the name of a user."""
    user = session.platform.call("PATCH", f"/v1/users/{segment(user_id)}", {"display_name": name}).body
    session.output.document(user, lambda: session.output.facts(user))


@command(app, "list")
def list_users(session: Session, limit: Limit = 50) -> None:
    """List users."""
    page = session.platform.items("/v1/users", limit=limit)

    def human() -> None:
        rows = [(user["user_id"], user.get("display_name"), user.get("created_at")) for user in page["items"]]
        session.output.table(("user", "name", "created"), rows, empty="no users yet")

    session.output.document(page, human)


@command(app, "show")
def show(session: Session, user_id: Annotated[str, typer.Argument()]) -> None:
    """Show one user with the addresses linked to it."""
    user: Json = session.platform.get(f"/v1/users/{segment(user_id)}")
    linked = session.platform.items(f"/v1/users/{segment(user_id)}/channels", limit=200)["items"]

    def human() -> None:
        session.output.facts(user)
        rows = [(each["channel"], each["identifier"], each.get("is_active")) for each in linked]
        session.output.table(("channel", "identifier", "active"), rows, title="identities")

    session.output.document({**user, "channels": linked}, human)


@command(app, "link")
def link(
    session: Session,
    user_id: Annotated[str, typer.Argument()],
    channel: Annotated[str, typer.Argument(help="whatsapp, instagram, …")],
    identifier: Annotated[str, typer.Argument(help="The address there, such as +5511999990001.")],
) -> None:
    """Link a user to an address on a channel."""
    body = {"channel": channel, "identifier": identifier}
    linked = session.platform.post(f"/v1/users/{segment(user_id)}/channels", body)
    session.output.document(linked, lambda: session.output.facts(linked))
