"""
Entries of the event log that say again what an earlier one said.

The log promises each event at least once (docs/adr/0014): a function that is run again emits the same ids, and of a
fact that two report, as deliver and the provider do of SENT, each report brings the same event.
"""

from typing import Any

_REMEMBERED = 10_000


class Repeats:
    """Remembers the newest ``remembered`` events, so that a log may be followed for ever."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._offsets: dict[str, int] = {}
        self._remembered = remembered

    def marked(self, entry: dict[str, Any]) -> dict[str, Any]:
        """
        The entry as it is, or with ``repeat_of``, the offset of the first one.

        >>> log = Repeats()
        >>> log.marked({"offset": 7, "event": {"id": "a"}})
        {'offset': 7, 'event': {'id': 'a'}}
        >>> log.marked({"offset": 9, "event": {"id": "a"}})
        {'offset': 9, 'event': {'id': 'a'}, 'repeat_of': 7}
        """
        first = self._offsets.setdefault(str(entry["event"]["id"]), int(entry["offset"]))
        if len(self._offsets) > self._remembered:
            del self._offsets[next(iter(self._offsets))]
        return entry if first == entry["offset"] else {**entry, "repeat_of": first}
