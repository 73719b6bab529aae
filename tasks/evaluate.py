"""Tasks that measure the workbench's model as it is, by windows or by suites."""

import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autoprune.errors import UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.evaluation.suites import build_suite, build_suites, check_suite, computed_with
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.named_files import digests_of_files
from autoprune.evaluation.suites.rows import PASSING
from autoprune.models.reference import resolve
from autoprune.numerics import computed_by
from autoprune.text.seen_text import known_text, referenced_text
from autoprune.text.windows import rendering_digest
from tasks.code_sandbox import DockerCode
from tasks.evaluation_parts import part_file, read_part, write_part
from tasks.recorded import step
from tasks.sealed_looks import Looks
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from autoprune.evaluation.suites import Suite
    from autoprune.text.seen_text import SeenText


@step("evaluate", "perplexity on {name}")
def evaluate_model(bench: Workbench, name: str) -> dict[str, Any]:
    """Measure the perplexity of the workbench's model on the named windows.

    Args:
        bench: An open workbench.
        name: Name of windows that were cut before.
    """
    result = evaluate_windows(bench.loaded.model, bench.windows[name], report=bench.report)
    return {
        "perplexity": result.perplexity,
        "tokens": result.tokens,
        "nll": list(result.nll),
        "seconds": result.seconds,
    }


@step("check suites", "check {text}")
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
    defaults = {suite: as_tuples(values) for suite, values in settings.items()}
    if dense is not None:
        defaults["lm"] = {"dense": dense, **defaults.get("lm", {})}
    built = build_suites(text, defaults)
    names = [suite.name for suite in built]
    if len(set(names)) < len(names):
        raise UsageError(f"a suite is named twice in {text!r}; name each once")
    return [
        {"name": suite.name, "settings": dataclasses.asdict(suite)}  # type: ignore[call-overload]
        for suite in built
    ]


@step("find models")
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


@step("check requests", "check the suites for {model}")
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
        check_suite(
            build_suite(suite["name"], **as_tuples(suite["settings"])), bench.loaded, resources
        )


@step("suite", "{name} of {model}")
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
    versions = computed_by(), computed_with(build_suite(name, **as_tuples(settings)))
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

    rows = suite_rows(bench, name, settings, seen, overlap, looks, keep=keep)
    sets = {text: known.to_json() for text, known in looks.sets.items()}
    done = {"rows": rows, "looks": looks.counts, "sealed_sets": sets}
    if not any(row["details"].get(PASSING) for row in rows):
        write_part(file, done)
    return done


def suite_rows(
    bench: Workbench,
    name: str,
    settings: dict[str, Any],
    seen: "SeenText | None",
    overlap: Any,
    looks: Looks,
    **further: Any,
) -> list[dict[str, Any]]:
    """JSON form of the rows of one suite for the workbench's model as it is.

    Args:
        bench: This and the following arguments are as in :func:`measure_suite`.
        further: What else the suite may use, see :class:`Resources`.
    """
    suite: Suite = build_suite(name, **as_tuples(settings))
    resources = _resources(bench, seen, overlap)
    resources = dataclasses.replace(resources, look=looks.note, **further)
    rows = suite.run(bench.loaded, report=bench.report, resources=resources)
    # Pass through JSON at once, so that a row compares equal to one read from a file.
    found: list[dict[str, Any]] = json.loads(json.dumps([row.to_json() for row in rows]))
    return found


def _resources(bench: Workbench, seen: "SeenText | None", overlap: Any) -> Resources:
    return Resources(bench.store, seen, overlap, code=DockerCode(bench.state.inputs))


def _seen(bench: Workbench, models: list[str], references: list[str]) -> "SeenText | None":
    seen = known_text(models)
    if references:
        further = referenced_text(references, bench.store, bench.tokenizer)
        seen = further if seen is None else seen | further
    return seen


def as_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a suite with JSON lists turned into tuples, as a suite has them."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
