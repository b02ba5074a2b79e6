"""A chat in the terminal."""

from typing import Annotated

import typer

from shared.cli.command import Session, command


def register(app: typer.Typer) -> None:
    command(app, "chat")(chat)


def chat(
    session: Session,
    user: Annotated[str, typer.Option("--as", help="The user who chats.", show_default=False)],
    with_user: Annotated[
        str | None, typer.Option("--with", help="Their private conversation with this user.", show_default=False)
    ] = None,
    conversation_id: Annotated[
        str | None, typer.Option("--conversation", help="This conversation (default: the latest).", show_default=False)
    ] = None,
    reads: Annotated[
        bool, typer.Option("--read/--no-read", help="Whether what is shown counts as read, or only as delivered.")
    ] = True,
    linger: Annotated[
        float, typer.Option("--linger", min=0, help="Seconds to stay when the input ends, if it is no terminal.")
    ] = 0.0,
) -> None:
    """
    Chat in the terminal, live. ✓ accepted, ✓✓ delivered, then read; who is there is at the foot.

    Ctrl-D or /quit leaves. When the connection is lost it comes back by itself, and nothing is missing. Without a
    terminal each line of stdin is sent; with --json every frame of the socket is a line of stdout, and a message that
    comes again has `repeat_of`.
    """
    import asyncio

    from shared.cli.chat.talk import Talk, find_conversation

    conversation = find_conversation(session, user, with_user, conversation_id)
    talk = Talk(session, user, conversation, linger=linger, reads=reads)
    try:
        asyncio.run(talk.run())
    except KeyboardInterrupt:
        return
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
