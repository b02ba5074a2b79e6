"""What prevents a start: one clear line, and an exit code of its own."""

NOT_STARTED = 3
"""Of one function as a process, as uvicorn has it."""

PORT_IN_USE = 10
DATA_DIR_UNUSABLE = 11
DATABASE_CORRUPT = 12
ALREADY_RUNNING = 13
WIRING_WRONG = 14
SETTINGS_WRONG = 15
CHANNEL_BROKEN = 16
KEY_WRONG = 17

EXIT_CODES = {
    PORT_IN_USE: "the port is in use, or may not be used; or the host is none of this machine",
    DATA_DIR_UNUSABLE: "the data directory cannot be created, read or written",
    DATABASE_CORRUPT: "the database file is damaged, of another version, or no database",
    ALREADY_RUNNING: "another instance runs on the same data directory",
    WIRING_WRONG: "a manifest under knative/ asks for what cannot be done",
    SETTINGS_WRONG: "a setting is unknown or does not fit",
    CHANNEL_BROKEN: "an installed channel does not load",
    KEY_WRONG: "the secret key is not the one with which the stored secrets were sealed",
}


class StartError(Exception):
    """The text says in one line what is wrong and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
