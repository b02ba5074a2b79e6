"""The program ``chat4all``: its commands, in the order in which somebody new meets them."""

import typer

from shared.cli.commands import (
    channels,
    chat,
    conversations,
    demo,
    dispatch,
    doctor,
    events,
    files,
    listen,
    messages,
    openapi,
    parked,
    run,
    tenants,
    tokens,
    triggers,
    up,
    users,
    version,
    webhooks,
)
from shared.cli.option_order import AnyOrder

app = typer.Typer(
    name="chat4all",
    cls=AnyOrder,
    help="One API that carries messages between people on every channel.\n\n"
    "Exit codes: 0 done; 1 the platform refused; 2 wrong usage; 3 the platform cannot be reached. "
    "`up` has codes of its own.\n\n"
    "--tenant, --url and the other options of the connection stand before or after the command: "
    "`chat4all users list --tenant acme`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (up, run, dispatch, demo, tokens, messages, chat, files, events, listen, triggers, doctor, version):
    module.register(app)
for noun, group in (
    ("users", users.app),
    ("conversations", conversations.app),
    ("messages", messages.app),
    ("events", events.app),
    ("parked", parked.app),
    ("channels", channels.app),
    ("webhooks", webhooks.app),
    ("tenants", tenants.app),
    ("openapi", openapi.app),
):
    app.add_typer(group, name=noun)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
