r"""
What strangers wrote, for a terminal: its controls are seen, not obeyed.

A message, a name, the detail of an error may hold what clears the screen, writes the clipboard or hides a line: ESC and
the rest of C0, DEL, and C1, which some terminals take for ESC and a letter.
"""

import json
import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # without tab and newline
_LEFT_BY_JSON = re.compile(r"[\x7f-\x9f]")  # JSON itself escapes C0 only


def visible(text: str) -> str:
    r"""
    Without controls; tab and newline stay.

    >>> print(visible("\x1b[2JOlá\r\n\x9b"))
    \x1b[2JOlá
    \x9b
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def as_json(document: Any, *, indent: int | None = None) -> str:
    r"""
    A document of the same value, in which no character is a control.

    >>> print(as_json({"text": "\x1bOlá\x9b"}))
    {"text": "\u001bOlá\u009b"}
    """
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # they stand in strings only
