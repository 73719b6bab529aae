"""The search's state: folded from outcomes, never stored."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain as chain_of
from itertools import repeat
from typing import Any

from autoprune.design.bandit import Bandit, SearchLimits
from autoprune.design.chat import Reply, Usage
from autoprune.design.graph import Graph
from autoprune.design.parts import canonical_allocation, chain
from autoprune.search.archive import Archive, Entry, fitness_of
from autoprune.search.arms import sources_of
from autoprune.search.costs import Costs, ExactPass
from autoprune.search.moves import mask_key, recipe_key
from autoprune.search.paired import paired_difference, rank_correlation
from autoprune.search.spec import SearchSpec
from autoprune.search.steps import Outcome, charged_seconds

# If few windows' rank correlation with the others is below this, the first rung gets more windows.
# Both sides are noisy: few windows whose correlation with unlimited text would be 0.6 show 0.44
# here (4 of 12 windows; 0.55 for 2 of 20, 0.36 for 3 of 6), and somewhat less where only the better
# half has all windows.
CORRELATION_WANTED = 0.4
PAIRS_NEEDED = 6
STALE_GENERATIONS = 3
RETIRE_AFTER = 3


@dataclass
class Spent:
    """Budget used so far, summed from recorded outcomes."""

    candidates: int = 0
    evaluations: int = 0
    tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0


@dataclass
class Lesson:
    """Counters of one lesson; its text lives in the graph and never changes."""

    helpful: int = 0
    harmful: int = 0

    @property
    def retired(self) -> bool:
        """Whether it is no longer shown."""
        return self.harmful - self.helpful >= RETIRE_AFTER


@dataclass
class SearchState:
    """Everything that the next decision depends on.

    Args:
        generation: Number of finished generations.
        stale: Generations in a row without a new best.
        exploited: Number of exploit entries in finished generations.
        asking_seconds: The part of the seconds spent waiting for the designer's answers while
            nothing was measured.
        check_seconds: Seconds of the last check of the sentinels.
        exact: Seconds of passes in float32, as the sentinels took them; None: not measured.
        terms: Term that an ablation left out or an extension added, by alias.
        started: Number of graph nodes once the starts were measured, before any design.
        sampled: Choices and numbers that Optuna suggested, by the recipe's key.
    """

    spec: SearchSpec
    archive: Archive
    graph: Graph = field(default_factory=Graph)
    bandit: Bandit = field(init=False)
    spent: Spent = field(default_factory=Spent)
    lessons: dict[str, Lesson] = field(default_factory=dict)
    generation: int = 0
    stale: int = 0
    exploited: int = 0
    asking_seconds: float = 0.0
    check_seconds: float = 0.0
    exact: ExactPass | None = None
    terms: dict[str, str] = field(default_factory=dict)
    started: int = 0
    sampled: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sources = sources_of(self.spec)
        self.bandit = Bandit(tuple(sources), sources, _limits(self.spec))

    @property
    def uses_designer(self) -> bool:
        """Whether an LLM is asked at all."""
        return self.spec.designer.asks

    def charge(self, outcomes: Iterable[Outcome], models: Iterable[str | None] = ()) -> None:
        """Charge what a batch of outcomes used."""
        for outcome, model in zip(outcomes, chain_of(models, repeat(None)), strict=False):
            self.spent.seconds += charged_seconds(outcome)
            if isinstance(outcome, Reply):
                usage = self._usage(outcome)
                self.spent.tokens += usage.total
                self.spent.money += self.spec.budget.cost(
                    usage.prompt_tokens,
                    usage.completion_tokens,
                    model or self.spec.designer.model,
                )

    def price_of(self, model: str | None) -> float:
        """Price of a model's tokens, relative to the dearest's; 1 without a limit in money.

        The bandit counts money as the tokens that it buys at the highest price.
        """
        budget, designer = self.spec.budget, self.spec.designer
        size = (designer.prompt_tokens, designer.answer_tokens)
        named = model or designer.model
        return 1.0 if budget.money is None else budget.cost(*size, named) / budget.cost(*size)

    def _usage(self, reply: Reply) -> Usage:
        """Tokens of an answer; the maximum if a limit applies and the server reports none."""
        budget, designer = self.spec.budget, self.spec.designer
        if reply.usage.total or (budget.tokens is None and budget.money is None):
            return reply.usage
        return Usage(designer.prompt_tokens, designer.answer_tokens)

    @property
    def costs(self) -> Costs:
        """Expected seconds of measurements."""
        return Costs(self.spec, self.archive, self.exact)

    @property
    def rung_windows(self) -> int:
        """Windows of the first rung: twice the specified number if it ranks badly."""
        wanted, whole = self.spec.rung_windows, self.spec.selection_windows
        correlation, pairs = self.rung_correlation()
        if pairs >= PAIRS_NEEDED and correlation is not None and correlation < CORRELATION_WANTED:
            wanted *= 2
        return min(wanted, whole)

    def budget_of(self, alias: str) -> Mapping[str, Any]:
        """How an entry reaches a budget in bytes or speed, with its ``share``; else empty."""
        if alias not in self.archive:
            return {}
        entry = self.archive[alias]
        # What repeats a known recipe is not validated.
        return entry.budget or self.archive.original(entry).budget

    def share_of(self, alias: str) -> float:
        """Share that an entry is pruned to: its own, if its shapes determine it."""
        found: float = self.budget_of(alias).get("share", self.spec.sparsity)
        return found

    def reference(self) -> Entry:
        """Return the entry that changes are relative to; it is measured before any design."""
        entry = self.archive.reference_entry()
        assert entry is not None
        return entry

    def rung_correlation(self) -> tuple[float | None, int]:
        """Spearman's correlation of fitness on few and on the other windows, and recipe count.

        The sides share no windows, which would agree with themselves: on pure noise, 4 of 12
        windows correlate with all 12 at 0.58. Recipes are ranked within each repair: the first rung
        measures masks alone, and a repair's gain says nothing about how few windows rank. Recipes
        that masks alone cannot judge are left out.
        """
        groups: dict[str, tuple[list[float], list[float]]] = {}
        for entry in self.archive.measured():
            if 1 not in entry.results or entry.recipe is None or entry.direct:
                continue
            few, most = (
                fitness_of(entry.results[rung], self.spec.fitness) for rung in (1, entry.rung)
            )
            # With fewer than half as many others, their own noise would dominate.
            if 2 * (len(most) - entry.few) < entry.few:
                continue
            # Compare each side with the reference on the same windows; rung 1 may change size.
            base = fitness_of(self.reference().results[2], self.spec.fitness)
            cut, rest = slice(entry.few), slice(entry.few, None)
            first, others = groups.setdefault(chain(entry.recipe.repair), ([], []))
            first.append(paired_difference(few[cut], base[cut]).mean)
            others.append(paired_difference(most[rest], base[rest]).mean)
        return _correlation(groups.values())

    def layer_correlation(self) -> tuple[float | None, int]:
        """Spearman's correlation of the error on real layers with the whole model, and how many.

        Of masks alone; in a search of programs, of these and their error of three blocks. They are
        ranked within each allocation, since a few layers share no budget; programs also within
        each repair.
        """
        of_programs = self.spec.written == "program"
        groups: dict[str, tuple[list[float], list[float]]] = {}
        seen: set[str] = set()
        for entry in self.archive.measured():
            error = entry.validation.reconstruction_error if entry.validation else None
            recipe = entry.recipe
            if error is None or recipe is None:
                continue
            kind, key = canonical_allocation(recipe.allocation), mask_key(recipe)
            if of_programs:
                # Wanda's error and those of the other formulas are of another kind.
                score = entry.score if entry.is_program and 2 in entry.results else None
                # Block tuning after a program changes the score, and not this error.
                kind, key = f"{kind} {chain(recipe.repair)}", recipe_key(recipe)
            else:
                score = self.archive.cheap_score(entry)
            if score is None or key in seen:
                continue
            seen.add(key)
            errors, scores = groups.setdefault(kind, ([], []))
            errors.append(error)
            scores.append(score)
        return _correlation(groups.values())


def _correlation(
    groups: Iterable[tuple[list[float], list[float]]],
) -> tuple[float | None, int]:
    compared = [group for group in groups if len(group[0]) > 1]
    return rank_correlation(*compared), sum(len(first) for first, _ in compared)


def _limits(spec: SearchSpec) -> SearchLimits:
    """Limits that prices are relative to; money counts as the tokens it buys at full size."""
    budget, designer = spec.budget, spec.designer
    tokens = math.inf if budget.tokens is None else float(budget.tokens)
    if budget.money is not None:
        answers = budget.money / budget.cost(designer.prompt_tokens, designer.answer_tokens)
        tokens = min(tokens, answers * (designer.prompt_tokens + designer.answer_tokens))
    return SearchLimits(budget.seconds, None if math.isinf(tokens) else tokens, budget.candidates)
