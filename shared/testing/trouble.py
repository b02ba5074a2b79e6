"""What may befall any one call that a function makes: it fails in one of three ways, or the process dies in it."""

from enum import Enum

from shared.adapters.memory.tables import Fault


class Died(BaseException):
    """The process dies here; nothing that catches errors catches it."""


class Trouble(Enum):
    UNREACHED = Fault.UNREACHED
    SWALLOWED = Fault.SWALLOWED
    LOST_ANSWER = Fault.LOST_ANSWER
    DEATH = None
