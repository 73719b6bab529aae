"""A pruning metric as text, and which weights compete: what the parts of a recipe share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autoprune.digest import digest_json

CandidateKind = Literal["expression", "python", "builtin"]
Group = Literal["row", "matrix", "block", "global"]
FORMULA_PREFIX = "expr:"


@dataclass(frozen=True)
class Candidate:
    """A pruning metric as text.

    Args:
        kind: ``expression`` (metric language), ``python`` (``def score(W, stats, params)``) or
            ``builtin`` (a registry name).
        source: The expression, the Python source or the name.
        params: Values of the tunable constants.
    """

    kind: CandidateKind
    source: str
    params: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of kind, source and parameters."""
        return digest_json(self.to_json())

    @classmethod
    def parse(cls, text: str) -> "Candidate":
        """A registry name, or ``expr:`` and a formula."""
        formula = text.removeprefix(FORMULA_PREFIX)
        return cls("expression" if formula != text else "builtin", formula.strip())

    @property
    def text(self) -> str:
        """What :meth:`parse` reads back, of a candidate without parameters of its own."""
        return f"{FORMULA_PREFIX}{self.source}" if self.kind == "expression" else self.source

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        return {"kind": self.kind, "source": self.source, "params": dict(self.params)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Candidate":
        """Inverse of :meth:`to_json`."""
        return cls(value["kind"], value["source"], dict(value["params"]))
