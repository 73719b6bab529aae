"""A comparison as one value: rows, advice, protocol; JSON both ways."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.candidate import StatisticsOf
from autoprune.comparison.advice import Advice, advise
from autoprune.comparison.measured import OK, Measured
from autoprune.comparison.measures import FurtherFigure, columns_of, measures_of
from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import Target
from autoprune.comparison.rows import MethodRow, baseline_of, make_rows
from autoprune.errors import UsageError
from autoprune.names import DENSE
from autoprune.spelling import split_text


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison.

    Args:
        model: Reference of the model.
        rows: One per method and budget, in the requested order.
        advice: One per budget.
        baselines: Baselines of the changes, at least one.
        dense: Sealed perplexity of the dense model; None if it could not be measured.
        dense_measures: Measurements of suites on the dense model.
        dense_bytes: Bytes of the dense model's tensors as saved.
        protocol: Everything that the figures depend on.
        command: Shell command that repeats the comparison.
        commits: Commits of the program that measured the cells, without repeats.
        threads: Numbers of threads that cells were computed with, without repeats; sums are added
            in another order by another number.
        tune: Trials for every tunable strength.
        finished: Cells that were tried.
        planned: Cells in total; more than ``finished`` if the run was interrupted.
    """

    model: str
    rows: tuple[MethodRow, ...]
    advice: tuple[Advice, ...]
    baselines: tuple[str, ...]
    dense: float | None
    protocol: Mapping[str, Any]
    command: str = ""
    commits: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    tune: int = 0
    finished: int = 0
    planned: int = 0
    dense_measures: tuple[FurtherFigure, ...] = ()
    dense_bytes: int | None = None

    @property
    def baseline(self) -> str:
        """The first baseline, shown where there is room for only one."""
        return self.baselines[0]

    @property
    def columns(self) -> list[str]:
        """Columns of suite figures, in the order measured."""
        found = (*(entry for row in self.rows for entry in row.measures), *self.dense_measures)
        return list(dict.fromkeys(entry.column for entry in found))

    def detectable(self, target: str, baseline: str) -> tuple[float, float, float] | None:
        """Lowest, median and highest of the smallest detectable changes at a budget.

        Detectable means a power of 80 % at a two-sided level of 5 % after the correction, given the
        errors of the measured methods; None if no contrast has such a change.
        """
        values = sorted(
            entry.detectable
            for row in self.rows
            for entry in row.contrasts
            if row.target == target and entry.baseline == baseline and entry.detectable is not None
        )
        return (values[0], statistics.median(values), values[-1]) if values else None

    @property
    def methods(self) -> list[str]:
        """Names of the methods in the requested order."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def targets(self) -> list[str]:
        """Labels of the budgets in the requested order."""
        return list(dict.fromkeys(row.target for row in self.rows))

    def row(self, method: str, target: str) -> MethodRow | None:
        """Return the row of a method at a budget."""
        found = (row for row in self.rows if (row.method, row.target) == (method, target))
        return next(found, None)

    @property
    def draws(self) -> int:
        """Number of calibration draws requested."""
        return int(self.protocol["seeds"])

    def best(self, target: str) -> str | None:
        """Return the recommended method at a budget."""
        return next((entry.method for entry in self.advice if entry.target == target), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {
            "model": self.model,
            "command": self.command,
            "commits": list(self.commits),
            "baseline": self.baseline,
            "baselines": list(self.baselines),
            "dense_perplexity": self.dense,
            "dense_bytes": self.dense_bytes,
            "dense_measures": [entry.to_json() for entry in self.dense_measures],
            "detectable": {
                target: {name: self.detectable(target, name) for name in self.baselines}
                for target in self.targets
            },
            "tune": self.tune,
            "finished": self.finished,
            "planned": self.planned,
            "protocol": dict(self.protocol),
            "rows": [row.to_json() for row in self.rows],
            "recommendation": [entry.to_json() for entry in self.advice],
        }


def gather(body: Mapping[str, Any]) -> Comparison:
    """Build a comparison from records."""
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
    methods = list(dict.fromkeys(method for method, _ in grouped))
    baselines = tuple(body.get("baselines") or (baseline_of(methods),))
    if body["cells"] and len(body["cells"]) == body["planned"]:
        require_known(baselines, methods)
    baseline = baselines[0]
    record = body["dense"]
    dense = record["sealed"]["perplexity"] if record["status"] == OK else None
    kept = [record, *(cell["record"] for cell in body["cells"])]
    commits = [cell.get("commit") for cell in kept]
    threads = [cell.get("machine", {}).get("threads") for cell in kept]
    rows: Sequence[MethodRow] = make_rows(measured, record, baselines)
    plain = Measured(DENSE, DENSE, {"label": DENSE}, 0, [record], [0])
    dense_measures = [measures_of(column, [plain], None)[0] for column in columns_of([record])]
    return Comparison(
        model=body["model"],
        rows=tuple(rows),
        advice=advise(rows, measured, baseline, dense),
        baselines=baselines,
        dense=dense,
        protocol=body["protocol"],
        command=body["command"],
        commits=tuple(dict.fromkeys(filter(None, commits))),
        threads=tuple(dict.fromkeys(filter(None, threads))),
        tune=body["tune"],
        finished=len(body["cells"]),
        planned=body["planned"],
        dense_measures=tuple(dense_measures),
        dense_bytes=(record.get("bytes") or {}).get("dense"),
    )


def require_known(baselines: Sequence[str], methods: Sequence[str]) -> None:
    """Refuse a baseline that is not among the compared methods."""
    for name in baselines:
        if name not in (*methods, DENSE):
            raise UsageError(
                f"the baseline {name!r} is not compared; allowed are "
                f"{', '.join((DENSE, *methods))}; add it to --methods"
            )


def named_baselines(
    texts: Sequence[str], methods: Sequence[str], statistics: StatisticsOf = "dense"
) -> list[str]:
    """Return the canonical names of baselines, or the default one if none is given."""
    names: list[str] = []
    for text in texts:
        name = text if text == DENSE else parse_method(text, statistics).name
        names += [m for m in methods if name in (m, split_text(m)[0])] or [name]
    require_known(names, methods)
    return list(dict.fromkeys(names)) or [baseline_of(methods)]
