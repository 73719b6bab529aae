"""A pruning metric as text, and which weights compete: types shared by the parts of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autoprune.digest import digest_json
from autoprune.program_files import (
    PROGRAM_PREFIX,
    declared_constants,
    program_source,
    with_constants,
)

CandidateKind = Literal["expression", "python", "builtin", "program", "scheme"]
Group = Literal["row", "matrix", "block", "global"]
Scoring = Literal["dense", "sequential", "true-sequential"]
# Those that a method of a comparison can name.
StatisticsOf = Literal["dense", "sequential"]
FORMULA_PREFIX = "expr:"
SCHEME_PREFIX = "scheme:"


@dataclass(frozen=True)
class Candidate:
    """A pruning metric as text.

    Args:
        kind: ``expression`` (metric language), ``python`` (``def score(W, stats, params)``),
            ``builtin`` (a registry name), ``program`` (``def prune_layer(W, stats, budget,
            params)``, which returns new weights instead of scores) or ``scheme`` (removes parts of
            the model instead of zeroing weights).
        source: The expression, the Python source or the name.
        params: Values of the tunable constants.
    """

    kind: CandidateKind
    source: str
    params: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_code(self) -> bool:
        """Whether it is Python, which runs in the sandbox alone."""
        return self.kind in ("python", "program")

    @property
    def digest(self) -> str:
        """SHA-256 of kind, source and parameters."""
        return digest_json(self.to_json())

    @classmethod
    def parse(cls, text: str, source: str = "") -> "Candidate":
        """Read a registry name, ``expr:FORMULA``, ``program:FILE`` or ``scheme:SCHEME``."""
        if source:
            return cls.program(source)
        ref = text.removeprefix(PROGRAM_PREFIX)
        if ref != text:
            return cls.program(program_source(ref))
        if text.startswith(SCHEME_PREFIX):
            return cls("scheme", text.removeprefix(SCHEME_PREFIX).strip())
        formula = text.removeprefix(FORMULA_PREFIX)
        return cls("expression" if formula != text else "builtin", formula.strip())

    @classmethod
    def program(cls, source: str) -> "Candidate":
        """Make a candidate of a program, with the constants that it declares."""
        return cls("program", source, declared_constants(source))

    @property
    def text(self) -> str:
        """Text that :meth:`parse` reads back, for a candidate without parameters of its own.

        A program lives in a file, so it is named by the start of its digest.
        """
        if self.kind == "program":
            return f"{PROGRAM_PREFIX}{self.digest[:12]}"
        if self.kind == "scheme":
            return f"{SCHEME_PREFIX}{self.source}"
        return f"{FORMULA_PREFIX}{self.source}" if self.kind == "expression" else self.source

    @property
    def shown(self) -> str:
        """The source as people and designers see it: a program declares its numbers as tuned."""
        if self.kind == "program":
            return with_constants(self.source, self.params)
        return self.source

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        return {"kind": self.kind, "source": self.source, "params": dict(self.params)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Candidate":
        """Inverse of :meth:`to_json`."""
        return cls(value["kind"], value["source"], dict(value["params"]))


class CandidateRejectedError(Exception):
    """Designed code was rejected; measurement and validation turn this into a verdict.

    Args:
        code: The reason in one word.
        detail: The reason in one line.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
