"""The runner interface of the suite ``code``; the library itself never runs model-written code."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Returned:
    """The outcome of running a completion.

    Args:
        code: ``ok``, or the sandbox's code for why there are no results.
        results: JSON text of what each call returned; hostile.
    """

    code: str
    results: tuple[str, ...] = ()


class CodeRunner(Protocol):
    """Runs completions outside this process."""

    def run(
        self, source: str, name: str, calls: Sequence[Sequence[Any]], seconds: float
    ) -> Returned:
        """Call a function defined in a source, once with the arguments of each call."""
        ...


class CodeSandbox(Protocol):
    """A sandbox in which completions may run."""

    def require(self) -> None:
        """Check early that the sandbox is available."""
        ...

    def open(self) -> AbstractContextManager[CodeRunner]:
        """Run the sandbox for as long as the context is open."""
        ...
