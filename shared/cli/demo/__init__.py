"""The narrated run: what the platform promises, shown on the platform itself."""
