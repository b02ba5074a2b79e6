"""Files: to a conversation, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import NAMESPACE_URL, uuid5

import typer

from shared.cli.command import INTERRUPTED, Failed, Session, command
from shared.cli.platform import Json

if TYPE_CHECKING:
    from shared.cli.transfer.pace import Pace

_MIB = 1024 * 1024

ActAs = Annotated[
    str | None, typer.Option("--as", help="The user who does it (default: the tenant's client).", show_default=False)
]
LimitRate = Annotated[
    float | None, typer.Option("--limit-rate", min=0.01, help="At most so many MiB a second.", show_default=False)
]


def register(app: typer.Typer) -> None:
    command(app, "upload")(upload)
    command(app, "download")(download)


def upload(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)],
    conversation_id: Annotated[str, typer.Option("--conversation", help="The conversation that it is for.")],
    user: ActAs = None,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=32, help="Parts at the same time.")] = 4,
    limit_rate: LimitRate = None,
    send: Annotated[
        bool | None,
        typer.Option("--send/--no-send", help="Send it as a message (default: with --as).", show_default=False),
    ] = None,
    caption: Annotated[str | None, typer.Option("--caption", help="A text for the message.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="FILE_ID", help="Go on with this upload, begun a day ago or more.")
    ] = None,
) -> None:
    """
    Upload a file, up to 2 GiB, and send it.

    Stopped by Ctrl-C or a crash, the same command goes on where it was: the platform knows what is missing. The
    checksum (SHA-256) is computed here and proven there. The same file is sent once, however often this is run.
    """
    from shared.cli.transfer.progress import progress
    from shared.cli.transfer.upload import Upload, read

    if send and user is None:
        raise typer.BadParameter("--send needs --as: a message has a sender")
    if caption is not None and (send is False or user is None):
        raise typer.BadParameter("--caption goes with a message: it needs --as, and not --no-send")
    try:
        with progress(session.output.as_json) as seen:
            running = Upload(
                session.platform,
                read(file, seen),
                conversation_id,
                user,
                seen,
                parallel=parallel,
                pace=_pace(limit_rate),
                file_id=resume,
            )
            running.run()
    except KeyboardInterrupt:
        raise Failed("stopped; the same command goes on from here", exit_code=INTERRUPTED) from None
    document: Json = {
        "file_id": running.file_id,
        "filename": file.name,
        "size": running.source.size,
        "checksum": f"sha256:{running.source.checksum}",
        "upload_status": running.status["upload_status"],
    }
    if user is not None and send is not False:
        document["message"] = _sent(session, document["file_id"], conversation_id, user, caption)

    def human() -> None:
        session.output.say(f"[green]{document['upload_status']}[/green] as {document['file_id']}")
        if message := document.get("message"):
            session.output.say(f"sent as {message['message_id']}, number {message['seq']}")

    session.output.document(document, human)


def _pace(limit_rate: float | None) -> "Pace":
    from shared.cli.transfer.pace import Pace

    return Pace(limit_rate * _MIB if limit_rate else None)


def _sent(session: Session, file_id: str, conversation_id: str, user: str, caption: str | None) -> Json:
    """The message; its id follows from what it says, so that a crash before its answer does not double it."""
    body: Json = {
        "message_id": str(uuid5(NAMESPACE_URL, f"chat4all:sent:{file_id}:{user}:{caption}")),
        "conversation_id": conversation_id,
        "from": user,
        "payload": {"type": "file", "file_id": file_id, **({"caption": caption} if caption else {})},
    }
    accepted: Json = session.platform.post("/v1/messages", body)
    return {name: accepted[name] for name in ("message_id", "seq")}


def download(
    session: Session,
    file_id: Annotated[str, typer.Argument()],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file, or a folder for it.", show_default="this folder")
    ] = Path(),
    user: ActAs = None,
    limit_rate: LimitRate = None,
) -> None:
    """
    Download a file and verify its checksum.

    Stopped or cut, the same command goes on where it was. The file has its name only once it is whole and right;
    until then it is a hidden one that ends in `.part`.
    """
    from shared.cli.transfer.download import Download
    from shared.cli.transfer.progress import progress

    try:
        with progress(session.output.as_json) as seen:
            running = Download(session.platform, file_id, user, output, seen, pace=_pace(limit_rate))
            path = running.run()
    except KeyboardInterrupt:
        raise Failed("stopped; the same command goes on from here", exit_code=INTERRUPTED) from None
    document = {"path": str(path), "size": running.facts["size"], "checksum": running.facts["checksum"]}
    session.output.document(document, lambda: session.output.say(f"[green]verified[/green] {path}"))
