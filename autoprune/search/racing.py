"""The race over windows: few for all, more for the promising, all of them for who keeps up.

Successive halving, with a paired test beside the fixed share: of two recipes that the windows seen
so far cannot tell apart both go on.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace

from autoprune.design.parts import with_proxy
from autoprune.search import chronicle
from autoprune.search.archive import Archive, Entry
from autoprune.search.budget import Purse, answer_seconds, evaluations_left, seconds_left
from autoprune.search.designs import Round
from autoprune.search.judging import Jury
from autoprune.search.moves import mask_key
from autoprune.search.promotion import promoted
from autoprune.search.reasons import verify_reasons
from autoprune.search.steps import (
    Batch,
    Course,
    Measure,
    Measurement,
    Outcome,
    Outcomes,
    together,
)
from autoprune.search.sweeping import overlooked
from autoprune.search.trials import Trials


class Race:
    """Decides on how many windows the entries of a generation are measured.

    Args:
        trials: Measures them, and keeps what comes out.
    """

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.state = trials.state
        self.jury = Jury(trials.state)

    def begin(self, entries: Sequence[Entry], opened: Round) -> Course:
        """Measure what is known before the designer has answered.

        Few windows for all, with the proxy's repair; what these cannot judge goes to all windows at
        once, as far as the time lasts.

        Args:
            entries: Of the generation so far; those that are valid race.
            opened: Questions whose answers take time and become entries to measure.
        """
        cheap = self.state.costs.cheap(self.state.rung_windows)
        answers = answer_seconds(self.state, len(opened.steps)) + len(opened.slots) * cheap
        left = seconds_left(self.state) - answers
        open_now = [e for e in entries if e.status == "valid" and not e.unfinished]
        valid = yield from self._admitted(open_now)
        direct, kept = self._direct(valid, left - len(valid) * cheap)
        others = [e for e in valid if e.alias not in direct]
        if not others or left <= kept or self._counted:
            others = []
        yield from together(self._cheap_rung(others), self._whole(list(direct.values())))

    def finish(self, entries: Sequence[Entry], generation: int) -> Course:
        """Few windows for those that have none, all windows, as it is, for the promoted.

        On the way to all of them a lap stops those that are clearly behind.

        Args:
            entries: Of the generation; those race that are valid or were measured by :meth:`begin`.
            generation: Seeds the lot of promotion.
        """
        open_now = [e for e in entries if e.status == "valid" and not e.unfinished]
        fresh = yield from self._admitted(open_now)
        if self._counted:
            direct, _ = self._direct(fresh, seconds_left(self.state))
            yield from self._whole(list(direct.values()))
            return
        if fresh and seconds_left(self.state) > 0.0:
            yield from self._cheap_rung(fresh)
        hopeful = [
            e for e in entries if e.status == "measured" and 2 not in e.results and not e.unfinished
        ]
        owed = [e for e in overlooked(self.state) if not e.unfinished]
        for entry in owed:
            entry.direct = True
        owed += [e for e in self.jury.audits() if not e.unfinished]
        chosen = promoted(self.state, hopeful, generation, seconds_left(self.state), owed)
        rising = yield from self._lap(chosen)
        yield from self._whole(rising)

    def _admitted(self, entries: Sequence[Entry]) -> Generator[Batch, Outcomes, list[Entry]]:
        """Those that are worth measuring, after a look at their reasons where one is wanted."""
        yield from verify_reasons(self.state, self.jury.unjudged(entries))
        return self.jury.admitted(entries)

    @property
    def _counted(self) -> bool:
        """Whether evaluations are limited: then few windows decide nothing, for any arm."""
        return self.state.spec.budget.evaluations is not None

    def _whole(self, rising: Sequence[Entry]) -> Course:
        """All selection windows, as it is; never more than there are evaluations left."""
        rising = rising[: int(min(len(rising), evaluations_left(self.state)))]
        self.state.spent.evaluations += len(rising)
        steps = {entry.alias: self._further(entry) for entry in rising}
        if not steps:
            return
        outcomes = yield list(steps.values())
        self.state.charge(outcomes.values())
        for entry in rising:
            step = steps[entry.alias]
            if self.trials.accept(entry, 2, outcomes[step.step_id], known=step.known):
                self.trials.note(entry, 2)

    def _lap(self, rising: Sequence[Entry]) -> Generator[Batch, Outcomes, list[Entry]]:
        """Some more windows for recipes that few have seen as they are; returns who goes on.

        A repair takes longer than the windows that a lap could save, so repaired recipes pass over.
        """
        windows = lap_windows(self.state.rung_windows, self.state.spec.selection_windows)
        if windows is None:
            return list(rising)
        laps = {
            entry.alias: replace(
                self._further(entry),
                step_id=f"{entry.alias}.{chronicle.LAP}",
                rung=1,
                windows=windows,
            )
            for entry in rising
            if entry.whole is not None and len(entry.whole.nll) < windows
        }
        if not laps:
            return list(rising)
        outcomes = yield list(laps.values())
        self.state.charge(outcomes.values())
        racers = [entry for entry in rising if entry.alias in laps]
        running: list[Entry] = []
        for entry in racers:
            step = laps[entry.alias]
            outcome = outcomes[step.step_id]
            entry.whole_seconds += outcome.seconds
            if self.trials.accept(entry, 1, outcome, known=step.known):
                self.trials.note(entry, chronicle.LAP)
                running.append(entry)
        behind = outrun(self.state.archive, running)
        stopped = behind | {entry.alias for entry in racers if entry not in running}
        return [entry for entry in rising if entry.alias not in stopped]

    def _further(self, entry: Entry) -> Measure:
        """Measure an entry on the selection windows on which it was not measured as it is."""
        known = 0 if entry.whole is None else len(entry.whole.nll)
        step = self.trials.measure_step(entry, 2)
        return replace(step, known=known if known < step.windows else 0)

    def _direct(self, entries: Sequence[Entry], left: float) -> tuple[dict[str, Entry], float]:
        """Entries that pass over the first rung, by alias, and the seconds that they need.

        Args:
            entries: Those that want to among them.
            left: Seconds for them.
        """
        wanted = [e for e in entries if e.direct or self._counted]
        if not wanted:
            return {}, 0.0
        purse = Purse(self.state, left)
        found = {e.alias: e for e in wanted if e.recipe is not None and purse.pays(e.recipe)}
        return found, 0.0 if math.isinf(left) else left - purse.seconds

    def _cheap_rung(self, entries: Sequence[Entry]) -> Course:
        """Recipes that differ in their repair only share one measurement of their masks."""
        windows = self.state.rung_windows
        steps: dict[str, Measure] = {}
        for entry in entries:
            assert entry.recipe is not None
            entry.proxied = entry.recipe != with_proxy(entry.recipe, self.state.spec.proxy)
            known, key = self.state.archive.cheap(entry), mask_key(entry.recipe)
            if (known is None or len(known.nll) < windows) and key not in steps:
                steps[key] = self.trials.measure_step(entry, 1)
        outcomes = (yield list(steps.values())) if steps else {}
        self.state.charge(outcomes.values())
        for entry in entries:
            assert entry.recipe is not None
            step = steps.get(mask_key(entry.recipe))
            outcome: Outcome | None = self.state.archive.cheap(entry)
            if step is not None:
                outcome = outcomes[step.step_id]
                if step.recipe_id != entry.alias:
                    outcome = replace(outcome, seconds=0.0)
            elif isinstance(outcome, Measurement):
                outcome = replace(outcome, seconds=0.0)
            assert outcome is not None
            if self.trials.accept(entry, 1, outcome):
                self.trials.note(entry, 1)


def lap_windows(few: int, whole: int) -> int | None:
    """Windows after which recipes are compared again: the geometric mean of both ends.

    Args:
        few: Windows of the first rung.
        whole: All selection windows.

    Returns:
        None where it would save less than half of the windows, or add none to the first rung.
    """
    middle = round(math.sqrt(few * whole))
    return middle if few < middle <= whole // 2 else None


def outrun(archive: Archive, racers: Sequence[Entry]) -> set[str]:
    """Aliases of racers that the best of them, or the best so far, beats beyond doubt.

    Args:
        archive: Compares on common windows, with a 95 % interval.
        racers: Measured on the lap.
    """
    leader = min(racers, key=lambda entry: (entry.score, entry.order), default=None)
    rivals = [rival for rival in (leader, archive.best()) if rival is not None]
    return {
        entry.alias
        for entry in racers
        if any(
            (difference := archive.compare(entry, rival)) is not None and difference.worse
            for rival in rivals
            if rival is not entry
        )
    }
