"""A hostile program: its body, and what must come of it."""

from dataclasses import dataclass
from textwrap import indent

ACCEPTED = "accepted"
# A body for programs of either form, whose result is file 4.
REWRITTEN_TO_THE_END = """
def rewrite():
    while True:
        os.pwrite(4, b"\\xff" * 4096, 0)
threading.Thread(target=rewrite, daemon=True).start()
time.sleep(0.05)
return honest
"""


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
