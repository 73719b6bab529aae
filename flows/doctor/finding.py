"""The result of one ``autoprune doctor`` check, and the fix for what is wrong."""

from dataclasses import dataclass
from typing import Protocol


class Line(Protocol):
    """One finding, ours or the sandbox's."""

    @property
    def name(self) -> str:
        """What was checked."""

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""

    @property
    def detail(self) -> str:
        """What was found."""

    @property
    def fix(self) -> str:
        """What to do if it is not."""


@dataclass(frozen=True)
class Finding:
    """See :class:`Line`."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
