"""``scripts/faults``: what can befall the platform on real engines, and whether it keeps its word (reliability 4.4)."""
