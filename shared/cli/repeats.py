"""
What is said again: at least once is promised of an event in the log, of a webhook and of a frame of the socket.

In the log (docs/adr/0014) a function that is run again emits the same ids, and of a fact that two report, as deliver
and the provider do of SENT, each report brings the same event.
"""

from typing import Any

_REMEMBERED = 10_000


class Repeats:
    """Remembers the newest ``remembered`` ids, so that a stream may be followed for ever."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._names: dict[str, Any] = {}
        self._remembered = remembered

    def marked(self, entry: dict[str, Any]) -> dict[str, Any]:
        """
        An entry of the event log as it is, or with ``repeat_of``, the offset of the first one.

        >>> log = Repeats()
        >>> log.marked({"offset": 7, "event": {"id": "a"}})
        {'offset': 7, 'event': {'id': 'a'}}
        >>> log.marked({"offset": 9, "event": {"id": "a"}})
        {'offset': 9, 'event': {'id': 'a'}, 'repeat_of': 7}
        """
        return self.told(entry, str(entry["event"]["id"]), int(entry["offset"]))

    def told(self, document: dict[str, Any], identity: str, name: Any) -> dict[str, Any]:
        """``document`` as it is, or with ``repeat_of``, the ``name`` that the first one of this ``identity`` had."""
        if identity in self._names:
            return {**document, "repeat_of": self._names[identity]}
        self._names[identity] = name
        if len(self._names) > self._remembered:
            del self._names[next(iter(self._names))]
        return document
