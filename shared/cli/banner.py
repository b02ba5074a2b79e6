"""What somebody sees who has just started the platform."""

import sys
from textwrap import shorten
from typing import TYPE_CHECKING

from shared.cli.command import default_data_dir
from shared.runtime.engine_addresses import START_THEM

if TYPE_CHECKING:
    from shared.runtime.credentials_file import Credentials
    from shared.runtime.platform import Started

_ALL = ("0.0.0.0", "::", "")
_LONGEST = 500  # characters of why a server is waited for


def announce(started: "Started") -> None:
    """The addresses, where things are, what to do next; a client made just now, on a terminal with its secret."""
    lines = [
        ("mode", started.mode),
        ("API", started.url),
        ("docs", f"{started.url}/docs"),
        *([("simulators", f"{started.url}/simulators/whatsapp/")] if started.simulators else []),
        *([("webhooks", "may go to this machine and private addresses too")] if started.private_webhooks else []),
        ("data", str(started.data_dir)),
        ("credentials", str(started.credentials)),
    ]
    if started.new_client is not None:
        lines += [
            ("tenant", started.new_client.tenant),
            ("client_id", started.new_client.client_id),
            ("client_secret", _secret(started, started.new_client)),
        ]
    print("Chat4All is ready.")
    if started.mode_before not in (None, started.mode):
        print(
            f"  This data directory was last used in the mode {started.mode_before}. Tenants and messages of that\n"
            f"  mode are in tables of its own: CHAT4ALL_MODE={started.mode_before} leads to them."
        )
    for name, value in lines:
        print(f"  {name:<14}{value}")
    if started.reachable_at is not None:
        where = "on all addresses" if started.reachable_at in _ALL else f"at {started.reachable_at}"
        print(f"Warning: this is plain HTTP {where}: tokens and messages can be read on the way; put TLS before it.")
    elsewhere = "" if started.data_dir == default_data_dir() else f" --data-dir {started.data_dir}"
    print(f"Next, in another terminal: scripts/chat4all {_next(started, elsewhere)}     Stop with Ctrl-C.")
    sys.stdout.flush()


def _secret(started: "Started", client: "Credentials") -> str:
    """On a terminal only: elsewhere it would stay in a journal, or in what else keeps the output of a service."""
    if sys.stdout.isatty():
        return f"{client.client_secret}   (shown this once; kept in credentials.json)"
    return f"kept in {started.credentials} (shown on a terminal only)"


def _next(started: "Started", elsewhere: str) -> str:
    """The demo plays on simulators."""
    return f"demo{elsewhere}" if started.simulators else f"doctor{elsewhere}, then part 3 of docs/guides/first-steps.md"


def tell(server: str, why: str | None) -> None:
    """What the start waits for."""
    if why is None:
        print(f"  {server} is there", file=sys.stderr)
    else:
        print(f"Waiting for {server}: {shorten(why, _LONGEST, placeholder=' …')}", file=sys.stderr)
        print(f"  {START_THEM}; Ctrl-C gives up", file=sys.stderr)
    sys.stderr.flush()
