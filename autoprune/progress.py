"""How long work reports itself: the library calls, the front end draws."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step of a stage.

    Args:
        stage: Short name of the stage, for example ``"calibration"``.
        done: Units finished.
        total: Units in all; 0 when unknown.
        note: What a person wants to know now, for example the current best.
    """

    stage: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Default reporter: says nothing."""
