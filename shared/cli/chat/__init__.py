"""A chat in the terminal, on the platform's own socket."""
