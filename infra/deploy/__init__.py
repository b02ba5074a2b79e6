"""Puts an overlay on a cluster, waits until it is there, and shifts traffic between revisions."""
