"""No more bytes a second than one wants to give to a transfer."""

import threading
import time


class Pace:
    """Shared by those who send at the same time. ``per_second``: bytes; None: as fast as it goes."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._lock = threading.Lock()
        self._free = time.monotonic()

    def take(self, size: int) -> None:
        """Wait until so many bytes may go."""
        if self._per_second is None:
            return
        with self._lock:
            now = time.monotonic()
            at = max(self._free, now)
            self._free = at + size / self._per_second
        time.sleep(at - now)
