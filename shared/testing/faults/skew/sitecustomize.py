"""
Found by Python at its start when this folder is on PYTHONPATH: another wall clock for this one process (fault 8).

What the platform takes for the time, and the timestamps that Cassandra's driver gives to writes, are off by
FAULTS_SKEW seconds. libfaketime would do it for the whole process, but librdkafka's waits do not survive that.
"""

import os
import time
from datetime import datetime, timedelta

from shared.adapters.local.clock import SystemClock

_SKEW = float(os.environ.get("FAULTS_SKEW", "0"))  # noqa: TID251  told by the campaign that starts this process
_true, _now = time.time, SystemClock.now  # noqa: TID251  it is replaced


def _skewed(clock: SystemClock) -> datetime:
    return _now(clock) + timedelta(seconds=_SKEW)


SystemClock.now = _skewed  # type: ignore[method-assign,assignment]
time.time = lambda: _true() + _SKEW  # noqa: TID251  it is replaced
