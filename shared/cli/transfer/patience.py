"""How long somebody goes on against a platform that is away, or a network that breaks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Patience:
    """
    Counted from the last progress: a slow transfer is none, a standing one is. ``sleep`` and ``monotonic`` stand in
    for time in tests.
    """

    seconds: float = 120.0
    longest_pause: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    _since: float | None = field(default=None, init=False)
    _pause: float = field(default=0.0, init=False)

    def renewed(self) -> None:
        """There was progress."""
        self._since, self._pause = None, 0.0

    def wait(self) -> bool:
        """Pause, each time longer; False when there has been no progress for too long."""
        now = self.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self.seconds:
            return False
        self._pause = min(max(self._pause * 2, 0.25), self.longest_pause)
        self.sleep(self._pause)
        return True
