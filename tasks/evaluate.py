"""Tasks that measure the workbench's model as it is, by windows or by suites."""

from typing import TYPE_CHECKING, Any

from autoprune.bench import suites as on_bench
from autoprune.bench.suites import Hygiene
from autoprune.evaluation.suites import suite_requests
from autoprune.models.reference import resolve
from tasks.code_sandbox import DockerCode
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
    """Parse the list of suites before anything expensive happens.

    Args:
        text: Suites as the command line takes them.
        settings: Settings by suite, for those that the text omits.
        dense: Model that ``lm`` measures the distance to.

    Returns:
        Name and all settings of each suite.

    Raises:
        UsageError: If a suite or a setting is unknown or not allowed.
    """
    if dense is not None:
        settings = settings | {"lm": {"dense": dense, **settings.get("lm", {})}}
    return suite_requests(text, settings)


@task_run("find models")
def find_models(models: list[str]) -> dict[str, str]:
    """Find the models before anything expensive happens.

    Args:
        models: Their references.

    Returns:
        Digest of each.

    Raises:
        UsageError: If there is no such model.
    """
    return {model: resolve(model).digest for model in models}


@task_run("check requests", "check the suites for {model}")
def check_requests(
    bench: Workbench, model: str, suites: list[dict[str, Any]], hygiene: Hygiene
) -> None:
    """Have every suite check its request first; see :func:`autoprune.bench.suites.check_suites`.

    Args:
        bench: An open workbench.
        model: The model's reference, for the task's name.
        suites: Name and all settings of each suite.
        hygiene: Text that must not be measured on.
    """
    on_bench.check_suites(bench, suites, hygiene, DockerCode(bench.state.inputs))


@task_run("suite", "{name} of {model}")
def measure_suite(
    bench: Workbench,
    name: str,
    model: str,
    run: str,
    settings: dict[str, Any],
    hygiene: Hygiene,
) -> dict[str, Any]:
    """Measure the workbench's model with one suite, unless this run has done so.

    Args:
        bench: An open workbench.
        name: The suite.
        model: The model's reference, for the task's name.
        run: Name of the run; its looks at sealed text are counted before they are taken.
        settings: All settings of the suite.
        hygiene: Text that must not be measured on.

    Returns:
        JSON form of the rows, the number of looks at each sealed text among them so far, and what
        was known about each sealed set before.
    """
    parts, looks = EvaluationParts(bench.state, run), Looks(bench.state, run)
    code = DockerCode(bench.state.inputs)
    return on_bench.measure_suite(bench, name, settings, hygiene, parts, looks, code)
