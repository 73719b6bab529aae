"""All cells of one comparison: what is measured when, and what was found."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoprune.comparison.measure_cells import cell_measured
from autoprune.comparison.plan import Cell, Target, cells_in_order
from autoprune.comparison.request import Request
from autoprune.comparison.tuning import best_variant, variants
from autoprune.names import DENSE

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench
    from autoprune.comparison.methods import Method

Found = dict[str, Any]


@dataclass(frozen=True)
class CellJob:
    """A cell, and the name of the method that its time counts towards."""

    cell: Cell
    name: str


Done = Generator[tuple[CellJob, Found], None, None]


class ComparisonRun:
    """All cells of one comparison and their results.

    There are two waves, so that workers never wait for a single strength: first the dense model,
    the trials, and the first draw of whatever needs no trial; then the rest, draw by draw, since
    the statistics of a draw are shared.

    Args:
        bench: The comparison's; its calibration draws are the run's.
        request: Methods, budgets and baselines.
        protocol: What preparing the comparison returned.
        trials: Selection trials per strength.
    """

    def __init__(
        self,
        bench: "ComparisonBench",
        request: Request,
        protocol: Mapping[str, Any],
        trials: int = 0,
    ) -> None:
        self.bench = bench
        self.request = request
        self.protocol = protocol
        self.trials = trials
        self.measured = self.cached = self.failed = 0
        self.plan = list(cells_in_order(request.methods, request.targets, bench.draw_count))
        self.variants: dict[tuple[Method, Target], tuple[Method, ...]] = {
            (method, target): variants(method, target, trials)
            for method in request.methods
            for target in request.targets
        }
        self.found: dict[Cell, Found] = {}
        self._tuned: dict[tuple[Method, Target], Method] = {}

    def all_cells(self) -> None:
        """Measure everything that is not measured yet."""
        first = [CellJob(Cell(None, None), DENSE)]
        first += [
            CellJob(trial, method.name)
            for method, target in self.variants
            for trial in self._trials(method, target)
        ]
        ready = [cell for cell in self.plan if cell.seed == 0 and not self._tries(cell)]
        self._measure(first + [CellJob(cell, method_of(cell).name) for cell in ready])
        for method, target in self.variants:
            self._tuned[method, target] = self._best(method, target)
        early = set(ready)
        rest = [cell for cell in self.plan if cell not in early]
        self._measure([CellJob(self._own(cell), method_of(cell).name) for cell in rest])

    def done(self, jobs: Sequence[CellJob]) -> Done:
        """Do jobs, in any order; yields each with its outcome as soon as that is there."""
        for job in jobs:
            yield job, cell_measured(self.bench, job.cell)

    def note(self, job: CellJob, found: Found) -> None:
        """Take the outcome of a job."""
        self.found[job.cell] = found
        self.cached += found["cached"]
        self.failed += found["status"] != "ok"
        self.measured += found["status"] == "ok" and not found["cached"]

    @property
    def dense(self) -> str | None:
        """Id of the dense model's record; None before it is measured."""
        found = self.found.get(Cell(None, None))
        return None if found is None else found["id"]

    def outline(self, command: str = "") -> dict[str, Any]:
        """Return what :func:`autoprune.comparison.record.body_of` needs: all so far."""
        return {
            "model": self.bench.model_ref,
            "command": command,
            "tune": self.trials,
            "baselines": list(self.request.baselines),
            "protocol": self.protocol,
            "dense": self.dense,
            "planned": len(self.plan),
            "cells": self._finished(),
            "trials": self._tried(),
        }

    def _finished(self) -> list[dict[str, Any]]:
        """Return the cells tried, in the order of the plan, not of measurement."""
        tried = []
        for cell in self.plan:
            known = not self._tries(cell) or (cell.method, cell.target) in self._tuned
            found = self.found.get(self._own(cell)) if known else None
            if found is None or cell.target is None:
                continue
            tried.append(
                {
                    "method": method_of(cell).name,
                    "measured_as": method_of(self._own(cell)).name,
                    "target": cell.target.to_json(),
                    "seed": cell.seed,
                    "trials": len(self._tries(cell)),
                    "id": found["id"],
                }
            )
        return tried

    def _tried(self) -> list[dict[str, Any]]:
        """Return the trials of strengths measured so far, in the order of the methods."""
        return [
            {
                "method": method.name,
                "trial": method_of(trial).name,
                "target": target.to_json(),
                "id": self.found[trial]["id"],
            }
            for method, target in self.variants
            for trial in self._trials(method, target)
            if trial in self.found
        ]

    def _measure(self, jobs: Sequence[CellJob]) -> None:
        with closing(self.done(jobs)) as work:
            for job, found in work:
                self.note(job, found)

    def _tries(self, cell: Cell) -> "tuple[Method, ...]":
        assert cell.target is not None
        return self.variants[method_of(cell), cell.target]

    def _trials(self, method: "Method", target: Target) -> list[Cell]:
        return [Cell(one, target, 0, sealed=False) for one in self.variants[method, target]]

    def _best(self, method: "Method", target: Target) -> "Method":
        losses = [self.found[trial]["selection"] for trial in self._trials(method, target)]
        return best_variant(self.variants[method, target], losses, method)

    def _own(self, cell: Cell) -> Cell:
        """Return the cell with the strength that its trials chose."""
        assert cell.target is not None
        tuned = self._tuned.get((method_of(cell), cell.target), method_of(cell))
        return Cell(tuned, cell.target, cell.seed)


def method_of(cell: Cell) -> "Method":
    """Return the method of a cell that prunes."""
    assert cell.method is not None
    return cell.method
