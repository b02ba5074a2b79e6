"""
What every command that talks to the platform shares: its connection options, --json and its exit codes.

Exit codes: 0 done, 1 the platform refused (or what was asked for did not come true), 2 wrong usage,
3 the platform cannot be reached.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.cli.credentials import DEFAULT_URL, Client, NoCredentials, find_client, known_url
from shared.cli.output import Output
from shared.cli.platform import Platform, PlatformRefused, PlatformUnreachable

if TYPE_CHECKING:
    import httpx

DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
INTERRUPTED = 130
"""By Ctrl-C, as shells say it."""

START_IT = "start the platform with scripts/up (or `chat4all up`), or name it with --url"


class Failed(Exception):
    """What was asked for did not come true. ``facts`` are for programs: fields beside the title."""

    def __init__(self, why: str, *, exit_code: int = REFUSED, **facts: Any) -> None:
        super().__init__(why)
        self.exit_code = exit_code
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the platform is and who asks, as the command line and the environment say it."""

    data_dir: Path
    url: str | None
    tenant: str | None
    client_id: str | None
    client_secret: str | None
    transport: "httpx.BaseTransport | None" = None

    def open(self) -> Platform:
        """
        Raises:
            NoCredentials: nothing says who asks.
        """
        client = find_client(
            self.data_dir,
            url=self.url,
            tenant=self.tenant,
            client_id=self.client_id,
            client_secret=self.client_secret,
        )
        return Platform(client, self.transport)

    def open_anonymous(self) -> Platform:
        """For what the platform tells everybody."""
        return Platform(Client(known_url(self.data_dir, self.url), "", "", ""), self.transport)


@dataclass
class Session:
    """What a command works with. ``platform`` opens when first used, so that local commands need no client."""

    connection: Connection
    output: Output

    @functools.cached_property
    def platform(self) -> Platform:
        return self.connection.open()

    @functools.cached_property
    def public(self) -> Platform:
        """The platform as it is to everybody: health and documentation."""
        return self.connection.open_anonymous()

    def close(self) -> None:
        for opened in self.__dict__.keys() & {"platform", "public"}:
            getattr(self, opened).close()


def default_data_dir() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("chat4all"))


def _platforms(url: str | None) -> str | None:
    """
    ``url`` as it is.

    Raises:
        typer.BadParameter: no platform can be there.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url or DEFAULT_URL)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise typer.BadParameter(f"{url!r} is no address of a platform: it is http(s)://host[:port]")
    return url


CONNECTION_PANEL = "Connection"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
_Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="CHAT4ALL_URL",
        callback=_platforms,
        help="The platform's address.",
        show_default=False,
        rich_help_panel=CONNECTION_PANEL,
    ),
]
_Tenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        envvar="CHAT4ALL_TENANT",
        help="Which client of credentials.json to use (default: demo).",
        show_default=False,
        rich_help_panel=CONNECTION_PANEL,
    ),
]
_ClientId = Annotated[
    str | None,
    typer.Option(
        "--client-id",
        envvar="CHAT4ALL_CLIENT_ID",
        help="Instead of credentials.json.",
        show_default=False,
        rich_help_panel=CONNECTION_PANEL,
    ),
]
_ClientSecret = Annotated[
    str | None,
    typer.Option(
        "--client-secret",
        envvar="CHAT4ALL_CLIENT_SECRET",
        help="Instead of credentials.json; better in the environment than here.",
        show_default=False,
        rich_help_panel=CONNECTION_PANEL,
    ),
]
_DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="CHAT4ALL_DATA_DIR",
        help="Where credentials.json is (default: the data directory of XDG).",
        show_default=False,
        rich_help_panel=CONNECTION_PANEL,
    ),
]
_SHARED = {
    "as_json": AsJson,
    "url": _Url,
    "tenant": _Tenant,
    "client_id": _ClientId,
    "client_secret": _ClientSecret,
    "data_dir": _DataDir,
}


def command(app: typer.Typer, name: str, *, help: str | None = None) -> Callable[[Any], Any]:
    """
    Register ``run(session, …)`` as a command of ``app``.

    The command gets the connection options and --json beside its own; what goes wrong becomes a message on
    stderr and one of the exit codes above. Tests hand a transport over as the context's ``obj``.
    """

    def register(run: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(
                option,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if option == "as_json" else None,
                annotation=annotation,
            )
            for option, annotation in _SHARED.items()
        ]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

        @functools.wraps(run)
        def invoke(*, context: typer.Context, **given: Any) -> None:
            chosen = {option: given.pop(option) for option in _SHARED}
            output = Output(chosen.pop("as_json"))
            data_dir = chosen.pop("data_dir") or default_data_dir()
            transport = None if isinstance(context.obj, dict) else context.obj
            session = Session(Connection(data_dir, transport=transport, **chosen), output)
            raise typer.Exit(guarded(output, lambda: run(session, **given), session.close))

        parameters = [context, *named, *shared]
        invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        invoke.__annotations__ = {each.name: each.annotation for each in parameters}
        del invoke.__wrapped__
        app.command(name, help=help)(invoke)
        return run

    return register


def guarded(output: Output, run: Callable[[], None], close: Callable[[], None]) -> int:
    """Run it, say on stderr what went wrong, and answer the exit code."""
    try:
        run()
    except PlatformRefused as refused:
        _tell(output, refused)
        return REFUSED
    except Failed as failed:
        output.error(str(failed), **failed.facts)
        return failed.exit_code
    except PlatformUnreachable as unreachable:
        output.error(str(unreachable), START_IT)
        return UNREACHABLE
    except NoCredentials as missing:
        output.error("nobody to act as", str(missing))
        return UNREACHABLE
    finally:
        close()
    return DONE


def _tell(output: Output, refused: PlatformRefused) -> None:
    """What the platform said, and which command of ours does what it advises."""
    from shared.cli.advice import command_for, in_words

    problem = dict(refused.problem)
    title = str(problem.pop("title", "") or f"HTTP {refused.status}")
    detail = str(problem.pop("detail", "") or "")
    errors = problem.pop("errors", None) or ()
    command = command_for(" ".join((detail, *(str(error.get("detail", "")) for error in errors))))
    if command is not None:
        problem["command"] = command
    if not output.as_json:
        detail = in_words(detail)
        errors = [{**error, "detail": in_words(str(error.get("detail", "")))} for error in errors]
    output.error(title, detail, errors, **problem)
