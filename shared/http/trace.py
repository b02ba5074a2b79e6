"""W3C trace context for requests: a child of the caller's trace, or a new one."""

import re
import secrets

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})\Z")


def child_of(traceparent: str | None) -> str:
    """
    A traceparent with a fresh span id; of the same trace when ``traceparent`` is a valid one.

    >>> child_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")[:36]
    '00-4bf92f3577b34da6a3ce929d0e0e4736-'
    """
    match = _TRACEPARENT.match(traceparent or "")
    if match is None or match[1] == "0" * 32:
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}"
