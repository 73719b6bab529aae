"""Tasks that make the workbench's model smaller by a scheme."""

from autoprune.bench.saving import AUTO, saved_type
from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.smaller import Shrinking
from autoprune.bench.text import CALIBRATION
from autoprune.budget import Budget
from autoprune.names import require_saved
from autoprune.schemes.shrink import Shrunk
from tasks.recorded import task_run
from tasks.workbench import Workbench


@task_run("check scheme", "check {scheme}")
def check_scheme(scheme: str) -> Shrinking:
    """Parse a scheme before anything expensive happens."""
    built = Shrinking.parse(scheme)
    require_saved(built.scheme.NAME)
    return built


@task_run("shrink", "remove {budget} by {scheme.text}")
def shrink_model(bench: Workbench, scheme: Shrinking, budget: Budget, dtype: str = AUTO) -> Shrunk:
    """Make the workbench's model smaller in place."""
    return scheme.apply(
        bench.loaded.model,
        SchemeBudget(budget, saved_type(bench, dtype)),
        bench.windows.get(CALIBRATION),
        fresh=bench.fresh_windows(scheme.fresh_windows),
        seed=bench.seed,
        report=bench.report,
    )
