"""Progress reports of long-running work: the library sends them, the front end draws them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step of a stage.

    Args:
        stage: Short name of the stage, for example ``"calibration"``.
        done: Units finished.
        total: Units in all; 0 when unknown.
        note: Information for the user, for example the current best.
    """

    stage: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Default reporter: says nothing."""
