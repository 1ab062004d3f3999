"""How each member of a run ended: a value, with its words."""

import enum
from typing import NamedTuple


class Status(enum.IntEnum):
    """The way one member (a chain, or one member of an ensemble) ended."""

    OK = 0
    CONVERGED = 1
    STOPPED_EARLY = 2
    MAX_STEPS = 3
    AT_START = 4
    NONFINITE_VALUE = 5
    NONFINITE_GRADIENT = 6
    INTERRUPTED = 7
    STUCK = 8
    NOT_AT_MODE = 9
    SADDLE = 10
    FLAT = 11

    @property
    def is_usable(self) -> bool:
        """Whether the member's result may be read as an answer."""
        return self <= Status.MAX_STEPS or self is Status.INTERRUPTED


class MemberStatus(NamedTuple):
    """The status of one member, and what happened in words."""

    code: Status
    message: str
