"""Measures the cells of a comparison, in sequence or on workers, and counts them."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoprune.comparison.methods import parse_method
from autoprune.comparison.plan import DENSE, Cell, Target, cells_in_order
from autoprune.comparison.tuning import best_variant, variants
from autoprune.progress import Progress
from flows.terminal import console
from tasks.compare import cell_measured, measure_cell
from tasks.compare_bench import CompareBench
from tasks.compare_remote import take_cell, waiting
from tasks.remote import CELL

if TYPE_CHECKING:
    from autoprune.comparison.methods import Method
    from flows.runners import Workers

Found = dict[str, Any]


@dataclass(frozen=True)
class CellJob:
    """A cell, and the method that its time counts towards."""

    cell: Cell
    name: str


Done = Generator[tuple[CellJob, Found], None, None]
# A long comparison updates its table this often; a kill loses no more than this.
TABLE_SECONDS = 60.0


class Run:
    """All cells of one comparison and their results.

    There are two waves, so that workers never wait for a single strength: first the dense model,
    the trials, and the first draw of whatever needs no trial; then the rest, draw by draw, since
    the statistics of a draw are shared.

    Args:
        bench: The comparison's.
        request: Methods and budgets as the check returned them.
        seeds: Calibration draws.
        trials: Selection trials per strength.

    ``show`` is called from time to time with the cells measured so far.
    """

    def __init__(
        self, bench: CompareBench, request: dict[str, Any], seeds: int, trials: int
    ) -> None:
        self.bench = bench
        self.workers: Workers | None = None
        self.parallel = 1
        self.show: Callable[[], None] | None = None
        self._shown = time.monotonic()
        self.measured = self.cached = self.failed = 0
        methods = [parse_method(name) for name in request["methods"]]
        targets = [Target(**target) for target in request["targets"]]
        self.plan = list(cells_in_order(methods, targets, seeds))
        self.variants: dict[tuple[Method, Target], tuple[Method, ...]] = {
            (method, target): variants(method, target, trials)
            for method in methods
            for target in targets
        }
        self.left = Counter(method_of(cell).name for cell in self.plan)
        for (method, _), tries in self.variants.items():
            self.left[method.name] += len(tries)
        self.total = 1 + self.left.total()
        self._found: dict[Cell, Found] = {}
        self._tuned: dict[tuple[Method, Target], Method] = {}
        self._spent: dict[str, list[float]] = {}
        self._out: list[CellJob] = []

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

    def collect(self) -> None:
        """Take what workers had finished when the run was interrupted."""
        cells = [job.cell for job in self._out]
        for job, key in zip(self._out, waiting(self.bench, cells), strict=True):
            if key is None and job.cell not in self._found:
                self._note(job, cell_measured(self.bench, job.cell))

    @property
    def dense(self) -> str | None:
        """Id of the dense model's record; None before it is measured."""
        found = self._found.get(Cell(None, None))
        return None if found is None else found["id"]

    def finished(self) -> list[dict[str, Any]]:
        """Return the cells tried, in the order of the plan, not of measurement."""
        tried = []
        for cell in self.plan:
            known = not self._tries(cell) or (cell.method, cell.target) in self._tuned
            found = self._found.get(self._own(cell)) if known else None
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

    def tried(self) -> list[dict[str, Any]]:
        """Return the trials of strengths measured so far, in the order of the methods."""
        return [
            {
                "method": method.name,
                "trial": method_of(trial).name,
                "target": target.to_json(),
                "id": self._found[trial]["id"],
            }
            for method, target in self.variants
            for trial in self._trials(method, target)
            if trial in self._found
        ]

    def _tries(self, cell: Cell) -> "tuple[Method, ...]":
        assert cell.target is not None
        return self.variants[method_of(cell), cell.target]

    def _trials(self, method: "Method", target: Target) -> list[Cell]:
        return [Cell(one, target, 0, sealed=False) for one in self.variants[method, target]]

    def _best(self, method: "Method", target: Target) -> "Method":
        losses = [self._found[trial]["selection"] for trial in self._trials(method, target)]
        return best_variant(self.variants[method, target], losses, method)

    def _own(self, cell: Cell) -> Cell:
        """Return the cell with the strength that its trials chose."""
        assert cell.target is not None
        tuned = self._tuned.get((method_of(cell), cell.target), method_of(cell))
        return Cell(tuned, cell.target, cell.seed)

    def _measure(self, jobs: Sequence[CellJob]) -> None:
        work = self._done_here(jobs) if self.workers is None else self._by(jobs)
        with closing(work):
            for job, found in work:
                self._note(job, found)
                self._show_now_and_then()

    def _show_now_and_then(self) -> None:
        if self.show is None or self.dense is None:
            return
        if time.monotonic() - self._shown >= TABLE_SECONDS:
            self.show()
            self._shown = time.monotonic()

    def _done_here(self, jobs: Sequence[CellJob]) -> Done:
        for job in jobs:
            yield job, measure_cell(self.bench, job.cell)

    def _by(self, jobs: Sequence[CellJob]) -> Done:
        """Yield known and unmeasurable cells at once, and the rest from workers, each key once."""
        assert self.workers is not None
        keys = waiting(self.bench, [job.cell for job in jobs])
        same: dict[str, list[CellJob]] = {}
        for job, key in zip(jobs, keys, strict=True):
            if key is not None:
                same.setdefault(key, []).append(job)
        yield from self._done_here(
            [job for job, key in zip(jobs, keys, strict=True) if key is None]
        )
        self._out = [jobs[0] for jobs in same.values()]
        calls = [
            (group, CELL, group[0].cell.title, [group[0].cell.to_json()]) for group in same.values()
        ]
        with closing(self.workers.run(calls)) as answers:
            for (job, *others), answer in answers:
                found = take_cell(self.bench, job.cell, answer)
                yield job, found
                # Cells with identical results, such as draws of a method that reads no text.
                yield from self._done_here(others)
        self._out = []

    def _note(self, job: CellJob, found: Found) -> None:
        self._found[job.cell] = found
        self.cached += found["cached"]
        self.failed += found["status"] != "ok"
        self.measured += found["status"] == "ok" and not found["cached"]
        self.left[job.name] -= 1
        if found["status"] == "ok" and not found["cached"]:
            self._spent.setdefault(job.name, []).append(found["seconds"])
        done = self.cached + self.measured + self.failed
        left = self._seconds_left()
        figure = found["sealed"] if job.cell.sealed else found["selection"]
        outcome = found["reason"] if figure is None else f"perplexity {figure:.2f}"
        how = "found" if found["cached"] else f"{found['seconds']:.1f} s"
        screen = console.screen()
        clock = f", about {console.clock(left)} left" if left and done < self.total else ""
        screen.event(f"[{done}/{self.total}] {job.cell.title}: {outcome} ({how}{clock})")
        screen.remaining(left)
        screen.progress(Progress("cells", done, self.total))

    def _seconds_left(self) -> float:
        """Estimate from each method's mean time per cell; a new method takes the others' mean."""
        means = {name: sum(times) / len(times) for name, times in self._spent.items()}
        if not means:
            return 0.0
        usual = sum(means.values()) / len(means)
        work = sum(n * means.get(name, usual) for name, n in self.left.items() if n > 0)
        return work / self.parallel


def method_of(cell: Cell) -> "Method":
    """Return the method of a cell that prunes."""
    assert cell.method is not None
    return cell.method
