"""A comparison as one value: rows, advice, protocol; JSON both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.comparison.advice import Advice, advise
from autoprune.comparison.plan import Target
from autoprune.comparison.rows import OK, Measured, Row, baseline_of, make_rows


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Args:
        model: Reference of the model.
        rows: One per method and budget, in the order asked.
        advice: One per budget.
        baseline: What changes are against.
        dense: Sealed perplexity of the dense model; None when it could not be measured.
        protocol: All that the figures depend on.
        command: Shell line that repeats it.
        commits: Commits of the program that measured the cells, each once.
        tune: Trials that every tunable strength had.
        finished: Cells that were tried.
        planned: Cells in all; more than ``finished`` where the run was interrupted.
    """

    model: str
    rows: tuple[Row, ...]
    advice: tuple[Advice, ...]
    baseline: str
    dense: float | None
    protocol: Mapping[str, Any]
    command: str = ""
    commits: tuple[str, ...] = ()
    tune: int = 0
    finished: int = 0
    planned: int = 0

    @property
    def methods(self) -> list[str]:
        """Names in the order asked."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def targets(self) -> list[str]:
        """Labels in the order asked."""
        return list(dict.fromkeys(row.target for row in self.rows))

    def row(self, method: str, target: str) -> Row | None:
        """The row of a method at a budget."""
        found = (row for row in self.rows if (row.method, row.target) == (method, target))
        return next(found, None)

    @property
    def draws(self) -> int:
        """Calibration draws that were asked for."""
        return int(self.protocol["seeds"])

    def best(self, target: str) -> str | None:
        """The recommended method at a budget."""
        return next((entry.method for entry in self.advice if entry.target == target), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {
            "model": self.model,
            "command": self.command,
            "commits": list(self.commits),
            "baseline": self.baseline,
            "dense_perplexity": self.dense,
            "tune": self.tune,
            "finished": self.finished,
            "planned": self.planned,
            "protocol": dict(self.protocol),
            "rows": [row.to_json() for row in self.rows],
            "recommendation": [entry.to_json() for entry in self.advice],
        }


def gather(body: Mapping[str, Any]) -> Comparison:
    """Make rows and advice from records.

    Args:
        body: ``model``, ``command``, ``protocol``, ``tune``, ``planned`` (how many cells there are
            in all), ``dense`` (a record) and ``cells``: one object per method, budget and draw with
            ``method``, ``measured_as``, ``target``, ``seed``, ``trials`` and ``record``.
    """
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in body["cells"]:
        label = Target(**cell["target"]).label
        grouped.setdefault((cell["method"], label), []).append(cell)
    measured: list[Measured] = [
        Measured(
            method,
            cells[0]["measured_as"],
            {**cells[0]["target"], "label": label},
            cells[0]["trials"],
            [cell["record"] for cell in cells],
            [cell["seed"] for cell in cells],
        )
        for (method, label), cells in grouped.items()
    ]
    baseline = baseline_of([method for method, _ in grouped])
    record = body["dense"]
    dense = record["sealed"]["perplexity"] if record["status"] == OK else None
    commits = [r.get("commit") for r in (record, *(cell["record"] for cell in body["cells"]))]
    rows: Sequence[Row] = make_rows(measured, record, baseline)
    return Comparison(
        model=body["model"],
        rows=tuple(rows),
        advice=advise(rows, measured, baseline, dense),
        baseline=baseline,
        dense=dense,
        protocol=body["protocol"],
        command=body["command"],
        commits=tuple(dict.fromkeys(filter(None, commits))),
        tune=body["tune"],
        finished=len(body["cells"]),
        planned=body["planned"],
    )
