"""What happens to a readable entry: sandbox verdict, races over windows, shared results."""

from collections.abc import Sequence
from typing import Literal

from autoprune.digest import digest_json
from autoprune.search import chronicle
from autoprune.search.archive import Entry
from autoprune.search.budget import reserve_seconds
from autoprune.search.promotion import promoted
from autoprune.search.state import State
from autoprune.search.steps import (
    Course,
    Failed,
    Measure,
    Measurement,
    Outcome,
    Validate,
    Validation,
)

Role = Literal["candidate", "baseline", "sentinel"]


class Trials:
    """Takes entries through validation and rungs.

    Args:
        state: Changed as outcomes come in.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.spec = state.spec
        self.archive = state.archive
        self._validations: dict[str, Validation] = {}

    def validate(self, entries: Sequence[Entry]) -> Course:
        """Sandbox verdicts, one for each (metric, group), then duplicates by behaviour."""
        steps: dict[str, Validate] = {}
        for entry in entries:
            key = _validation_key(entry)
            if key not in self._validations and key not in steps:
                assert entry.recipe is not None
                where = (entry.generation, entry.slot, entry.alias, entry.recipe)
                steps[key] = Validate(f"{entry.alias}.validate", *where)
        if steps:
            outcomes = yield list(steps.values())
            self.state.charge(outcomes.values())
            for key, step in steps.items():
                self._validations[key] = _as_validation(outcomes[step.step_id])
                self.archive[step.recipe_id].seconds += self._validations[key].seconds
        for entry in entries:
            self._judge_validation(entry, self._validations[_validation_key(entry)])

    def _judge_validation(self, entry: Entry, validation: Validation) -> None:
        assert entry.recipe is not None
        entry.validation = validation
        if not validation.ok:
            entry.reject(validation.code, validation.detail)
            chronicle.note_rejection(self.state, entry)
            return
        entry.status = "valid"
        if validation.signature is None:
            return
        parts = [validation.signature, entry.recipe.allocation, entry.recipe.solver]
        owner = self.archive.claim("behaviour", digest_json(parts), entry)
        if not entry.is_baseline:
            self.share(entry, owner)

    def race(self, entries: Sequence[Entry], generation: int) -> Course:
        """Few windows for all, all windows for the promoted."""
        if entries and not self._out_of_time():
            outcomes = yield [self.measure_step(e, 1) for e in entries]
            self.state.charge(outcomes.values())
            for entry in entries:
                self.accept(entry, 1, outcomes[f"{entry.alias}.rung1"])
                if entry.status == "measured":
                    self.note(entry, 1)
        rising = promoted(self.state, [e for e in entries if e.status == "measured"], generation)
        if rising and not self._out_of_time():
            outcomes = yield [self.measure_step(e, 2) for e in rising]
            self.state.charge(outcomes.values())
            for entry in rising:
                self.accept(entry, 2, outcomes[f"{entry.alias}.rung2"])
                if entry.status == "measured":
                    self.note(entry, 2)

    def measure_step(self, entry: Entry, rung: int, *, role: Role = "candidate") -> Measure:
        assert entry.recipe is not None
        windows = self.spec.rung_windows if rung == 1 else self.spec.selection_windows
        return Measure(
            f"{entry.alias}.rung{rung}",
            entry.generation,
            entry.slot,
            entry.alias,
            entry.recipe,
            rung,
            min(windows, self.spec.selection_windows),
            self.spec.sparsity,
            role,
        )

    def accept(self, entry: Entry, rung: int, outcome: Outcome) -> None:
        entry.seconds += outcome.seconds
        if not isinstance(outcome, Measurement):
            assert isinstance(outcome, Failed)
            entry.results.clear()
            entry.reject(outcome.code, outcome.detail)
            chronicle.note_rejection(self.state, entry)
            return
        entry.results[rung] = outcome
        entry.status = "measured"
        if rung == 1 and outcome.mask_digest:
            solver = entry.recipe.solver if entry.recipe else ""
            owner = self.archive.claim("mask", f"{outcome.mask_digest}\n{solver}", entry)
            self.share(entry, owner)
        elif outcome.mask_digest and entry.recipe:
            self.archive.claim("mask", f"{outcome.mask_digest}\n{entry.recipe.solver}", entry)

    def note(self, entry: Entry, rung: int) -> None:
        entry.change = self.archive.compare(entry, self.state.reference())
        chronicle.note_result(self.state, entry, rung, entry.results[rung])
        if rung == 1:
            chronicle.note_ablation(self.state, entry)

    def share(self, entry: Entry, owner: Entry | None) -> None:
        """Make ``entry`` a duplicate of ``owner``, result and all."""
        if owner is None:
            return
        while owner.duplicate_of is not None:
            owner = self.archive[owner.duplicate_of]
        entry.status, entry.code = "duplicate", "duplicate"
        entry.duplicate_of = owner.alias
        entry.results, entry.change = dict(owner.results), owner.change
        known = f"{100 * owner.change.perplexity_change:+.1f} %" if owner.change else owner.code
        entry.detail = (
            f"{entry.formula} is known as {owner.alias} ({known or 'not measured yet'}); "
            "write another formula"
        )
        chronicle.note_duplicate(self.state, entry)

    def refresh(self, entry: Entry) -> None:
        """Give a duplicate what its owner has got since."""
        owner = entry
        while owner.duplicate_of is not None:
            owner = self.archive[owner.duplicate_of]
        if owner is not entry:
            entry.results, entry.change = dict(owner.results), owner.change

    def _out_of_time(self) -> bool:
        limit = self.spec.budget.seconds
        return limit is not None and self.state.spent.seconds + reserve_seconds(self.state) > limit


def _validation_key(entry: Entry) -> str:
    assert entry.recipe is not None
    return f"{entry.recipe.metric.digest}\n{entry.recipe.group}"


def _as_validation(outcome: Outcome) -> Validation:
    if isinstance(outcome, Validation):
        return outcome
    assert isinstance(outcome, Failed)
    return Validation(False, outcome.code, outcome.detail, seconds=outcome.seconds)
