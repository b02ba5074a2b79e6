"""
When Python looks for cycles: not while a function starts, and seldom from then on (docs/adr/0034).

What a start makes stays, so that looking through it finds nothing: 5 % of a function's imports. Requests leave few
cycles: the usual threshold, 700, costs 8 % of the CPU of a process under load.
"""

import gc

_THRESHOLDS = (10_000, 10, 100)


def leave_alone() -> None:
    """Before anything else is imported, until ``settle``, or the end: a start that fails ends its process."""
    gc.disable()


def settle() -> None:
    """All that was made until here stays; cycles among it that nobody needs, too, which to find would cost more."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.enable()
