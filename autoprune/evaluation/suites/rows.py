"""Rows: one figure each, with what is needed to trust it and to compare it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from autoprune.evaluation.intervals import bootstrap_mean, bootstrap_strata, wilson

Status = Literal["ok", "not_finite", "unavailable"]

# Details of a row that decide how it is compared: sizes of consecutive groups of items whose means
# are averaged, and whether its items are runs, which pair with nothing in another row.
STRATA = "strata"
RUNS = "items_are_runs"
# Detail of a row without a figure: another attempt may give one, such as with the network back.
PASSING = "may_pass"

RowKey = tuple[str, str, str, str | None]


@dataclass(frozen=True)
class Row:
    """One measured figure, or the reason why there is none.

    Args:
        suite: Name of the suite.
        name: What was measured on: a corpus, a task, a generator, a batch size.
        metric: What was measured, for example ``perplexity``.
        value: The figure; None unless ``status`` is ``ok``.
        unit: Unit of the figure.
        status: ``ok``; ``not_finite`` for a model whose outputs are NaN or infinite, which is a
            result; ``unavailable`` with the reason.
        reason: Why there is no figure.
        interval: 95 % interval: Wilson's for a share of items, else by bootstrap.
        items: Scores of the single items in order, for paired comparison.
        protocol: Everything that must be equal for two figures to be comparable.
        provenance: What was measured and by which versions; may differ between comparable rows.
        details: Further facts about this figure.
    """

    suite: str
    name: str
    metric: str
    value: float | None
    unit: str = ""
    status: Status = "ok"
    reason: str = ""
    interval: tuple[float, float] | None = None
    items: tuple[float, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is not None and math.isfinite(self.value)) != (self.status == "ok"):
            raise ValueError(f"value {self.value} does not go with the status {self.status!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Row":
        """Inverse of :meth:`to_json`."""
        interval = value["interval"]
        tuples = {"interval": tuple(interval) if interval else None, "items": tuple(value["items"])}
        return cls(**{**value, **tuples})

    @property
    def key(self) -> RowKey:
        """Identity of the figure: suite, name, metric and, for tasks that have one, the filter."""
        return self.suite, self.name, self.metric, self.protocol.get("filter")

    def describe(self) -> str:
        """One line: the figure with its interval, and the protocol."""
        protocol = ", ".join(f"{key} {_short(value)}" for key, value in self.protocol.items())
        title = f"{self.suite} {self.name} {self.metric}"
        if self.value is None:
            return f"{title}: {self.status}: {self.reason} ({protocol})"
        interval = ""
        if self.interval:
            interval = f" [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        unit = f" {self.unit}" if self.unit else ""
        return f"{title}: {self.value:.4g}{interval}{unit} ({protocol})"


def rows_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows in their JSON form, which compares equal to the same read from a file."""
    found: list[dict[str, Any]] = json.loads(json.dumps([row.to_json() for row in rows]))
    return found


@dataclass(frozen=True)
class RowContext:
    """What all rows of one run share.

    Args:
        suite: Name of the suite.
        protocol: Shared part of the protocol.
        provenance: Model, versions, machine.
        seed: Seed of the bootstrap.
    """

    suite: str
    protocol: Mapping[str, Any]
    provenance: Mapping[str, Any]
    seed: int = 0

    def figure(
        self,
        name: str,
        metric: str,
        value: float,
        *,
        unit: str = "",
        protocol: Mapping[str, Any] | None = None,
        **rest: Any,
    ) -> Row:
        """A row with a figure; one that is NaN or infinite becomes a ``not_finite`` row."""
        shared = self._shared(name, metric, unit, protocol)
        if not math.isfinite(value):
            return Row(
                **shared,
                value=None,
                status="not_finite",
                reason=f"the {metric} is {value}: the model computes no usable numbers",
                details=rest.get("details", {}),
            )
        return Row(**shared, value=float(value), **rest)

    def accuracy(
        self,
        name: str,
        correct: Sequence[bool | float],
        *,
        metric: str = "accuracy",
        strata: Sequence[int] = (),
        differences: bool = False,
        protocol: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Row:
        """A row for a share of right answers, with its interval over items."""
        if not correct:
            return self.missing(name, metric, "no items", protocol=protocol, details=details)
        items = tuple(float(value) for value in correct)
        more: dict[str, Any] = {"items": len(items)}
        if strata:
            value, interval = bootstrap_strata(items, strata, seed=self.seed)
            interval = interval if interval and interval[0] < interval[1] else None
            more[STRATA] = list(strata)
        elif not differences and set(items) <= {0.0, 1.0}:
            value, interval = sum(items) / len(items), wilson(items.count(1.0), len(items))
        else:
            value, interval = bootstrap_mean(items, seed=self.seed)
            # Resamples of equal items are all the same, which does not make the value certain.
            interval = interval if len(set(items)) > 1 else None
        return self.figure(
            name, metric, value, interval=interval, items=items, protocol=protocol,
            details={**more, **(details or {})},
        )  # fmt: skip

    def missing(
        self,
        name: str,
        metric: str,
        reason: str,
        *,
        status: Status = "unavailable",
        protocol: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Row:
        """A row that says why there is no figure."""
        shared = self._shared(name, metric, "", protocol)
        return Row(**shared, value=None, status=status, reason=reason, details=details or {})

    def _shared(
        self, name: str, metric: str, unit: str, protocol: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "suite": self.suite, "name": name, "metric": metric, "unit": unit,
            "protocol": {**self.protocol, **(protocol or {})},
            "provenance": dict(self.provenance),
        }  # fmt: skip


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else text
