"""What a server says when it is ready."""

import sys


def say_ready(service: str, url: str, more: str = "") -> None:
    """
    In words to whoever started it by hand. Elsewhere both outputs are one log, and every line of it is JSON (E9).
    """
    if sys.stderr.isatty():
        print(f"{service} is ready at {url}{more}. Stop with Ctrl-C.", file=sys.stderr, flush=True)
    else:
        from shared.observability.log import log

        log.info("ready", function=service, url=url)
