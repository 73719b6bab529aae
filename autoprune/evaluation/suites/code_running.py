"""What the suite ``code`` asks of a runner of a model's code; the library itself runs none."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Returned:
    """What came of a completion.

    Args:
        code: ``ok``, or why there are no results, as the sandbox calls it.
        results: JSON text of what each call returned; hostile.
    """

    code: str
    results: tuple[str, ...] = ()


class CodeRunner(Protocol):
    """Runs completions apart from this process."""

    def run(
        self, source: str, name: str, calls: Sequence[Sequence[Any]], seconds: float
    ) -> Returned:
        """Call a function of a source, once with the arguments of each call.

        Args:
            source: Hostile Python.
            name: Of the function.
            calls: Arguments.
            seconds: Wall clock for all of them.
        """
        ...


class CodeSandbox(Protocol):
    """Where completions may run."""

    def require(self) -> None:
        """Find out early whether it can be had.

        Raises:
            Exception: If not, with exit code 4.
        """
        ...

    def open(self) -> AbstractContextManager[CodeRunner]:
        """Start it, for as long as the context is open."""
        ...
