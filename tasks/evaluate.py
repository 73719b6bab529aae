"""Tasks that measure the workbench's model as it is, by windows or by suites."""

from typing import TYPE_CHECKING, Any

from autoprune.bench import suites as on_bench
from autoprune.bench.suites import Hygiene
from autoprune.evaluation.suites import suite_requests
from autoprune.models.reference import resolve
from tasks.evaluation_parts import EvaluationParts
from tasks.recorded import task_run
from tasks.sealed_looks import Looks
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from autoprune.evaluation.perplexity import Evaluation


@task_run("evaluate", "perplexity on {name}")
def evaluate_model(bench: Workbench, name: str) -> "Evaluation":
    """Measure the workbench's model, as it is, on windows that were cut under this name."""
    return bench.evaluate(name)


@task_run("check suites", "check {text}")
def check_suites(
    text: str, settings: dict[str, dict[str, Any]], dense: str | None
) -> list[dict[str, Any]]:
    """Parse the list of suites before anything expensive happens."""
    if dense is not None:
        settings = settings | {"lm": {"dense": dense, **settings.get("lm", {})}}
    return suite_requests(text, settings)


@task_run("find models")
def find_models(models: list[str]) -> dict[str, str]:
    """Find the models before anything expensive happens."""
    return {model: resolve(model).digest for model in models}


@task_run("check requests", "check the suites for {model}")
def check_requests(
    bench: Workbench, model: str, suites: list[dict[str, Any]], hygiene: Hygiene
) -> None:
    """Have every suite check its request first; see :func:`autoprune.bench.suites.check_suites`."""
    on_bench.check_suites(bench, suites, hygiene)


@task_run("suite", "{name} of {model}")
def measure_suite(
    bench: Workbench,
    name: str,
    model: str,
    run: str,
    settings: dict[str, Any],
    hygiene: Hygiene,
) -> dict[str, Any]:
    """Measure the workbench's model with one suite, unless this run has done so."""
    parts, looks = EvaluationParts(bench.state, run), Looks(bench.state, run)
    return on_bench.measure_suite(bench, name, settings, hygiene, parts, looks)
