"""What a search looks for: a recipe = metric x comparison group x allocation x repair."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autoprune.digest import digest_json

CandidateKind = Literal["expression", "python", "builtin"]
Group = Literal["row", "matrix", "block", "global"]


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

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        return {"kind": self.kind, "source": self.source, "params": dict(self.params)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Candidate":
        """Inverse of :meth:`to_json`."""
        return cls(value["kind"], value["source"], dict(value["params"]))


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which weights go and how the rest is repaired.

    Args:
        metric: Scores the weights; larger means keep.
        group: Weights that compete with each other.
        allocation: Allocator name, with parameters as ``name:key=value,key=value``.
        solver: Weight repair after the mask, ``none`` for masks only.
    """

    metric: Candidate
    group: Group = "row"
    allocation: str = "uniform"
    solver: str = "none"

    @property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        return {
            "metric": self.metric.to_json(),
            "group": self.group,
            "allocation": self.allocation,
            "solver": self.solver,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
        """Inverse of :meth:`to_json`."""
        metric = Candidate.from_json(value["metric"])
        return cls(metric, value["group"], value["allocation"], value["solver"])
