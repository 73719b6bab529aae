"""The current record of a run: one object for the files, MLflow and Prefect."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autoprune.report.data import RunReport
from autoprune.report.designer_calls import designer_calls
from autoprune.report.run_report import build_mask_records, build_report
from autoprune.search.search import Search
from autoprune.storage import write_json
from tasks.facts import Facts
from tasks.run_files import RunFiles


@dataclass(frozen=True)
class RunRecord:
    """What is known about a search at one moment.

    Args:
        run_id: Its name.
        body: JSON form of its report; see :class:`autoprune.report.data.RunReport`.
        mask_records: By candidate, everything that determines its masks.
        calls: Questions to the designer with their answers, oldest first.
        log_id: What tells the search from a later one of its name.
    """

    run_id: str
    body: Mapping[str, Any]
    mask_records: Mapping[str, Any]
    calls: list[dict[str, Any]]
    log_id: str = ""

    @classmethod
    def of(
        cls, search: Search, facts: Facts, run_id: str, calls: Iterable[Mapping[str, Any]] = ()
    ) -> "RunRecord":
        """The record of an open search."""
        return cls(
            run_id,
            build_report(search, run_id, facts).to_json(),
            build_mask_records(search, run_id, facts),
            designer_calls(search, facts.get("designer", ""), calls),
            search.log_id,
        )

    @cached_property
    def report(self) -> RunReport:
        """The report as readers of its file see it: without text that a file cannot hold."""
        return RunReport.from_json(self.body)

    def write(self, files: RunFiles, before: "RunRecord | None" = None) -> None:
        """Write all of it, each file atomically."""
        if before is None or self.body != before.body:
            write_json(files.report, self.body)
        if before is None or self.mask_records != before.mask_records:
            write_json(files.mask_records, self.mask_records)
        if before is None or self.calls != before.calls:
            write_json(files.calls, {"calls": self.calls})
