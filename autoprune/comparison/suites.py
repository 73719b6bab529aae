"""Suites of a comparison: what is measured on every pruned model besides its perplexity."""

import dataclasses
import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from autoprune.bench.text import SEALED
from autoprune.errors import AutopruneError, reason_of
from autoprune.evaluation.kl import DEFAULT_TOP
from autoprune.evaluation.suites import (
    SUITES,
    build_suite,
    check_suite,
    computed_with,
    given_settings,
)
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.cost import CostSuite
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import PASSING, RowContext, rows_json
from autoprune.schemes import skipped_computations

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench

log = logging.getLogger(__name__)

# Incremented when the rows of a suite, or their key, change form.
SUITE_VERSION = 1
DISTANCE = "lm"
NO_COST = "what skips while it runs is saved whole, and its hooks cost time"


def suite_defaults(
    model: str, corpus: str, windows: int, seqlen: int, split: int
) -> dict[str, dict[str, Any]]:
    """Settings by suite for those that the command omits: the comparison's own sealed text."""
    own: dict[str, Any] = {
        "corpora": [corpus],
        "corpus": corpus,
        "part": SEALED,
        "seqlen": seqlen,
        "seed": split,
        "text_split": split,
    }
    found: dict[str, dict[str, Any]] = {}
    for name, factory in SUITES.items():
        fields: set[str] = set()
        if dataclasses.is_dataclass(factory):
            fields = {entry.name for entry in dataclasses.fields(factory) if entry.init}
        if "part" in fields:
            found[name] = {key: value for key, value in own.items() if key in fields}
    found.setdefault(DISTANCE, {}).update({"windows": windows, "dense": model})
    return found


def defaults_for(asked: str, defaults: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The defaults, without part and split for a suite that names another text.

    It measures all of it, as `autoprune evaluate` does.
    """
    left = dict(defaults)
    for name, given in given_settings(asked).items():
        own = left.get(name, {})
        texts = set(given.get("corpora", "").split("+"))
        if "corpora" in given and texts.isdisjoint(own.get("corpora", ())):
            left[name] = {k: v for k, v in own.items() if k not in ("part", "text_split")}
    return left


def own_distance(defaults: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All settings of ``lm`` when the command gives none of its own."""
    made: Any = build_suite(DISTANCE, **defaults[DISTANCE])
    return dataclasses.asdict(made)


def suite_keys(bench: "ComparisonBench", key: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Key of each suite's rows for the pruned model that a cell's key names."""
    return {
        suite["name"]: {
            **key,
            "kind": "comparison suite",
            "suite": suite | bench.suite_files[suite["name"]],
            "suite_version": [SUITE_VERSION, _version(suite["name"])],
            **_computed_with(suite),
            # The distance is on the comparison's own windows, of which nothing is left out.
            **({} if _is_distance(bench, suite) else _read(bench)),
        }
        for suite in bench.suites
        # The dense model has no distance to itself.
        if not (key["method"] is None and _is_distance(bench, suite))
    }


def check_suite_requests(bench: "ComparisonBench") -> None:
    """Have every suite check its request before anything is measured."""
    resources = Resources(bench.store)
    for suite in bench.suites:
        made = build_suite(suite["name"], **suite["settings"])
        check_suite(made, bench.loaded, resources)


def wants_distance(bench: "ComparisonBench", names: list[str]) -> bool:
    """Whether one of these suites is the distance to the dense model on the own text."""
    return any(_is_distance(bench, suite) for suite in bench.suites if suite["name"] in names)


def prepare_suites(bench: "ComparisonBench", names: list[str]) -> None:
    """Prepare what suites need from the dense model, while it is still dense."""
    if wants_distance(bench, names):
        bench.predictions(SEALED)


def measure_suites(
    bench: "ComparisonBench",
    names: list[str],
    look: str,
    distance: tuple[float, ...],
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, dict[str, Any]]:
    """Rows of suites for the model as it is; a suite that fails does not affect the others."""
    made: dict[str, dict[str, Any]] = {}
    for suite in bench.suites:
        if suite["name"] in names:
            made[suite["name"]] = _measured(bench, suite, look, distance)
            keep(made)
    return made


def _read(bench: "ComparisonBench") -> dict[str, Any]:
    """What suites read besides their settings: how text is rendered, and what it leaves out."""
    seen = bench.seen_before
    return {"rendering": bench.rendering} | ({} if seen is None else {"seen": seen.digest})


def _computed_with(suite: dict[str, Any]) -> dict[str, Any]:
    found = computed_with(build_suite(suite["name"], **suite["settings"]))
    return {"computed_with": found} if found else {}


def _version(name: str) -> Any:
    """The number that a suite increments when its figures change."""
    return getattr(sys.modules[SUITES.get(name).__module__], "VERSION", None)


def _measured(
    bench: "ComparisonBench", suite: dict[str, Any], look: str, distance: tuple[float, ...]
) -> dict[str, Any]:
    try:
        if _is_distance(bench, suite):
            found = distance or bench.evaluate(SEALED, kl=True).kl
            return {"rows": [_distance_row(bench, found)]}
        if suite["name"] == CostSuite.name and skipped_computations(bench.loaded.model):
            return {"reason": NO_COST}
        resources = Resources(bench.store, bench.seen_before, look=bench.looks.noting(look))
        made = build_suite(suite["name"], **suite["settings"])
        rows = rows_json(made.run(bench.loaded, report=bench.report, resources=resources))
        # Kept only if a second attempt would give the same: some may have lacked the network.
        if all(row["status"] == "unavailable" for row in rows):
            return {"reason": _reasons(rows) or "no rows"}
        failed = [row for row in rows if row["details"].get(PASSING)]
        return {"rows": rows} | ({"reason": _reasons(failed)} if failed else {})
    except Exception as error:
        log.info("suite %s", suite["name"], exc_info=not isinstance(error, AutopruneError))
        return {"reason": reason_of(error)}


def is_whole(suite: dict[str, Any]) -> bool:
    """Whether a suite's rows are kept: none is missing for a reason that may pass."""
    return "rows" in suite and "reason" not in suite


def _reasons(rows: list[dict[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(row["reason"] for row in rows))


def _is_distance(bench: "ComparisonBench", suite: dict[str, Any]) -> bool:
    """Whether ``lm`` asks only for the distance to the dense model on the comparison's own text.

    The loss on these windows is already in the table, as perplexity.
    """
    return bool(suite == {"name": DISTANCE, "settings": bench.own_distance})


def _distance_row(bench: "ComparisonBench", items: tuple[float, ...]) -> dict[str, Any]:
    """The row that ``lm`` would give, from predictions that all cells share."""
    model = bench.loaded
    protocol = model_protocol(model) | {
        "part": SEALED,
        "seqlen": bench.text.seqlen,
        "windows": len(items),
        "windows_digest": bench.digest(SEALED),
        "dense": model.source.digest,
        "top": DEFAULT_TOP,
    }
    context = RowContext(DISTANCE, protocol, model_provenance(model))
    value = sum(items) / len(items)
    row = context.figure(
        bench.text.corpus, "kl_to_dense", value, unit="nats per token", items=items
    )
    return rows_json([row])[0]
