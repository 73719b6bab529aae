"""What a search looks for: recipe = metric x comparison group x allocation x repair."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.candidate import Candidate, Group, Scoring
from autoprune.digest import digest_json
from autoprune.recipe_text import read_recipe


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which weights are pruned and how the rest is repaired.

    Args:
        metric: Scores the weights; larger means keep.
        group: Weights that compete with each other.
        allocation: Allocator name, with parameters as ``name:key=value,key=value``.
        repair: Weight repair after the mask, ``none`` for masks only.
        scoring: Whether layers are scored by statistics of the dense model, or of the model with
            all earlier blocks pruned. A program gets the inputs that its layer really has, so that
            ``dense`` is ``sequential`` there.
    """

    metric: Candidate
    group: Group = "row"
    allocation: str = "uniform"
    repair: str = "none"
    scoring: Scoring = "dense"

    def __post_init__(self) -> None:
        if self.metric.kind == "program" and self.scoring == "dense":
            object.__setattr__(self, "scoring", "sequential")

    @property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return digest_json(self.to_json())

    @property
    def validated_as(self) -> str:
        """What a validation is of: recipes with the same metric and group share one."""
        return f"{self.metric.digest}\n{self.group}"

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """Read ``METRIC+PART+...``; see :mod:`autoprune.recipe_text`.

        Raises:
            UnknownNameError: If a part is unknown; suggests the nearest.
            UsageError: If a part occurs twice, has a wrong parameter, or is a Python file.
        """
        found = read_recipe(text)
        metric = Candidate.parse(found.metric)
        return cls(metric, found.group, found.allocation, found.repair, found.statistics)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        body = {
            "metric": self.metric.to_json(),
            "group": self.group,
            "allocation": self.allocation,
            "solver": self.repair,
        }
        # The default is left out to keep recorded digests unchanged.
        return body if self.scoring == "dense" else body | {"scoring": self.scoring}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
        """Inverse of :meth:`to_json`."""
        metric = Candidate.from_json(value["metric"])
        scoring = value.get("scoring", "dense")
        return cls(metric, value["group"], value["allocation"], value["solver"], scoring)
