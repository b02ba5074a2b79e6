"""A receiver of webhooks."""

import errno
import queue
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.command import Failed, Session, command
from shared.cli.platform import segment
from shared.cli.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.cli.webhook_receiver import Received, WebhookReceiver


def register(app: typer.Typer) -> None:
    command(app, "listen")(listen)


def listen(
    session: Session,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    registers: Annotated[
        bool, typer.Option("--register", help="Subscribe this receiver at the platform, and remove it at the end.")
    ] = False,
    public: Annotated[
        str | None,
        typer.Option("--public", help="With --register: the URL the platform calls (default: host and port).",
                     show_default=False),
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--event", help="With --register: these only; may be repeated (default: all).")
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option("--secret", help="Without --register: the secret of the webhook that calls, whsec_….",
                     show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="Stop after so many that are verified.", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """
    Receive webhooks, verify and print them, until Ctrl-C or SIGTERM. With --json one object a line.

    Verified as any receiver would, by the Standard Webhooks library; what does not hold is answered with 401 and shown
    as refused. What comes again, as after a lost answer, is said to be a repeat (with --json, `repeat_of`). An address
    of this machine or of a private network is called only if CHAT4ALL_WEBHOOK_ALLOW_PRIVATE says so; scripts/up on a
    loopback host does. Where the port is taken the exit code is 10, as of `up`.
    """
    if registers == (secret is not None):
        raise typer.BadParameter("say --register, or --secret of a webhook that is registered already")
    if secret is not None:
        _check_secret(secret)
    received: queue.SimpleQueue[Received] = queue.SimpleQueue()
    with _receiver(received.put, host, port) as receiver:
        receiver.secret = secret
        try:
            if registers:
                with subscribed(session, receiver, public or receiver.url, kinds or ["*"]):
                    follow(session, receiver, received, count)
            else:
                follow(session, receiver, received, count)
        except KeyboardInterrupt:
            return


def _receiver(take: "Callable[[Received], None]", host: str, port: int) -> "WebhookReceiver":
    from shared.cli.webhook_receiver import WebhookReceiver
    from shared.runtime.start_error import PORT_IN_USE

    try:
        return WebhookReceiver(take, host=host, port=port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):  # no other port would do
            raise typer.BadParameter(
                f"cannot listen on {host} ({error.strerror}); name an address of this machine", param_hint="--host"
            ) from None
        raise Failed(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another port with --port, or 0 for a free one",
            exit_code=PORT_IN_USE,
        ) from None


def _check_secret(secret: str) -> None:
    from shared.domain.errors import Invalid
    from shared.domain.webhook_signature import check_shared_key

    try:
        check_shared_key(secret)
    except Invalid:
        raise typer.BadParameter(
            "this is no secret of a webhook: whsec_ and base64, as its registration or `chat4all webhooks rotate` "
            "has shown it",
            param_hint="--secret",
        ) from None


@contextmanager
def subscribed(session: Session, receiver: "WebhookReceiver", url: str, kinds: list[str]) -> "Iterator[str]":
    """
    While it is entered the platform calls ``url``, and the receiver knows the secret; gives the webhook's id. Meanwhile
    SIGTERM ends us as Ctrl-C does: by itself it would end the process at once and leave the webhook behind.
    """
    with _term_as_interrupt():
        receiver.expect_secret()
        asked = {"url": url, "events": kinds, "description": "chat4all listen"}
        made = None
        try:
            made = session.platform.post("/v1/webhooks", asked)
            receiver.secret = str(made["secret"])
            yield str(made["webhook_id"])
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt this
            if made is None:
                receiver.secret = None  # nobody waits for one any more
            else:
                session.platform.call("DELETE", f"/v1/webhooks/{segment(made['webhook_id'])}")


@contextmanager
def _term_as_interrupt() -> "Iterator[None]":
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def follow(
    session: Session, receiver: "WebhookReceiver", received: "queue.SimpleQueue[Received]", count: int | None
) -> None:
    """Shows webhooks as they come, until ``count`` are verified, or for ever: what anybody can send ends nothing."""
    from rich.markup import escape

    from shared.cli.webhook_receiver import shown_webhook

    session.output.say(f"[dim]listening on {receiver.url}[/dim]")
    seen, repeats = 0, Repeats()
    while seen != count:
        one = received.get()
        document = one.document
        if one.refused is None:  # else anybody could make a repeat of what is yet to come
            document = repeats.told(document, one.webhook_id, one.webhook_id)
            seen += 1
        sign = "[green]✓[/green]" if one.refused is None else "[red]✗[/red]"
        again = " [yellow](repeat)[/yellow]" if "repeat_of" in document else ""
        line = f"{sign} {escape(shown_webhook(one))}  [dim]{escape(one.webhook_id)}[/dim]{again}"
        session.output.line(document, lambda line=line: session.output.say(line))  # type: ignore[misc]
