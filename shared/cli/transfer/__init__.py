"""Files to and from the platform: in parts, resumable, in constant memory, checked."""
