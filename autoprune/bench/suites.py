"""Suites on a bench's model: checked before the first one measures, and none measured twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autoprune.bench.model import ModelBench
from autoprune.evaluation.suites import build_suite, check_suite, computed_with
from autoprune.evaluation.suites.cleaning import Policy, Resources
from autoprune.evaluation.suites.named_files import digests_of_files
from autoprune.evaluation.suites.rows import PASSING, rows_json
from autoprune.numerics import computed_by
from autoprune.text.seen_text import SeenText, known_text, referenced_text
from autoprune.text.windows import rendering_digest


@dataclass(frozen=True)
class Hygiene:
    """Text that must not be measured on.

    Args:
        models: Models whose calibration text must not be.
        references: Further texts that must not be.
        overlap: What to do about text that was seen.
    """

    models: Sequence[str] = ()
    references: Sequence[str] = ()
    overlap: Policy = "drop"

    def seen(self, bench: ModelBench) -> SeenText | None:
        """Fingerprint of all of it; None if nothing is known."""
        seen = known_text(self.models)
        if self.references:
            further = referenced_text(self.references, bench.store, bench.tokenizer)
            seen = further if seen is None else seen | further
        return seen


class Parts(Protocol):
    """Keeps finished parts of an evaluation, so that an interrupted one goes on with the rest."""

    def read(self, what: list[Any]) -> dict[str, Any] | None:
        """Return a part, or None."""
        ...

    def write(self, what: list[Any], part: dict[str, Any]) -> None:
        """Keep a part."""
        ...


class Looks(Protocol):
    """Counts an evaluation's looks at sealed text, each before it is taken."""

    def note(self, text: str, whole: str, splits: Any = None) -> None:
        """See :attr:`autoprune.evaluation.suites.cleaning.Resources.look`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The looks so far, plain JSON."""
        ...


def check_suites(
    bench: ModelBench,
    suites: Sequence[dict[str, Any]],
    hygiene: Hygiene,
) -> None:
    """Have every suite check its request before the first one measures.

    Nothing is measured, so no look at sealed text is counted.
    """
    resources = Resources(bench.store, hygiene.seen(bench), hygiene.overlap)
    for suite in suites:
        check_suite(build_suite(suite["name"], **suite["settings"]), bench.loaded, resources)


def measure_suite(
    bench: ModelBench,
    name: str,
    settings: dict[str, Any],
    hygiene: Hygiene,
    parts: Parts,
    looks: Looks,
) -> dict[str, Any]:
    """Measure the bench's model with one suite, unless its figures are kept."""
    seen = hygiene.seen(bench)
    suite = build_suite(name, **settings)
    what = [
        bench.loaded.source.digest,
        rendering_digest(bench.tokenizer),
        bench.dtype,
        computed_by(),
        computed_with(suite),
        name,
        settings,
        list(hygiene.models),
        hygiene.overlap,
        # By content: a file that was changed since gives other figures.
        digests_of_files(settings),
        None if seen is None else seen.digest,
    ]
    kept = parts.read(what)
    if kept is not None:
        return kept

    def keep(part: str, make: Callable[[], list[Any]]) -> list[Any]:
        if (known := parts.read([*what, part])) is None:
            parts.write([*what, part], known := {"made": make()})
        made: list[Any] = known["made"]
        return made

    resources = Resources(bench.store, seen, hygiene.overlap, looks.note, keep)
    rows = rows_json(suite.run(bench.loaded, report=bench.report, resources=resources))
    done = {"rows": rows, **looks.to_json()}
    if not any(row["details"].get(PASSING) for row in rows):
        parts.write(what, done)
    return done
