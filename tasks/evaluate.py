"""Tasks that measure the model as it stands on the workbench, by windows or by suites."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import UsageError
from tasks.policies import step
from tasks.sealed_touches import touch
from tasks.seen import known_text, referenced_text
from tasks.state import State
from tasks.workbench import Workbench, find_workbench

if TYPE_CHECKING:
    from autoprune.evaluation.seen_text import SeenText
    from autoprune.evaluation.suites import Suite
    from autoprune.evaluation.suites.rows import Row


@step("evaluate", "perplexity on {name}")
def evaluate_model(bench_id: str, name: str) -> dict[str, Any]:
    """Perplexity of the workbench's model on the named windows.

    Args:
        bench_id: Id of an open workbench.
        name: Name of windows that were cut before.
    """
    from autoprune.evaluation.perplexity import evaluate_windows

    bench = find_workbench(bench_id)
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
    """Read the list of suites before anything heavy happens.

    Args:
        text: Suites as the command line takes them.
        settings: Settings by suite, for those that the text does not give.
        dense: Model that ``lm`` measures the distance to.

    Returns:
        Name and all settings of each suite.

    Raises:
        UsageError: If a suite or a setting is unknown or not allowed.
    """
    import dataclasses

    from autoprune.evaluation.suites import build_suites

    defaults = {suite: _tuples(values) for suite, values in settings.items()}
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


@step("suite", "{name} of {model}")
def measure_suite(
    bench_id: str,
    name: str,
    model: str,
    settings: dict[str, Any],
    models: list[str],
    references: list[str],
    overlap: str,
) -> dict[str, Any]:
    """Measure the workbench's model by one suite.

    Args:
        bench_id: Id of an open workbench.
        name: The suite.
        model: The model's reference, for the task's name.
        settings: All settings of the suite.
        models: Models whose calibration text must not be measured on.
        references: Further texts that must not be.
        overlap: What to do about text that was seen.

    Returns:
        JSON form of the rows.
    """
    bench = find_workbench(bench_id)
    seen = known_text(models)
    if references:
        further = referenced_text(references, bench.store)
        seen = further if seen is None else seen | further
    return {"rows": suite_rows(bench, name, settings, seen, overlap)}


def suite_rows(
    bench: Workbench, name: str, settings: dict[str, Any], seen: "SeenText | None", overlap: Any
) -> list[dict[str, Any]]:
    """JSON form of the rows of one suite for the workbench's model as it stands."""
    from autoprune.evaluation.suites import build_suite
    from autoprune.evaluation.suites.cleaning import Surroundings

    suite: Suite = build_suite(name, **_tuples(settings))
    around = Surroundings(bench.store, seen, overlap)
    rows = suite.run(bench.loaded, report=bench.report, around=around)
    # Through JSON at once, so that a row compares equal to one that was read from a file.
    found: list[dict[str, Any]] = json.loads(json.dumps([row.to_json() for row in rows]))
    return found


@step("sealed touches")
def count_sealed(root: str, run: str, rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count the sealed texts that were measured on, this time included.

    Args:
        root: The state folder.
        run: Name of this run.
        rows: JSON form of its rows.

    Returns:
        Touches by digest of the sealed text.
    """
    sealed = {
        row["details"]["text"]
        for row in rows
        if row["suite"] == "lm"
        and row["protocol"].get("part") == "sealed"
        and "text" in row["details"]
    }
    state = State.open(Path(root))
    return {digest: touch(state, digest, run) for digest in sorted(sealed)}


@step("compare", "compare with {other}")
def compare(
    rows: list[dict[str, Any]], others: list[dict[str, Any]], other: str
) -> list[dict[str, Any]]:
    """Compare the rows with those of another model, pair by pair.

    Args:
        rows: JSON form of the rows.
        others: JSON form of the other's rows.
        other: Where those come from, for the task's name.

    Raises:
        ProtocolMismatchError: If two figures of one name follow different protocols.
    """
    from autoprune.evaluation.suites.rows import Row

    known = {_key(row): Row.from_json(row) for row in others}
    return [_compared(known[_key(row)], Row.from_json(row)) for row in rows if _key(row) in known]


@step("read record", "read {path}")
def read_record(path: str) -> list[dict[str, Any]]:
    """The rows of a former run's ``--json`` record.

    Raises:
        UsageError: If the file is missing or is no such record.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{path} does not exist; name a model or the .json record of a run")
    try:
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
        return [{**row, "protocol": dict(row["protocol"])} for row in rows]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is no record of an evaluation ({type(error).__name__}: {error}); make one "
            "with `autoprune evaluate MODEL --json > FILE.json`"
        ) from error


def _compared(other: "Row", row: "Row") -> dict[str, Any]:
    from autoprune.evaluation.suites.comparison import compare_rows, require_same_protocol

    require_same_protocol(other, row)
    found: dict[str, Any] = {
        "suite": row.suite, "name": row.name, "metric": row.metric, "value": row.value,
        "other": other.value, "paired": None,
    }  # fmt: skip
    if row.items and len(row.items) == len(other.items):
        found["paired"] = compare_rows(other, row).to_json()
    return found


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["suite"], row["name"], row["metric"]


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
