"""The connection's options before the command, where other programs have theirs."""

from typing import Any

from typer.core import TyperGroup

_FLAGS = frozenset({"--json"})
_VALUED = frozenset({"--url", "--tenant", "--client-id", "--client-secret", "--data-dir"})


class AnyOrder(TyperGroup):
    """Commands whose shared options may stand before their name too; the command itself takes or refuses them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, behind(args))


def behind(arguments: list[str]) -> list[str]:
    """
    >>> behind(["--tenant", "acme", "--url=http://x", "send", "c1", "--", "--text"])
    ['send', 'c1', '--tenant', 'acme', '--url=http://x', '--', '--text']
    >>> behind(["--tenant=", "users", "list"])
    ['users', 'list', '--tenant=']
    >>> behind(["--help"]), behind(["users", "list", "--json"])
    (['--help'], ['users', 'list', '--json'])
    """
    count = 0
    while count < len(arguments):
        name, equals, _ = arguments[count].partition("=")
        if name in _VALUED:
            count += 1 if equals else 2
        elif name in _FLAGS:
            count += 1
        else:
            break
    options, rest = arguments[:count], arguments[count:]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *options, *rest[end:]]
