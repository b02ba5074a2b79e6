"""Apart from the reader of the wiring, so that a lean function can raise it without pydantic and YAML."""


class WiringError(Exception):
    """The wiring asks for something that cannot be done; the text is one line for people."""
