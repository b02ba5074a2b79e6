"""Cutting a text into the parts that a channel takes (channels.md 2.1)."""


def split(text: str, limit: int, *, in_bytes: bool = False) -> list[str]:
    """
    ``text`` in parts of at most ``limit`` characters (or bytes of UTF-8), in order; nothing is lost but the
    white space at the cuts. Cuts after a paragraph, a line or a word where the last half of a part has one,
    and never inside a character that is followed by a joiner, a modifier or a variation selector.

    >>> split("um dois tres", 8)
    ['um dois', 'tres']
    >>> split("abcdef", 4)
    ['abcd', 'ef']
    """
    parts = []
    rest = text
    while (end := _fitting(rest, limit, in_bytes)) < len(rest):
        cut = _cut(rest, end)
        parts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [part for part in (*parts, rest) if part] or [text]


def _fitting(text: str, limit: int, in_bytes: bool) -> int:
    """How many characters of ``text`` fit."""
    if not in_bytes:
        return min(len(text), limit)
    if len(text) * 4 <= limit:
        return len(text)
    return len(text.encode()[:limit].decode(errors="ignore"))


def _cut(text: str, end: int) -> int:
    for mark in ("\n\n", "\n", " "):
        at = text.rfind(mark, end // 2, end + 1)
        if at > 0:
            return at
    while end > 1 and _continues(text[end]):
        end -= 1
    return end


def _continues(character: str) -> bool:
    code = ord(character)
    return code in (0x200D, 0xFE0E, 0xFE0F) or 0x300 <= code <= 0x36F or 0x1F3FB <= code <= 0x1F3FF
