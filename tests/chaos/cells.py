"""The cells of the crash-point row of the fault bench: which fault, at which moment of a paid call, on which try."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import product


class Fault(StrEnum):
    SIGKILL = "SIGKILL"
    EXCEPTION = "exception"
    CANCELLATION = "cancellation"
    DATABASE_CUT = "database cut"
    LOST_COMMIT_REPLY = "lost COMMIT reply"
    PROVIDER_HANG = "provider hang"


class Moment(StrEnum):
    AUTHORIZE = "authorize commits"
    DISPATCH = "DISPATCHED commits"
    SENDING = "sending"
    BODY = "the answer's body"
    STORING = "its storing"
    SETTLE = "settle commits"
    REPORT = "completion is reported"
    TRANSITION = "the transition commits"


class Side(StrEnum):
    BEFORE = "before"
    AFTER = "after"


class Trial(StrEnum):
    """On a retry the first try ended with an exception just before the moment; the fault strikes the second."""

    FIRST = "first try"
    RETRY = "retry"


@dataclass(frozen=True)
class Cell:
    fault: Fault
    moment: Moment
    side: Side
    trial: Trial

    def __str__(self) -> str:
        return f"{self.fault}, {self.side} {self.moment}, {self.trial}"


@dataclass(frozen=True)
class Failpoint:
    """What strikes one process, once: nothing else of the process is changed."""

    fault: Fault
    moment: Moment
    side: Side

    def facts(self) -> dict[str, str]:
        return {"fault": self.fault, "moment": self.moment, "side": self.side}


def all_cells() -> list[Cell]:
    return [Cell(*axes) for axes in product(Fault, Moment, Side, Trial)]


def failpoints_of(cell: Cell) -> list[Failpoint]:
    """For the first process, the second one, …; those after them run undisturbed."""
    strike = Failpoint(cell.fault, cell.moment, cell.side)
    if cell.trial is Trial.FIRST:
        return [strike]
    return [Failpoint(Fault.EXCEPTION, cell.moment, Side.BEFORE), strike]
