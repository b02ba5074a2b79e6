"""What two names of one origin have in common (RFC 6454)."""

from urllib.parse import urlsplit

_OWN_PORT = {"http": 80, "https": 443}


def normal(origin: str) -> str:
    """
    In small letters, and without the port that is the scheme's own; what is no URL, as "null" and "*", stays as it is.

    >>> normal("HTTPS://A.example:443/"), normal("http://[::1]:8080"), normal("null")
    ('https://a.example', 'http://[::1]:8080', 'null')
    """
    try:
        url = urlsplit(origin)
        host, port = url.hostname, url.port
    except ValueError:  # no origin that any page has, as "http://[" is none
        return origin
    if host is None:
        return origin
    named = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{named}" if port in (None, _OWN_PORT.get(url.scheme)) else f"{url.scheme}://{named}:{port}"
