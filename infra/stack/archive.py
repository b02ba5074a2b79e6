"""
Class archives: Java then takes the classes of Kafka and of Cassandra from one file, ready for use (CDS).

That saves a good second of CPU at every start. An archive is bound to the Java and to the jars of this machine, so
it is made here, from one run of the server on folders and ports of its own.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.stack import processes
from infra.stack.install import locked
from infra.stack.launch import StackError, launch, process_of, taken, wait_for_answer
from infra.stack.layout import Layout
from infra.stack.server import Engine, Server

_PATIENCE = 120.0


def archive_of(program: Path) -> Path:
    return program / "classes.jsa"


def options(program: Path) -> list[str]:
    """What java is told; nothing if there is no archive. One that does not fit is ignored by java."""
    archive = archive_of(program)
    return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []


def make(engine: Engine, program: Path) -> None:
    """
    Starts the engine once and stops it, and keeps the classes it used.

    Raises:
        StackError: it did not start, or left no archive.
    """
    archive = archive_of(program)
    partial = archive.with_suffix(".partial")
    with locked(program / "archive.lock"), TemporaryDirectory(prefix="chat4all-stack-") as folder:
        if archive.exists():
            return
        layout = _free_layout(engine, program, Path(folder))
        (server,) = engine.servers(layout, program)
        launch(replace(server, command=_recording(server, partial)), layout)
        try:
            wait_for_answer(server, layout)
        finally:
            if process := process_of(server.name, layout):
                processes.stop(process, _PATIENCE)  # it writes the archive at its end
        if not partial.exists():
            raise StackError(f"{engine.name} left no class archive:\n{layout.log(server.name).read_text()[-1000:]}")
        partial.rename(archive)


def _recording(server: Server, archive: Path) -> list[str]:
    java, *rest = server.command
    # Java records nothing when there is an agent. Using the archive with one is fine.
    return [java, f"-XX:ArchiveClassesAtExit={archive}", *(part for part in rest if not part.startswith("-javaagent:"))]


def _free_layout(engine: Engine, program: Path, folder: Path) -> Layout:
    for offset in range(20_000, 50_000, 100):
        layout = Layout(folder, port_offset=offset)
        if not any(taken(*port) for server in engine.servers(layout, program) for port in server.ports):
            layout.make_folders()
            return layout
    raise StackError("no free ports")
