"""Reading the platform's own /metrics, as differences between two moments."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(rb"^([a-z_:0-9]+)(?:\{([^}]*)\})? ([^ \n]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Samples:
    """One page of metrics: (name, labels) -> value."""

    values: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (at, have), value in self.values.items() if at == name and wanted <= have)

    def unfinished(self) -> Counter[str]:
        """By Trigger, events that it has not seen, or is busy with."""
        found: Counter[str] = Counter()
        for (name, labels), value in self.values.items():
            if name in ("chat4all_trigger_lag_events", "chat4all_trigger_in_flight"):
                found[dict(labels)["trigger"]] += int(value)
        return found

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """Upper bound -> how many observations up to it."""
        wanted = set(labels.items())
        counts: dict[float, float] = {}
        for (at, have), value in self.values.items():
            if at == f"{name}_bucket" and wanted <= have:
                bound = float(dict(have)["le"])
                counts[bound] = counts.get(bound, 0.0) + value
        return dict(sorted(counts.items()))


def parse(page: bytes) -> Samples:
    """
    The text format of Prometheus.

    >>> parse(b'# HELP a b\\na_total{x="1"} 2.0\\na_total{x="2"} 3\\nb 1.0\\n').total("a_total")
    5.0
    >>> parse(b'chat4all_trigger_lag_events{trigger="push"} 2.0\\n').unfinished()
    Counter({'push': 2})
    """
    return Samples(
        {
            (name.decode(), frozenset(_LABEL.findall((labels or b"").decode()))): float(value)
            for name, labels, value in _SAMPLE.findall(page)
        }
    )


def quantile(before: Mapping[float, float], after: Mapping[float, float], part: float) -> float:
    """
    The quantile of what was observed between two scrapes, linear inside its bucket; NaN of nothing.

    >>> quantile({}, {0.01: 50.0, 0.1: 100.0, math.inf: 100.0}, 0.5)
    0.01
    """
    counts = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    total = counts.get(math.inf, 0.0)
    if total <= 0:
        return math.nan
    rank, low, below = part * total, 0.0, 0.0
    for bound, count in counts.items():
        if count >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - below) / (count - below) if count > below else bound
        low, below = bound, count
    return low
