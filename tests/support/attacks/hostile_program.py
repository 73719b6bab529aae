"""A hostile program: its body, and what must come of it."""

from dataclasses import dataclass
from textwrap import indent

ACCEPTED = "accepted"


@dataclass(frozen=True)
class HostileProgram:
    """One program.

    Args:
        name: What it tries.
        body: Body of the program; ``honest`` is there to be returned.
        expect: Codes that contain it; ``accepted`` stands for the honest weights, to the bit.
        imports: Module code of all.
        head: Module code of its own, before the program.
        start: First lines of the program.
    """

    name: str
    body: str
    expect: tuple[str, ...]
    imports: str
    head: str
    start: str

    @property
    def source(self) -> str:
        """The whole file."""
        return self.imports + self.head + self.start + indent(self.body.strip() + "\n", "    ")
