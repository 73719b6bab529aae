"""The comparison flow: methods x budgets x calibration draws, one task a cell."""

import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow

from autoprune.progress import Progress
from flows import console
from flows.compare_params import CompareParams
from flows.naming import run_name
from tasks.compare import check_comparison, measure_cell, prepare_comparison, write_comparison
from tasks.compare_bench import CompareBench
from tasks.state import State, model_slug
from tasks.workbench import opened

if TYPE_CHECKING:
    from autoprune.comparison.methods import Method
    from autoprune.comparison.plan import Cell, Target

NAME = run_name("compare", CompareParams, lambda params: model_slug(params.model))


@flow(name="compare", flow_run_name=NAME, persist_result=False)
def compare(params: CompareParams = CompareParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Compare pruning methods on one model and say which to take."""
    state = State.open()
    request = check_comparison(params.method_texts(), params.statistics, *params.budgets())
    bench_id = f"compare-{uuid.uuid4().hex[:12]}"
    bench = CompareBench(
        bench_id,
        params.model,
        state,
        params.seed,
        console.report,
        corpus=params.corpus,
        samples=params.samples,
        seqlen=params.seqlen,
        counts={"selection": params.selection_windows, "sealed": params.windows},
        peers=params.peers(),
    )
    folder = Path(params.output or state.comparison / params.folder_name()).absolute()
    with opened(bench):
        console.screen().mute(console.INNER_STAGES | {"statistics", "pruning", "cells"})
        protocol = prepare_comparison(
            bench_id, params.model, request["methods"], request["targets"], params.draws()
        )
        run = _Run(bench_id, request, params.draws(), params.trials())
        try:
            run.all_cells()
        finally:
            # Whatever ends the run, Ctrl-C too: what is finished becomes a table.
            if run.dense is not None:
                outline = {
                    "model": params.model,
                    "tune": params.trials(),
                    "protocol": protocol,
                    "dense": run.dense,
                    "planned": len(run.plan),
                    "cells": run.cells,
                }
                result = write_comparison(bench_id, str(folder), outline)
    counts = {"measured": run.measured, "cached": run.cached, "failed": run.failed}
    return result | counts


class _Run:
    """Goes through the cells in order and remembers what came out.

    Args:
        bench_id: Id of an open comparison workbench.
        request: Methods and budgets as the check returned them.
        seeds: Calibration draws.
        trials: Selection trials per strength.
    """

    def __init__(self, bench_id: str, request: dict[str, Any], seeds: int, trials: int) -> None:
        from autoprune.comparison.methods import parse_method
        from autoprune.comparison.plan import Target, cells_in_order
        from autoprune.comparison.tuning import variants

        self.bench_id = bench_id
        self.trials = trials
        self.cells: list[dict[str, Any]] = []
        self.dense: str | None = None
        self.measured = self.cached = self.failed = 0
        methods = [parse_method(name) for name in request["methods"]]
        targets = [Target(**target) for target in request["targets"]]
        self.plan = list(cells_in_order(methods, targets, seeds))
        pairs = [(method, target) for method in methods for target in targets]
        self.left = Counter(cell.method.name for cell in self.plan if cell.method is not None)
        for method, target in pairs:
            self.left[method.name] += len(variants(method, target, trials))
        self.total = 1 + self.left.total()
        self.tuned: dict[tuple[Method, Target], Method] = {}
        self.spent: dict[str, list[float]] = {}

    def all_cells(self) -> None:
        """The dense model, then every cell; each strength is tuned with the first draw."""
        from autoprune.comparison.plan import DENSE, Cell
        from autoprune.comparison.tuning import variants

        self.dense = self._measure(Cell(None, None), DENSE)["id"]
        for cell in self.plan:
            method, target = cell.method, cell.target
            assert method is not None and target is not None
            own = self._tuned(method, target)
            found = self._measure(Cell(own, target, cell.seed), method.name)
            self.cells.append(
                {
                    "method": method.name,
                    "measured_as": own.name,
                    "target": target.to_json(),
                    "seed": cell.seed,
                    "trials": len(variants(method, target, self.trials)),
                    "id": found["id"],
                }
            )

    def _tuned(self, method: "Method", target: "Target") -> "Method":
        from autoprune.comparison.plan import Cell
        from autoprune.comparison.tuning import best_variant, variants

        if (method, target) not in self.tuned:
            tries = variants(method, target, self.trials)
            trials = [Cell(one, target, 0, sealed=False) for one in tries]
            found = [self._measure(trial, method.name) for trial in trials]
            losses = [entry["selection"] for entry in found]
            self.tuned[method, target] = best_variant(tries, losses, method)
        return self.tuned[method, target]

    def _measure(self, cell: "Cell", name: str) -> dict[str, Any]:
        found = measure_cell(self.bench_id, cell.title, cell.to_json())
        self.cached += found["cached"]
        self.failed += found["status"] != "ok"
        self.measured += found["status"] == "ok" and not found["cached"]
        self.left[name] -= 1
        if found["status"] == "ok" and not found["cached"]:
            self.spent.setdefault(name, []).append(found["seconds"])
        done = self.cached + self.measured + self.failed
        left = self._seconds_left()
        figure = found["sealed"] if cell.sealed else found["selection"]
        said = found["reason"] if figure is None else f"perplexity {figure:.2f}"
        how = "found" if found["cached"] else f"{found['seconds']:.1f} s"
        screen = console.screen()
        clock = f", about {console.clock(left)} left" if left and done < self.total else ""
        screen.event(f"[{done}/{self.total}] {cell.title}: {said} ({how}{clock})")
        screen.remaining(left)
        screen.progress(Progress("cells", done, self.total))
        return found

    def _seconds_left(self) -> float:
        """Cells left at their method's mean time; a method not seen yet takes the others' mean."""
        means = {name: sum(times) / len(times) for name, times in self.spent.items()}
        if not means:
            return 0.0
        usual = sum(means.values()) / len(means)
        return sum(count * means.get(name, usual) for name, count in self.left.items() if count > 0)
