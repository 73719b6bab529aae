"""Comparisons of a tiny model by the library alone: no flow, no state folder, no pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.bench.text import SEALED, SELECTION, BenchText
from autoprune.comparison.bench import ComparisonBench
from autoprune.comparison.cells import CellStore
from autoprune.comparison.documents import latex
from autoprune.comparison.looks import OwnLooks
from autoprune.comparison.preparing import prepare_comparison
from autoprune.comparison.record import body_of
from autoprune.comparison.request import parse_request
from autoprune.comparison.result import gather
from autoprune.comparison.run import ComparisonRun
from autoprune.comparison.suites import defaults_for, own_distance, suite_defaults
from autoprune.comparison.writing import summary
from autoprune.evaluation.suites import suite_requests
from autoprune.spelling import split_list
from autoprune.store import Store


@dataclass(frozen=True)
class Comparisons:
    """Small comparisons of one model on one text, which keep their cells in one folder.

    Called with methods, and with what differs from a small comparison, it gives the table with how
    many cells were measured, found and failed.

    Args:
        model: The model's folder.
        text: The compared text.
        folder: Where cells, windows and statistics are kept.
    """

    model: Path
    text: Path
    folder: Path
    looks: OwnLooks = field(default_factory=OwnLooks)

    def bench(
        self, suite: str = "", *, selection_windows: int = 3, sealed_windows: int = 4,
        record: Path | None = None, calibration_windows: int = 4, seqlen: int = 32,
        **changes: Any,
    ) -> ComparisonBench:  # fmt: skip
        """The bench of one comparison; nothing is loaded yet."""
        model, corpus = str(self.model), str(self.text)
        defaults = suite_defaults(model, corpus, sealed_windows, seqlen, 0)
        counts = {SELECTION: selection_windows, SEALED: sealed_windows}
        return ComparisonBench(
            model,
            Store(self.folder / "store"),
            BenchText(corpus, seqlen, counts),
            cells=CellStore(self.folder, record),
            looks=self.looks,
            calibration_windows=calibration_windows,
            suites=suite_requests(suite, defaults_for(suite, defaults)) if suite else [],
            own_distance=own_distance(defaults),
            **changes,
        )

    def __call__(
        self, methods: str = "wanda", *, sparsity: tuple[float, ...] = (0.5,),
        pattern: tuple[str, ...] = (), units: Mapping[str, Sequence[float]] = {}, tune: int = 0,
        draws: int = 2, **changes: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Measure what is not known yet."""
        texts = tuple(changes.get("texts", ()))
        request = parse_request(split_list(methods), "dense", sparsity, pattern, (), texts, units)
        with self.bench(draws=draws, **changes) as bench:
            run = ComparisonRun(bench, request, prepare_comparison(bench, request), tune)
            run.all_cells()
            table = gather(body_of(bench, run.outline("again")))
        counts = {"measured": run.measured, "cached": run.cached, "failed": run.failed}
        return summary(table) | counts | {"latex": latex(table)}

    @property
    def kept(self) -> list[Path]:
        """Files of the kept cells and suites."""
        return sorted((self.folder / "cells").glob("*/*.json"))


def row(result: dict[str, Any], method: str, target: str = "50 %") -> dict[str, Any]:
    """A method's row of a table."""
    (found,) = [r for r in result["rows"] if (r["method"], r["target"]) == (method, target)]
    return dict(found)


def measures(result: dict[str, Any], method: str) -> dict[str, dict[str, Any]]:
    """Figures of suites by column, in a method's row."""
    return {entry["column"]: entry for entry in row(result, method)["measures"]}
