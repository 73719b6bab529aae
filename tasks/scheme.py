"""Tasks that make the workbench's model smaller by a scheme, and save it."""

from pathlib import Path
from typing import Any

from autoprune.bench.saving import AUTO, save_bench, saved_type
from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.models.saving import SavedModel
from autoprune.names import require_saved
from autoprune.schemes.shrink import Shrunk
from tasks.recorded import task_run
from tasks.workbench import Workbench


@task_run("check scheme", "check {scheme}")
def check_scheme(scheme: str) -> Shrinking:
    """Parse a scheme before anything expensive happens.

    Raises:
        UsageError: If a part is unknown, or there is nothing to save.
    """
    built = Shrinking.parse(scheme)
    require_saved(built.scheme.NAME)
    return built


@task_run("shrink", "remove {budget} by {scheme.text}")
def shrink_model(
    bench: Workbench, scheme: Shrinking, windows: str | None, budget: Budget, dtype: str = AUTO
) -> Shrunk:
    """Make the workbench's model smaller in place.

    Args:
        bench: An open workbench.
        scheme: How, recovery included.
        windows: Name of the calibration windows; None if the scheme reads no text.
        budget: How much to remove; a share refers to the parameters of the blocks.
        dtype: Type of the weights in the saved folder, since a budget may be in bytes.
    """
    return scheme.apply(
        bench.loaded.model,
        SchemeBudget(budget, saved_type(bench, dtype)),
        None if windows is None else bench.windows[windows],
        fresh=bench.fresh_windows(scheme.fresh_windows),
        seed=bench.seed,
        report=bench.report,
    )


@task_run("save", "save to {out}")
def save_smaller(bench: Workbench, out: str, record: dict[str, Any], dtype: str) -> SavedModel:
    """Save the workbench's model together with its record.

    Args:
        bench: An open workbench.
        out: Target folder, replaced when it exists.
        record: What made the model.
        dtype: As for :func:`tasks.prune.save_checkpoint`.

    Raises:
        AutopruneError: If the disk is full or the folder is not writable.
    """
    kind = saved_type(bench, dtype)
    return save_bench(bench, Path(out), record, dtype=kind)
