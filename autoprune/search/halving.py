"""Successive halving: few windows for all recipes, more for promising ones, all for the best.

A paired test stands in addition to the fixed share: if the windows seen so far cannot tell two
recipes apart, both continue.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace

from autoprune.design.parts import with_proxy
from autoprune.search import graph_notes
from autoprune.search.archive import Archive, Entry
from autoprune.search.budget import TimeBudget, answer_seconds, evaluations_left, seconds_left
from autoprune.search.evaluator import Evaluator, first_calibration
from autoprune.search.moves import mask_key
from autoprune.search.promotion import select_promoted
from autoprune.search.proposer import Round
from autoprune.search.steps import (
    Batch,
    Measure,
    Measurement,
    Outcome,
    Outcomes,
    StepGenerator,
    together,
)
from autoprune.search.sweeping import overlooked
from autoprune.search_settings import ASKING_ARMS


class SuccessiveHalving:
    """Decides on how many windows each entry of a generation is measured.

    Args:
        evaluator: Measures the entries and keeps the results.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.state = evaluator.state

    def begin(self, entries: Sequence[Entry], opened: Round) -> StepGenerator:
        """Measure the entries that are known before the designer has answered.

        All are measured on few windows with the proxy's repair. Entries that these cannot judge go
        straight to all windows, as far as time allows.
        """
        cheap = self.state.costs.designed(self.state.rung_windows)
        answers = answer_seconds(self.state, len(opened.steps)) + len(opened.slots) * cheap
        left = seconds_left(self.state) - answers
        open_now = [e for e in entries if e.status == "valid" and not e.unfinished]
        direct, kept = self._direct(open_now, left - len(open_now) * cheap)
        others = [e for e in open_now if e.alias not in direct]
        if not others or left <= kept or self._counted:
            others = []
        yield from together(self._cheap_rung(others), self._full_rung(list(direct.values())))

    def finish(self, entries: Sequence[Entry], generation: int) -> StepGenerator:
        """Measure the rest on few windows, and promoted recipes as they are on all windows.

        A rung in between stops the recipes that are clearly worse.
        """
        fresh = [e for e in entries if e.status == "valid" and not e.unfinished]
        skipping = fresh
        if not self._counted:
            skipping = [entry for entry in fresh if self._differs_in_repair(entry)]
            for entry in skipping:
                entry.direct = True
        direct, _ = self._direct(skipping, seconds_left(self.state))
        yield from self._full_rung(list(direct.values()))
        if self._counted:
            return
        fresh = [entry for entry in fresh if entry.alias not in direct]
        if fresh and seconds_left(self.state) > 0.0:
            yield from self._cheap_rung(fresh)
        on_few_windows = [
            e for e in entries if e.status == "measured" and 2 not in e.results and not e.unfinished
        ]
        mandatory = [e for e in overlooked(self.state) if not e.unfinished]
        for entry in mandatory:
            entry.direct = True
        left = seconds_left(self.state)
        chosen = select_promoted(self.state, on_few_windows, generation, left, mandatory)
        remaining = yield from self._middle_rung(chosen)
        yield from self._full_rung(remaining)

    def _differs_in_repair(self, entry: Entry) -> bool:
        """Whether few windows cannot judge what a lone designer proposes: its masks are known.

        The search's own moves say so themselves, and their sweep measures every repair.
        """
        if self.state.spec.arm not in ASKING_ARMS:
            return False
        return self._is_repaired(entry) and self.state.archive.cheap(entry) is not None

    def _is_repaired(self, entry: Entry) -> bool:
        """Whether the first rung would measure the entry without its own repair."""
        recipe = entry.known_recipe
        return recipe != with_proxy(recipe, self.state.spec.proxy)

    @property
    def _counted(self) -> bool:
        """Whether evaluations are limited; if so, few windows decide nothing, for any arm."""
        return self.state.spec.budget.evaluations is not None

    def _full_rung(self, entries: Sequence[Entry]) -> StepGenerator:
        """Measure recipes as they are on all selection windows, as far as evaluations are left."""
        entries = entries[: int(min(len(entries), evaluations_left(self.state)))]
        steps = {entry.alias: self._further(entry) for entry in entries}
        if not steps:
            return
        outcomes = yield list(steps.values())
        self.state.charge(outcomes.values())
        for entry in entries:
            step = steps[entry.alias]
            outcome = outcomes[step.step_id]
            if self.evaluator.accept(entry, 2, outcome, known=step.known):
                self.evaluator.note(entry, 2)
            # A known recipe that only its masks gave away is no further candidate.
            repeats = entry.status == "duplicate"
            self.state.spent.evaluations += isinstance(outcome, Measurement) and not repeats

    def _middle_rung(self, entries: Sequence[Entry]) -> Generator[Batch, Outcomes, list[Entry]]:
        """Measure recipes that few windows saw as they are on some more; return those still in.

        A repair takes longer than this rung could save, so repaired recipes skip it.
        """
        windows = middle_windows(self.state.rung_windows, self.state.spec.selection_windows)
        if windows is None:
            return list(entries)
        steps = {
            entry.alias: replace(
                self._further(entry),
                step_id=f"{entry.alias}.{graph_notes.MIDDLE_RUNG}",
                rung=1,
                windows=windows,
            )
            for entry in entries
            if entry.whole is not None
            and len(entry.whole.nll) < windows
            # An audited recipe that a shorter middle rung stopped, before few windows became more.
            and f"{entry.alias}.{graph_notes.MIDDLE_RUNG}" not in self.state.graph.nodes
        }
        if not steps:
            return list(entries)
        outcomes = yield list(steps.values())
        self.state.charge(outcomes.values())
        contenders = [entry for entry in entries if entry.alias in steps]
        measured: list[Entry] = []
        for entry in contenders:
            step = steps[entry.alias]
            outcome = outcomes[step.step_id]
            entry.whole_seconds += outcome.seconds
            if self.evaluator.accept(entry, 1, outcome, known=step.known):
                self.evaluator.note(entry, graph_notes.MIDDLE_RUNG)
                measured.append(entry)
        stopped = clearly_worse(self.state.archive, measured)
        stopped |= {entry.alias for entry in contenders if entry not in measured}
        return [entry for entry in entries if entry.alias not in stopped]

    def _further(self, entry: Entry) -> Measure:
        """Measure an entry as it is on the selection windows where that was not done yet."""
        known = 0 if entry.whole is None else len(entry.whole.nll)
        step = self.evaluator.measure_step(entry, 2)
        return replace(step, known=known if known < step.windows else 0)

    def _direct(self, entries: Sequence[Entry], left: float) -> tuple[dict[str, Entry], float]:
        """Return the entries that skip the first rung, by alias, and the seconds they need."""
        wanted = [e for e in entries if e.direct or self._counted]
        if not wanted:
            return {}, 0.0
        budget = TimeBudget(self.state, left)
        found = {e.alias: e for e in wanted if e.recipe is not None and budget.charge(e.recipe)}
        return found, 0.0 if math.isinf(left) else left - budget.seconds

    def _cheap_rung(self, entries: Sequence[Entry]) -> StepGenerator:
        """Measure on few windows, once for all recipes that differ only in their repair."""
        windows = self.state.rung_windows
        steps: dict[str, Measure] = {}
        for entry in entries:
            recipe = entry.known_recipe
            entry.proxied = self._is_repaired(entry)
            entry.shortened = first_calibration(self.state.spec, recipe) is not None
            known, key = self.state.archive.cheap(entry), mask_key(recipe)
            if (known is None or len(known.nll) < windows) and key not in steps:
                steps[key] = self.evaluator.measure_step(entry, 1)
        outcomes = (yield list(steps.values())) if steps else {}
        self.state.charge(outcomes.values())
        for entry in entries:
            step = steps.get(mask_key(entry.known_recipe))
            outcome: Outcome | None = self.state.archive.cheap(entry)
            if step is not None:
                outcome = outcomes[step.step_id]
                if step.recipe_id != entry.alias:
                    outcome = replace(outcome, seconds=0.0)
            elif isinstance(outcome, Measurement):
                outcome = replace(outcome, seconds=0.0)
            assert outcome is not None
            if self.evaluator.accept(entry, 1, outcome):
                self.evaluator.note(entry, 1)


def middle_windows(few: int, whole: int) -> int | None:
    """Return after how many windows to compare again: the geometric mean of both ends."""
    middle = round(math.sqrt(few * whole))
    return middle if few < middle <= whole // 2 else None


def clearly_worse(archive: Archive, contenders: Sequence[Entry]) -> set[str]:
    """Return the aliases of contenders that the best of them, or the best so far, clearly beats."""
    leader = min(contenders, key=lambda entry: (entry.score, entry.order), default=None)
    rivals = [rival for rival in (leader, archive.best()) if rival is not None]
    return {
        entry.alias
        for entry in contenders
        if any(
            (difference := archive.compare(entry, rival)) is not None and difference.worse
            for rival in rivals
            if rival is not entry
        )
    }
