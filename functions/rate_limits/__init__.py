"""A tenant's own rate limits."""
