"""Measures the cells of a comparison, in sequence or on workers, and counts them."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from autoprune.comparison.measure_cells import cell_measured
from autoprune.comparison.request import Request
from autoprune.comparison.run import CellJob, ComparisonRun, Done, Found, method_of
from autoprune.progress import Progress
from flows.terminal import console
from tasks.compare import measure_cell
from tasks.compare_bench import CompareBench
from tasks.compare_remote import take_cell, waiting
from tasks.remote import CELL

if TYPE_CHECKING:
    from flows.runners import Workers

# A long comparison updates its table this often; a kill loses no more than this.
TABLE_SECONDS = 60.0


class Run(ComparisonRun):
    """The library's run of a comparison, as task runs or on workers, shown as it goes.

    Args:
        bench: The comparison's.
        request: Methods and budgets as the check returned them.
        protocol: What preparing the comparison returned.
        trials: Selection trials per strength.

    ``show`` is called from time to time with the cells measured so far.
    """

    bench: CompareBench

    def __init__(self, bench: CompareBench, request: Request, protocol: Found, trials: int) -> None:
        super().__init__(bench, request, protocol, trials)
        self.workers: Workers | None = None
        self.parallel = 1
        self.show: Callable[[], None] | None = None
        self._shown = time.monotonic()
        self.left = Counter(method_of(cell).name for cell in self.plan)
        for (method, _), tries in self.variants.items():
            self.left[method.name] += len(tries)
        self.total = 1 + self.left.total()
        self._spent: dict[str, list[float]] = {}
        self._out: list[CellJob] = []

    def collect(self) -> None:
        """Take what workers had finished when the run was interrupted."""
        cells = [job.cell for job in self._out]
        for job, key in zip(self._out, waiting(self.bench, cells), strict=True):
            if key is None and job.cell not in self.found:
                self.note(job, cell_measured(self.bench, job.cell))

    def done(self, jobs: Sequence[CellJob]) -> Done:
        """Do jobs here or on workers, and show the table now and then."""
        work = self._done_here(jobs) if self.workers is None else self._by(jobs)
        with closing(work):
            for job, found in work:
                yield job, found
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

    def note(self, job: CellJob, found: Found) -> None:
        """Take the outcome of a job, and show it with the time that is left."""
        super().note(job, found)
        self.left[job.name] -= 1
        if found["status"] == "ok" and not found["cached"]:
            self._spent.setdefault(job.name, []).append(found["seconds"])
        done = self.cached + self.measured + self.failed
        left = self._seconds_left()
        # No sealed figure before the table: seen on the way, it could change what is compared.
        figure = found["selection"]
        outcome = found["reason"] or "measured"
        if figure is not None:
            outcome = f"selection perplexity {figure:.2f}"
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
