"""What the stack knows of a server and of an engine, which is one server or several of a kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from infra.stack.install import Program
from infra.stack.layout import Layout


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Server:
    """
    One process.

    name: kafka-2, redis; ports: (host, port) that it will listen on, the one for clients first; prepare: writes its
    settings and makes its folders; answers: one conversation with it as a client has it, raising NotReady or OSError.
    """

    name: str
    ports: Sequence[tuple[str, int]]
    command: Sequence[str]
    answers: Callable[[], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = _nothing

    @property
    def address(self) -> str:
        host, port = self.ports[0]
        return f"{host}:{port}"


class Engine(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def program(self) -> Program: ...

    def names(self, layout: Layout) -> list[str]:
        """The names of its servers."""

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        """Its servers; ``program`` is the folder that its program was installed into."""

    def answers_as_a_whole(self, layout: Layout) -> None:
        """Whether its servers have found each other; raises NotReady or OSError."""

    def settings(self, layout: Layout) -> dict[str, str]:
        """What the platform is told: environment variables."""


def numbered(name: str, layout: Layout) -> list[str]:
    """kafka-1, kafka-2, kafka-3. With one node as well, so that a name does not change its meaning."""
    return [f"{name}-{number}" for number in range(1, layout.nodes + 1)]
