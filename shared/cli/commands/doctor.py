"""Looks over the machine and the platform, and says what to do."""

import typer

from shared.cli.command import Failed, Session, command


def register(app: typer.Typer) -> None:
    command(app, "doctor")(doctor)


def doctor(session: Session) -> None:
    """
    Check the machine, the data, the wiring and the running platform.

    Each line is ok, warn or fail, with what to do. Exit code 1 when one fails; a platform that does not run is
    a warning.
    """
    from shared.cli.health import Verdict, machine, platform

    checks = [*machine(session.connection.data_dir), *platform(session)]

    def human() -> None:
        rows = [(check.verdict, check.name, check.found, check.advice) for check in checks]
        session.output.table(("", "check", "found", "what to do"), rows)

    session.output.document({"checks": [check.document() for check in checks]}, human)
    failed = [check.name for check in checks if check.verdict is Verdict.FAIL]
    if failed:
        raise Failed(f"failed: {', '.join(failed)}")
