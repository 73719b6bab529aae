"""Tasks that measure the workbench's model as it is, by windows or by suites."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autoprune.evaluation.suites import (
    build_suite,
    check_suite,
    computed_with,
    suite_requests,
)
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.named_files import digests_of_files
from autoprune.evaluation.suites.rows import PASSING, rows_json
from autoprune.models.reference import resolve
from autoprune.numerics import computed_by
from autoprune.text.seen_text import known_text, referenced_text
from autoprune.text.windows import rendering_digest
from tasks.code_sandbox import DockerCode
from tasks.evaluation_parts import part_file, read_part, write_part
from tasks.recorded import task_run
from tasks.sealed_looks import Looks
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from autoprune.evaluation.perplexity import Evaluation
    from autoprune.text.seen_text import SeenText


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
    bench: Workbench,
    model: str,
    suites: list[dict[str, Any]],
    models: list[str],
    references: list[str],
    overlap: str,
) -> None:
    """Have every suite check its request before the first one measures.

    Nothing is measured, so no look at sealed text is counted.

    Args:
        bench: An open workbench.
        model: The model's reference, for the task's name.
        suites: Name and all settings of each suite.
        models: Models whose calibration text must not be measured on.
        references: Further texts that must not be.
        overlap: What to do about text that was seen.

    Raises:
        AutopruneError: If a suite refuses, for example a task that does not exist.
    """
    resources = _resources(bench, _seen(bench, models, references), overlap)
    for suite in suites:
        check_suite(build_suite(suite["name"], **suite["settings"]), bench.loaded, resources)


@task_run("suite", "{name} of {model}")
def measure_suite(
    bench: Workbench,
    name: str,
    model: str,
    run: str,
    settings: dict[str, Any],
    models: list[str],
    references: list[str],
    overlap: str,
) -> dict[str, Any]:
    """Measure the workbench's model with one suite.

    Args:
        bench: An open workbench.
        name: The suite.
        model: The model's reference, for the task's name.
        run: Name of the run; its looks at sealed text are counted before they are taken.
        settings: All settings of the suite.
        models: Models whose calibration text must not be measured on.
        references: Further texts that must not be.
        overlap: What to do about text that was seen.

    Returns:
        JSON form of the rows, the number of looks at each sealed text among them so far, and what
        was known about each sealed set before.
    """
    seen = _seen(bench, models, references)
    # By content: a file that was changed since gives other figures.
    read = digests_of_files(settings), None if seen is None else seen.digest
    measured = [bench.loaded.source.digest, rendering_digest(bench.tokenizer), bench.dtype]
    suite = build_suite(name, **settings)
    versions = computed_by(), computed_with(suite)
    asked = [*measured, *versions, name, settings, models, overlap, *read]
    file = part_file(bench.state, run, asked)
    kept = read_part(file)
    if kept is not None:
        return kept
    looks = Looks(bench.state, run)

    def keep(part: str, make: Callable[[], list[Any]]) -> list[Any]:
        place = part_file(bench.state, run, [*asked, part])
        if (known := read_part(place)) is None:
            write_part(place, known := {"made": make()})
        made: list[Any] = known["made"]
        return made

    resources = _resources(bench, seen, overlap, look=looks.note, keep=keep)
    rows = rows_json(suite.run(bench.loaded, report=bench.report, resources=resources))
    sets = {text: known.to_json() for text, known in looks.sets.items()}
    done = {"rows": rows, "looks": looks.counts, "sealed_sets": sets}
    if not any(row["details"].get(PASSING) for row in rows):
        write_part(file, done)
    return done


def _resources(
    bench: Workbench, seen: "SeenText | None", overlap: Any, **further: Any
) -> Resources:
    return Resources(bench.store, seen, overlap, code=DockerCode(bench.state.inputs), **further)


def _seen(bench: Workbench, models: list[str], references: list[str]) -> "SeenText | None":
    seen = known_text(models)
    if references:
        further = referenced_text(references, bench.store, bench.tokenizer)
        seen = further if seen is None else seen | further
    return seen
