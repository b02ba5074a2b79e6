"""Where people talk: private conversations and groups."""

from typing import Annotated

import typer

from shared.cli.command import Session, command
from shared.cli.platform import Json, segment

app = typer.Typer(help="Conversations of the tenant's users.", no_args_is_help=True)

ActAs = Annotated[str, typer.Option("--as", help="The user who looks.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]


@command(app, "create")
def create(
    session: Session,
    members: Annotated[list[str], typer.Argument(help="User ids.")],
    group: Annotated[bool, typer.Option("--group", help="A group, also when it has one or two members.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="metadata.name, for groups.")] = None,
) -> None:
    """Open a conversation: private for two members, a group for more; for one with --group only."""
    if len(members) < 2 and not group:
        raise typer.BadParameter("with whom? Name two members or more, or say --group for a group of one")
    body: Json = {"type": "group" if group or len(members) != 2 else "private", "members": members}
    if name is not None:
        body["metadata"] = {"name": name}
    conversation = session.platform.post("/v1/conversations", body)
    session.output.document(conversation, lambda: session.output.facts(conversation))


@command(app, "list")
def list_conversations(session: Session, user: ActAs, limit: Limit = 50) -> None:
    """List a user's conversations, latest activity first."""
    page = session.platform.items("/v1/conversations", limit=limit, act_as=user)

    def human() -> None:
        rows = []
        for each in page["items"]:
            last = each.get("last_message") or {}
            said = f"{last.get('from') or ''}: {last.get('preview') or ''}" if last else ""
            rows.append((each["conversation_id"], each["type"], each.get("members"), each.get("unread_count"), said))
        session.output.table(("conversation", "type", "members", "unread", "last message"), rows)

    session.output.document(page, human)


@command(app, "show")
def show(session: Session, conversation_id: Annotated[str, typer.Argument()], user: ActAs) -> None:
    """Show one conversation as one of its members sees it."""
    conversation = session.platform.get(f"/v1/conversations/{segment(conversation_id)}", act_as=user)
    session.output.document(conversation, lambda: session.output.facts(conversation))


@command(app, "members")
def members(
    session: Session,
    conversation_id: Annotated[str, typer.Argument()],
    user: ActAs,
    add: Annotated[list[str] | None, typer.Option("--add", help="Add this user; may be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Remove this user; may be repeated.")] = None,
) -> None:
    """List the members of a conversation, after adding and removing some."""
    path = f"/v1/conversations/{segment(conversation_id)}"
    for user_id in add or ():
        session.platform.post(f"{path}/members", {"user_id": user_id}, act_as=user)
    for user_id in remove or ():
        session.platform.call("DELETE", f"{path}/members/{segment(user_id)}", act_as=user)
    if user in (remove or ()):
        session.output.document({"left": user}, lambda: print(f"{user} has left"))
        return
    found = session.platform.get(path, act_as=user)["members"]
    session.output.document({"members": found}, lambda: session.output.table(("member",), [(each,) for each in found]))
