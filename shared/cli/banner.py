"""What somebody sees who has just started the platform."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.runtime.platform import Started


def announce(started: "Started") -> None:
    """The addresses, where things are, what to do next; a client made just now with its secret, this once."""
    lines = [
        ("API", started.url),
        ("docs", f"{started.url}/docs"),
        *([("simulators", f"{started.url}/simulators/whatsapp/")] if started.simulators else []),
        ("data", str(started.data_dir)),
        ("credentials", str(started.credentials)),
    ]
    if started.new_client is not None:
        lines += [
            ("tenant", started.new_client.tenant),
            ("client_id", started.new_client.client_id),
            ("client_secret", f"{started.new_client.client_secret}   (shown this once; kept in credentials.json)"),
        ]
    print("Chat4All is ready.")
    for name, value in lines:
        print(f"  {name:<14}{value}")
    print("Next, in another terminal: scripts/chat4all demo     Stop with Ctrl-C.")
    sys.stdout.flush()


def tell(server: str, why: str | None) -> None:
    """What the start waits for."""
    if why is None:
        print(f"  {server} is there", file=sys.stderr)
    else:
        print(f"Waiting for {server}: {why[:200]}", file=sys.stderr)
        print("  scripts/stack up starts the servers on this machine; Ctrl-C gives up", file=sys.stderr)
    sys.stderr.flush()
