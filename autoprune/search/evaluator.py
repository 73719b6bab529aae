"""What happens to a readable entry: sandbox verdict, measurements, shared results."""

from collections.abc import Sequence
from dataclasses import replace

from autoprune.design.equivalence import differs_elsewhere, row_order
from autoprune.design.parts import canonical_allocation, canonical_repair, with_proxy
from autoprune.digest import digest_json
from autoprune.recipe import Recipe
from autoprune.schemes import build_scheme
from autoprune.search import graph_notes
from autoprune.search.archive import Entry
from autoprune.search.budget import seconds_left
from autoprune.search.deadline import UNFINISHED, draws_in_time, is_unfinished
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import (
    Failed,
    Measure,
    Measurement,
    Outcome,
    Role,
    StepGenerator,
    Validate,
    Validation,
)


class Evaluator:
    """Takes entries through validation and measurements; :mod:`halving` decides which they get.

    Args:
        state: Changed as outcomes come in.
    """

    def __init__(self, state: SearchState) -> None:
        self.state = state
        self.spec = state.spec
        self.archive = state.archive
        self._validations: dict[str, tuple[Validate, Validation]] = {}
        self._measured_elsewhere: set[str] = set()

    def validate(self, entries: Sequence[Entry]) -> StepGenerator:
        """Get sandbox verdicts, one per (metric, group), then mark duplicates by behaviour."""
        steps: dict[str, Validate] = {}
        for entry in entries:
            key = validated_as(self.spec, entry.known_recipe)
            if key not in self._validations and key not in steps:
                where = (entry.generation, entry.slot, entry.alias, entry.known_recipe)
                steps[key] = Validate(f"{entry.alias}.validate", *where)
        if steps:
            outcomes = yield list(steps.values())
            self.state.charge(outcomes.values())
            for key, step in steps.items():
                found = _as_validation(outcomes[step.step_id])
                self._validations[key] = step, found
                self.archive[step.recipe_id].seconds += found.seconds
        for entry in entries:
            step, found = self._validations[validated_as(self.spec, entry.known_recipe)]
            if self.spec.target.unit != "sparsity":
                # It may name another scheme of the same shapes.
                known, own = (repr(one.metric.source) for one in (step.recipe, entry.known_recipe))
                found = replace(found, detail=found.detail.replace(known, own))
            self._judge_validation(entry, found)

    def _judge_validation(self, entry: Entry, validation: Validation) -> None:
        if validation.code == UNFINISHED:
            unfinished = Failed(validation.code, validation.detail)
            entry.unfinished, entry.detail = True, f"{UNFINISHED}: {validation.detail}"
            graph_notes.note_unfinished(self.state, entry, unfinished)
            return
        entry.validation = validation
        if not validation.ok:
            entry.reject(validation.code, validation.detail)
            graph_notes.note_rejection(self.state, entry)
            return
        entry.status = "valid"
        if validation.signature is None:
            return
        if differs_elsewhere(entry.known_recipe):
            # The masks or weights of the whole model will tell, once it is measured.
            return
        parts = [validation.signature, entry.known_recipe.allocation, entry.known_recipe.repair]
        owner = self.archive.claim("behaviour", digest_json(parts), entry)
        if not entry.is_baseline:
            self.share(entry, owner)

    def same_order(self, entry: Entry) -> Entry | None:
        """Return an older entry with the same order within rows; if none, ``entry`` owns the order.

        The rest of the recipe agrees as well. None for other groups and metrics without a formula.
        """
        recipe = entry.recipe
        if recipe is None or recipe.group != "row":
            return None
        order = row_order(recipe.metric)
        if order is None:
            return None
        rest = [order, canonical_allocation(recipe.allocation), canonical_repair(recipe.repair)]
        return self.archive.claim("order", digest_json(rest), entry)

    def measure_reference_masks(self, reference: Entry) -> StepGenerator:
        """Measure the reference's masks with the proxy's repair if its own repair differs.

        First-rung results of other entries are compared with it.
        """
        if self.archive.cheap(reference) is not None:
            return
        step = self.measure_step(reference, 1, role="baseline")
        step = replace(step, windows=self.spec.selection_windows)
        outcomes = yield [step]
        self.state.charge(outcomes.values())
        found = outcomes[step.step_id]
        if isinstance(found, Measurement):
            self.archive.note_cheap(reference, found)

    def measure_other_sparsities(self) -> StepGenerator:
        """Measure the best recipe and the reference at the other sparsities, if any."""
        best, reference = self.archive.best(), self.state.reference()
        if best is None or not self.spec.also_sparsities or best.alias in self._measured_elsewhere:
            return
        if reference.alias in self._measured_elsewhere and not reference.elsewhere:
            return  # it could not be measured there, so nothing can be compared with it
        both = {entry.alias: entry for entry in (reference, best)}
        entries = [entry for alias, entry in both.items() if alias not in self._measured_elsewhere]
        costs = self.state.costs
        needed = sum(costs.whole(e.recipe) for e in entries if e.recipe is not None)
        if needed * len(self.spec.also_sparsities) > seconds_left(self.state):
            return
        steps = {
            (entry.alias, share): replace(
                self.measure_step(entry, 2, role="spread"),
                step_id=f"{entry.alias}.s{1000 * share:.0f}",
                rung=3,
                sparsity=share,
            )
            for entry in entries
            for share in self.spec.also_sparsities
        }
        outcomes = yield list(steps.values())
        self.state.charge(outcomes.values())
        # Each is tried once: what failed there would fail again.
        self._measured_elsewhere.update(entry.alias for entry in entries)
        if any(map(is_unfinished, outcomes.values())):
            # Time ran out: nothing is compared there, and nothing failed.
            return
        for entry in entries:
            shares = self.spec.also_sparsities
            found = {share: outcomes[steps[entry.alias, share].step_id] for share in shares}
            kept = {share: m for share, m in found.items() if isinstance(m, Measurement)}
            # A partial spread cannot be compared.
            entry.elsewhere = kept if len(kept) == len(shares) else {}
        if not reference.elsewhere:
            best.elsewhere = {}
            return
        best.fails_elsewhere = not best.elsewhere
        if best.elsewhere:
            graph_notes.note_elsewhere(self.state, best)

    def draw_again(self) -> StepGenerator:
        """Prune by the winner and the reference from other draws of calibration text."""
        winner = self.archive.winner()
        if winner is None:
            return
        draws = range(1, 1 + draws_in_time(self.state, winner))
        if not draws:
            return
        entries = {e.alias: e for e in (winner, self.state.reference())}
        steps = {
            (alias, draw): replace(
                self.measure_step(entry, 2, role="spread"),
                step_id=f"{alias}.draw{draw}",
                draw=draw,
            )
            for draw in draws
            for alias, entry in entries.items()
        }
        outcomes = yield list(steps.values())
        self.state.charge(outcomes.values())
        for (alias, draw), step in steps.items():
            outcome = outcomes[step.step_id]
            if isinstance(outcome, Measurement):
                entries[alias].draws[draw] = outcome
        # A draw that only one of them has cannot be compared.
        for entry in entries.values():
            both = [draw for draw in entry.draws if all(draw in e.draws for e in entries.values())]
            entry.draws = {draw: entry.draws[draw] for draw in both}
        graph_notes.note_draws(self.state, winner)

    def measure_step(self, entry: Entry, rung: int, *, role: Role = "candidate") -> Measure:
        """Build the step that measures an entry.

        On rung 1 it has the proxy's repair instead of its own, and a program prunes with fewer
        calibration windows.
        """
        whole = rung > 1
        return Measure(
            f"{entry.alias}.rung{rung}",
            entry.generation,
            entry.slot,
            entry.alias,
            entry.known_recipe if whole else with_proxy(entry.known_recipe, self.spec.proxy),
            rung,
            self.spec.selection_windows if whole else self.state.rung_windows,
            self.state.share_of(entry.alias),
            role,
            kl=self.spec.fitness != "perplexity",
            calibration=None if whole else first_calibration(self.spec, entry.known_recipe),
        )

    def accept(self, entry: Entry, rung: int, outcome: Outcome, *, known: int = 0) -> bool:
        """Keep a measurement, or reject the entry for good.

        Running out of time is not a verdict: the entry keeps the result that it has, if any.
        """
        entry.seconds += outcome.seconds
        entry.whole_seconds += outcome.seconds if rung > 1 else 0.0
        if is_unfinished(outcome):
            assert isinstance(outcome, Failed)
            entry.unfinished, entry.detail = True, f"{UNFINISHED}: {outcome.detail}"
            graph_notes.note_unfinished(self.state, entry, outcome)
            return False
        if not isinstance(outcome, Measurement):
            assert isinstance(outcome, Failed)
            entry.results.clear()
            entry.reject(outcome.code, outcome.detail)
            graph_notes.note_rejection(self.state, entry)
            return False
        if known:
            assert entry.whole is not None
            outcome = entry.whole.followed_by(outcome)
        entry.results[rung] = outcome
        entry.few = entry.few or len(outcome.nll)
        entry.status = "measured"
        recipe = entry.known_recipe
        alike = recipe.repair == self.spec.proxy and first_calibration(self.spec, recipe) is None
        if rung == 1 or alike:
            self.archive.note_cheap(entry, outcome)
        if not outcome.mask_digest or (rung > 1 and entry.partial):
            return True
        key = f"{outcome.mask_digest}\n{entry.known_recipe.repair}"
        owner = self.archive.claim("mask", key, entry)
        # Where evaluations are counted, all are measured whole at once.
        counted = self.spec.budget.evaluations is not None
        if rung == 1 or (counted and owner is not None and 2 in owner.results):
            self.share(entry, owner)
        return entry.status == "measured"

    def note(self, entry: Entry, rung: int | str) -> None:
        """Compare with the reference and put the result into the graph."""
        reference = self.state.reference()
        entry.change = self.archive.compare(entry, reference, fitness="perplexity")
        entry.ranked = self.archive.compare(entry, reference)
        graph_notes.note_result(self.state, entry, rung, entry.results[entry.rung])
        if rung == 1 or 1 not in entry.results:
            graph_notes.note_term(self.state, entry)

    def share(self, entry: Entry, owner: Entry | None) -> None:
        """Make ``entry`` a duplicate of ``owner`` and share its results."""
        if owner is None:
            return
        owner = self.archive.original(owner)
        entry.status, entry.code = "duplicate", "duplicate"
        entry.duplicate_of = owner.alias
        entry.share(owner)
        known = f"{100 * owner.change.perplexity_change:+.1f} %" if owner.change else owner.code
        entry.detail = (
            f"{entry.formula} is known as {owner.alias} ({known or 'not measured yet'}); "
            "write another formula"
        )
        graph_notes.note_duplicate(self.state, entry)
        graph_notes.note_term(self.state, entry)

    def refresh(self, entry: Entry) -> None:
        """Give a duplicate its owner's new results, and grade its prediction by them.

        A duplicate of an earlier generation is graded again only if its owner has a new result.
        """
        owner = self.archive.original(entry)
        new = entry.generation > self.state.generation
        if owner is not entry and (new or owner.results.keys() != entry.results.keys()):
            entry.share(owner)
            graph_notes.grade_duplicate(self.state, entry, owner)


def validated_as(spec: SearchSpec, recipe: Recipe) -> str:
    """What a validation of this search is of; all recipes with the same share it.

    A budget in bytes or speed follows from shapes alone, so equal shapes are timed once.
    """
    if spec.target.unit == "sparsity":
        return recipe.validated_as
    return build_scheme(recipe.metric.source).shapes_only().text


def first_calibration(spec: SearchSpec, recipe: Recipe) -> int | None:
    """Calibration windows that a recipe prunes with on the first rung; None: all of them."""
    few = spec.first_calibration
    is_program = recipe.metric.kind == "program"
    return few if is_program and few < spec.calibration_windows else None


def _as_validation(outcome: Outcome) -> Validation:
    if isinstance(outcome, Validation):
        return outcome
    assert isinstance(outcome, Failed)
    return Validation(False, outcome.code, outcome.detail, seconds=outcome.seconds)
