"""The comparison flow: methods x budgets x calibration draws, one task a cell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from autoprune.bench.text import SEALED, SELECTION
from autoprune.comparison.draws import too_common
from autoprune.comparison.suites import defaults_for, own_distance, suite_defaults
from autoprune.errors import AutopruneError
from autoprune.report.sealed import SealedSet
from flows.compare.params import CompareParams
from flows.compare.run import Run
from flows.compare.table import rendered
from flows.naming import run_name
from flows.params.fields import split_number
from flows.runners import workers
from flows.terminal import console
from flows.text_split import forget_split, settled
from tasks.compare import check_comparison, check_output, prepare_comparison, write_comparison
from tasks.compare_bench import CompareBench
from tasks.compare_mirror import mirror_comparison, mirrored_comparison
from tasks.compare_page import show_comparison
from tasks.compare_remote import comparison_config
from tasks.evaluate import check_suites
from tasks.mirror import update_within
from tasks.state import State, model_slug
from tasks.switches import computing_on
from tasks.workbench import opened

# Seconds a stopped comparison may spend on its last MLflow update; the files are complete.
STOP_SECONDS = 4.0

NAME = run_name("compare", CompareParams, lambda params: model_slug(params.model))


@flow(name="compare", flow_run_name=NAME, persist_result=False)
def compare(params: CompareParams = CompareParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Compare pruning methods on one model and recommend one."""
    with computing_on(params.device):
        return _compared(params)


def _compared(params: CompareParams) -> dict[str, Any]:
    state = State.open()
    asked = params
    params = settled(params, params.model, params.corpus)
    if params.out is not None:
        check_output(params.out, params.model, overwrite=params.overwrite)
    request = check_comparison(
        params.method_texts(), params.statistics, *params.budgets(), params.baseline or (),
        list(params.texts()), params.units(),
    )  # fmt: skip
    number = split_number(params.text_split)
    defaults = suite_defaults(
        params.model, params.corpus, params.sealed_windows, params.seqlen, number
    )
    named = params.suite or ""
    bench = CompareBench(
        params.model,
        state,
        params.seed,
        console.report,
        corpus=params.corpus,
        calibration_windows=params.calibration_windows,
        seqlen=params.seqlen,
        counts={SELECTION: params.selection_windows, SEALED: params.sealed_windows},
        text_split=number,
        asked=f"comparison {params.folder_name()}",
        peers=params.peers(),
        dtype=params.dtype,
        suites=check_suites(named, defaults_for(named, defaults), None) if named else [],
        own_distance=own_distance(defaults),
        precision=params.precision,
        record=Path(params.record).expanduser().absolute() if params.record else None,
        texts=params.texts(),
        draws=params.draw_count(),
    )
    folder = Path(params.out or state.comparison / params.folder_name()).absolute()
    with opened(bench):
        console.screen().mute(console.INNER_STAGES | {"statistics", "pruning", "cells"})
        protocol = prepare_comparison(bench, request)
        run = Run(bench, request, protocol, params.trials())
        _warn(protocol)
        place = (params.runner, params.workers, params.runner_address)
        with workers(*place, comparison_config(bench)) as run.workers:
            run.parallel = params.workers if run.workers and not params.runner_address else 1
            table = _Table(params, folder, run)
            run.show = table.so_far
            try:
                run.all_cells()
            except BaseException as error:
                # However the run ends, Ctrl-C included, the finished cells become a table.
                run.collect()
                if run.dense is not None:
                    table.write()
                    table.final_update("FAILED" if isinstance(error, AutopruneError) else "KILLED")
                raise
            result = table.write()
    counts = {"measured": run.measured, "cached": run.cached, "failed": run.failed}
    mirrored = table.mirror("FINISHED")
    if not mirrored["error"]:
        # Until then, the same command records what was measured on this set.
        forget_split(asked)
    record = result | counts | {"mlflow_run": mirrored["mlflow_run"]}
    show_comparison(state, record, params.folder_name(), mirrored["place"])
    console.screen().outcome(rendered(record).splitlines())
    return record


def _warn(protocol: dict[str, Any]) -> None:
    """Warn, before measuring, about what will make the table hard to read."""
    sizes = (protocol[name] for name in ("calibration_pool", "calibration_windows", "seeds"))
    seal = SealedSet(**protocol["sealed_set"])
    lines = [too_common(*sizes), seal.warning, protocol["fewer_windows"]]
    texts = protocol.get("calibration_texts", {}).items()
    lines += (f"{name}: {facts['reason']}" for name, facts in texts if "reason" in facts)
    for line in filter(None, lines):
        console.screen().event(line)


@dataclass
class _Table:
    """The table of a comparison, as files and as a run in MLflow."""

    params: CompareParams
    folder: Path
    run: Run
    mirrored: bool = True

    def so_far(self) -> None:
        """Show the cells measured so far."""
        self.write()
        self.mirror("RUNNING")

    def write(self) -> dict[str, Any]:
        """Write the files."""
        outline = self.run.outline(self.params.command())
        return write_comparison(self.run.bench, str(self.folder), outline)

    def mirror(self, status: str) -> dict[str, Any]:
        """Bring MLflow up to date with the files; report an unreachable store once."""
        done = mirror_comparison(self.run.bench, self._settings, status)
        if done["error"] and self.mirrored:
            console.screen().event(
                f"MLflow has no record of this comparison ({done['error']}); its files are "
                "complete, and the same command records it once MLflow answers"
            )
        self.mirrored = not done["error"]
        return done

    def final_update(self, status: str) -> None:
        """Tell MLflow of an early end within seconds, without creating a task run."""
        bench, settings = self.run.bench, self._settings
        update_within(STOP_SECONDS, mirrored_comparison, bench, settings, status)

    @property
    def _settings(self) -> dict[str, Any]:
        peer = None if self.params.peer is None else ",".join(self.params.peers())
        return self.params.settings() | {"peer": peer}
