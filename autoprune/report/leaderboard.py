"""The leaderboard of a run, as terminals, Prefect, agents and the record of a flow show it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from autoprune.report.data import Point, ReportEntry, RunReport
from autoprune.report.parts import Part


@dataclass(frozen=True)
class LeaderboardRow(Part):
    """What lists show of an entry; its fields are a :class:`ReportEntry`'s but for these.

    Args:
        candidate: The entry's alias.
        perplexity: Finite, or None; so are the next two.
        elsewhere: The same recipe at other sparsities.
        written_by: Its author.
        verdict: Of what is made by hand only ``winner`` and ``rejected``, else ``baseline``.
        left_out: What the only figure leaves out, in words; empty if it has the recipe's.
    """

    rank: int | None
    candidate: str
    formula: str
    group: str
    allocation: str
    solver: str
    perplexity: float | None
    change_vs_wanda: float | None
    sealed_perplexity: float | None
    sealed_failure: str
    draws: tuple[float, ...]
    elsewhere: tuple[Point, ...]
    kl: float | None
    sparsity: float | None
    written_by: str
    verdict: str
    left_out: str
    code: str
    detail: str

    @classmethod
    def of(cls, entry: ReportEntry) -> "LeaderboardRow":
        """The row of an entry."""
        return cls(
            rank=entry.rank,
            candidate=entry.alias,
            formula=entry.formula,
            group=entry.group,
            allocation=entry.allocation,
            solver=entry.solver,
            perplexity=_finite(entry.perplexity),
            change_vs_wanda=_finite(entry.change_vs_wanda),
            sealed_perplexity=_finite(entry.sealed_perplexity),
            sealed_failure=entry.sealed_failure,
            draws=entry.draws,
            elsewhere=entry.curve,
            kl=entry.kl,
            sparsity=entry.sparsity,
            written_by=entry.author,
            verdict=shown_verdict(entry),
            left_out=shown_left_out(entry),
            code=entry.code,
            detail=entry.detail,
        )

    @property
    def verdict_text(self) -> str:
        """The verdict, with the reason of a rejection or what the figure leaves out."""
        if self.code:
            return f"{self.verdict}: {self.code}"
        return f"{self.verdict}, {self.left_out}" if self.left_out else self.verdict


def shown_verdict(entry: ReportEntry) -> str:
    """The verdict; what is made by hand and neither wins nor fails is a baseline."""
    by_hand = entry.kind == "baseline" and entry.verdict not in ("winner", "rejected")
    return "baseline" if by_hand else entry.verdict


def shown_left_out(entry: ReportEntry) -> str:
    """What its only figure leaves out, in words; empty if it has the recipe's, or none."""
    return entry.left_out if entry.has_masks_alone else ""


def leaderboard(report: RunReport) -> list[LeaderboardRow]:
    """Rows of a run's record; see :func:`in_order`."""
    return [LeaderboardRow.of(entry) for entry in in_order(report)]


def in_order(report: RunReport) -> list[ReportEntry]:
    """Measured entries by rank, then those stopped early, then the rejected, then the others."""
    places = {"stopped": 0, "rejected": 1}
    others = [entry for entry in report.entries if not entry.measured]
    others.sort(
        key=lambda e: (e.rank is None, e.rank or 0, places.get(e.verdict, 2), e.order, e.id)
    )
    return [*report.ranked, *others]


def leaderboard_from_json(rows: Sequence[Mapping[str, Any]]) -> list[LeaderboardRow]:
    """Rows in their JSON form, as the record of a search holds them."""
    return _adapter().validate_python(rows)


@cache
def _adapter() -> TypeAdapter[list[LeaderboardRow]]:
    return TypeAdapter(list[LeaderboardRow])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
