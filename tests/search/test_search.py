"""Searches run to their end against a cheap evaluator: resume, budgets, honesty."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.design.chat import Reply, Usage
from autoprune.design.detail import change_of
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import UsageError
from autoprune.recipe import Recipe
from autoprune.search import (
    DesignerSpec,
    RecipeSpec,
    Search,
    SearchBudget,
    SearchSpec,
    planning,
    sweeping,
)
from autoprune.search.moves import mask_key, random_recipe
from autoprune.search.steps import Done, Failed, Measure, Measurement, Propose, Validate
from tests.support.synthetic import (
    Synthetic,
    drive,
    make_spec,
    plan_without_entries,
)

EVERYTHING = {
    "fitness": "both",
    "also_sparsities": (0.5, 0.7),
    "draws": 3,
    "sentinel_every": 2,
}
LONG = {"rung_windows": 2, "selection_windows": 20, "fitness": "both"}


@pytest.fixture(scope="module", params=[{}, EVERYTHING, LONG], ids=["plain", "everything", "long"])
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SearchSpec, str, list[str], list[str]]:
    """Specification, digest, steps and aliases of an uninterrupted search."""
    driver, spec = Synthetic(), make_spec(**request.param)
    with Search.open(tmp_path_factory.mktemp("whole"), spec) as search:
        assert drive(search, driver) == Done("candidates")
        return spec, search.graph.digest, driver.asked, list(search.archive.standings())


def test_search_ends_with_a_winner(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        drive(search, Synthetic())
        rows = [search.archive[alias] for alias in search.archive.standings()]
        assert search.best is not None
        assert rows[0].status == "measured"
        assert search.spent.candidates == 14
        assert search.looks == 1
        sealed = {entry.alias for entry in rows if entry.sealed}
        assert {"wanda", "magnitude", "ria", search.best.alias} <= sealed
        measured = [entry for entry in rows if entry.status == "measured"]
        assert rows[: len(measured)] == measured
        means = [entry.change.mean for entry in measured if entry.change]
        assert means == sorted(means) and len(means) == len(measured)


def test_killed_at_every_event_boundary_ends_the_same(
    tmp_path: Path, finished: tuple[SearchSpec, str, list[str], list[str]]
) -> None:
    spec, digest, asked, aliases = finished
    driver = Synthetic()
    done = None
    openings = 0
    while done is None:
        # No close(): the log is left as a kill would leave it, but for the lock.
        search = Search.open(tmp_path, spec if openings == 0 else None)
        done = drive(search, driver, stop=lambda count: count == 1)
        openings += 1
        search._log.close()
    assert openings == len(asked)
    with Search.open(tmp_path) as again:
        assert again.next_step() == done
        assert again.graph.digest == digest
        assert list(again.archive.standings()) == aliases
    assert driver.asked == asked
    assert len(set(driver.asked)) == len(driver.asked)


def test_order_of_arrival_does_not_matter(
    tmp_path: Path, finished: tuple[SearchSpec, str, list[str], list[str]]
) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, finished[0]) as search:
        while not isinstance((steps := search.open_steps())[0], Done):
            for step in reversed(steps):
                search.record(step, driver.answer(step))
        assert search.graph.digest == finished[1]


def test_proposals_and_measurements_are_never_open_together(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        driver = Synthetic()
        while not isinstance((steps := search.open_steps())[0], Done):
            assert len({type(step) for step in steps}) == 1
            for step in steps:
                search.record(step, driver.answer(step))


def test_timings_do_not_change_the_graph(tmp_path: Path) -> None:
    class Slow(Synthetic):
        def answer(self, step):  # type: ignore[no-untyped-def]
            return replace(super().answer(step), seconds=9.75)

    # Without a bandit nothing is decided by seconds.
    spec = make_spec(designer=DesignerSpec(kind="genetic"))
    digests = []
    for name, driver in (("slow", Slow()), ("fast", Synthetic())):
        with Search.open(tmp_path / name, spec) as search:
            drive(search, driver)
            digests.append(search.graph.digest)
            nodes = search.graph.nodes.values()
            assert (name == "slow") == any(n.body.get("seconds") == 9.75 for n in nodes)
    assert digests[0] == digests[1]


def test_repairs_are_measured_for_the_promoted_only(tmp_path: Path) -> None:
    driver = Synthetic()
    steps: list[Measure] = []
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=24))) as search:
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Measure) and step.role == "candidate":
                steps.append(step)
            search.record(step, driver.answer(step))
        assert {s.recipe.repair for s in steps if s.rung == 1} == {"none"}
        dear = [s for s in steps if s.recipe.repair != "none"]
        assert dear and {s.rung for s in dear} == {2}
        masks_alone = [entry for entry in search.entries if entry.left_out == "masks alone"]
        assert masks_alone and all(entry.rung == 1 for entry in masks_alone)
        # A prompt says so of their figures, and of no other.
        for entry in search.entries:
            if entry.status == "measured":
                shown = change_of(search.graph, entry.alias)
                assert shown.endswith("masks alone") == (entry in masks_alone), shown
        # Again only where the first rung was given more windows.
        masks = [(mask_key(s.recipe), s.windows) for s in steps if s.rung == 1]
        assert len(set(masks)) == len(masks)
        best = search.best
        assert best is not None and best.recipe is not None and best.recipe.repair != "none"


def test_time_limit_keeps_dear_repairs_out(tmp_path: Path) -> None:
    spec = make_spec(budget=SearchBudget(candidates=900, seconds=110.0))
    with Search.open(tmp_path, spec) as search:
        assert drive(search, Synthetic()) == Done("seconds")
        assert search.spent.seconds <= 110.0
        assert search.looks == 1


def test_the_winner_is_drawn_again_and_holds_elsewhere(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec(**EVERYTHING)) as search:  # type: ignore[arg-type]
        drive(search, driver)
        best = search.best
        assert best is not None
        assert best.draws.keys() == {1, 2} and best.elsewhere.keys() == {0.5, 0.7}
        assert len(best.results[2].kl) == 6
        (drawn,) = (n for n in search.graph.of_kind("observation") if "draws" in n.body)
        assert len(drawn.body["perplexities"]) == len(drawn.body["reference"]) == 3
        versus = [margin.versus for margin in search.margins]
        assert len(versus) == 2 and versus[1] == "wanda"
        (first, _) = (n for n in search.graph.of_kind("observation") if "versus" in n.body)
        assert first.body["versus"] == versus[0] and first.body["fitness"] == "both"
        assert any(step.endswith(".sentinel") for step in driver.asked)


def test_duplicates_become_mutations_without_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "WITH_MOVES", ())
    plan_without_entries(monkeypatch, "seed")
    text = "metric: x_norm * abs(W)\ngroup: row\nallocation: uniform\nrepair: none\n"
    driver = Synthetic(ScriptedDesigner([text]))
    spec = make_spec(budget=SearchBudget(candidates=4))
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        asked = [step for step in driver.asked if ".a" in step]
        assert asked == [f"g1.s{slot}.a0" for slot in range(4)]
        spares = [e for e in search.entries if e.operator == "spare"]
        assert len(spares) == 4 and all(e.status in ("measured", "rejected") for e in spares)
        assert search.spent.candidates == 4


def test_random_draws_anew_in_the_place_of_a_duplicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SameMasks(Synthetic):
        def validate(self, recipe):  # type: ignore[no-untyped-def]
            return replace(super().validate(recipe), signature="one for all")

    drawn: list[Recipe] = []

    def recorded(*args):  # type: ignore[no-untyped-def]
        drawn.append(random_recipe(*args))
        return drawn[-1]

    monkeypatch.setattr(planning, "random_recipe", recorded)
    # With few other parts the masks decide what is known.
    few = {"allocations": ("uniform",), "repair_choices": ("none",)}
    spec = make_spec(designer=DesignerSpec(kind="random"), budget=SearchBudget(candidates=8), **few)
    with Search.open(tmp_path, spec) as search:
        drive(search, SameMasks())
        spares = [e for e in search.entries if e.operator == "spare"]
        assert spares and all(e.recipe in drawn and e.parents == () for e in spares)


def test_duplicates_share_results_and_are_not_measured(tmp_path: Path) -> None:
    text = "because: why not\nexpect: better than wanda\nmetric: x_norm * abs(W)\ngroup: row\n"
    driver = Synthetic(ScriptedDesigner([text]))
    spec = make_spec(budget=SearchBudget(candidates=4), repair_calls=0)
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        copies = [e for e in search.entries if e.duplicate_of == "wanda"]
        assert copies
        assert all(e.results == search._loop.archive["wanda"].results for e in copies)
        assert not any(s.startswith(f"{e.alias}.") for e in copies for s in driver.asked)
        edges = [e for e in search.graph.edges if e.kind == "duplicates"]
        assert {e.target for e in edges} >= {"wanda"}


def test_same_masks_are_a_duplicate_even_if_the_text_differs(tmp_path: Path) -> None:
    text = "metric: exp(abs(W) * x_norm * 0.01)\ngroup: row\nallocation: uniform\n"
    spec = make_spec(budget=SearchBudget(candidates=1), repair_calls=0, slots=1)
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(ScriptedDesigner([text])))
        entry = next(e for e in search.entries if not e.is_baseline)
        assert (entry.status, entry.duplicate_of) == ("duplicate", "wanda")


def test_a_bad_metric_that_the_repair_ignores_does_not_sink_its_recipe(tmp_path: Path) -> None:
    own = "mrp:select=own"
    metric = "abs(W) ** {0.5} - abs(W) ** {0.5}"
    text = f"metric: {metric}\ngroup: row\nallocation: sdsa\nrepair: {own}\n"
    driver = Synthetic(ScriptedDesigner([text]))
    spec = make_spec(
        budget=SearchBudget(candidates=1),
        arm="list",
        repair_choices=("none", own),
        repair_calls=0,
        slots=1,
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        entry = next(e for e in search.entries if not e.is_baseline)
        reference = search._loop.state.reference().recipe
        assert entry.recipe is not None and reference is not None
        assert entry.recipe == replace(reference, allocation="sdsa", repair=own)
        assert entry.status == "measured" and entry.formula == "abs(W) * x_norm"
        # What the designer wrote is on record.
        assert any(h["outcome"].get("text") == text for h in search.history())


def test_bad_answers_are_repaired_or_stay_on_record(tmp_path: Path) -> None:
    def answer(request):  # type: ignore[no-untyped-def]
        good = "because: it is so\nmetric: abs(W) * x_max\ngroup: row\nallocation: uniform\n"
        return good if len(request.messages) > 2 else "metric: abs(W"

    driver = Synthetic(ScriptedDesigner(answer))
    spec = make_spec(budget=SearchBudget(candidates=2), slots=1, repair_calls=1)
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        broken, mended = search.entries[-2:]
        assert (broken.status, broken.code) == ("rejected", "bad_metric")
        assert mended.status == "measured" and mended.repaired == broken.alias
        history = search.history()
        assert any(h["outcome"].get("text") == "metric: abs(W" for h in history)


@pytest.mark.parametrize("kind", ["none", "genetic", "random"])
def test_search_without_a_designer_asks_none(tmp_path: Path, kind: str) -> None:
    spec = make_spec(designer=DesignerSpec(kind=kind))  # type: ignore[arg-type]
    driver = Synthetic()
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        assert search.best is not None
        assert search.spent.tokens == 0
        operators = {e.operator for e in search.entries if not e.is_baseline}
        # Without a language model all other operators stay, unless they are what is compared.
        assert (operators - {"sweep", "spare"} == {"mutate"}) == (kind == "genetic")
        assert (len(operators - {"sweep", "spare"}) > 1) == (kind == "none")
    assert not any(".a" in step and step.startswith("g") for step in driver.asked)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (SearchBudget(candidates=0), "candidates"),
        (SearchBudget(candidates=900, tokens=3000), "tokens"),
        (SearchBudget(candidates=900, seconds=60.0), "seconds"),
        (SearchBudget(candidates=900, money=0.0005, price=(0.1, 0.4)), "money"),
    ],
)
def test_budget_is_kept(tmp_path: Path, budget: SearchBudget, reason: str) -> None:
    with Search.open(tmp_path, make_spec(budget=budget)) as search:
        assert drive(search, Synthetic()) == Done(reason)  # type: ignore[arg-type]
        assert search.spent.candidates <= budget.candidates
        assert budget.tokens is None or search.spent.tokens <= budget.tokens
        assert budget.seconds is None or search.spent.seconds <= budget.seconds
        assert 0 < search.spent.money <= budget.money if budget.money else not search.spent.money
        assert search.looks == 1


def test_nan_is_a_verdict(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        driver = Synthetic()
        while not isinstance(step := search.next_step(), Done):
            outcome = driver.answer(step)
            if isinstance(step, Measure) and step.role == "candidate":
                assert isinstance(outcome, Measurement)
                outcome = replace(outcome, perplexity=float("nan"))
            search.record(step, outcome)
        designed = [e for e in search.entries if not e.is_baseline]
        assert not any(e.status == "measured" for e in designed)
        assert any(e.code == "nan_measurement" for e in designed)


def test_no_baseline_no_search(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        while not isinstance(step := search.next_step(), Done):
            search.record(step, Failed("broken"))
        assert step == Done("no_baseline")


def test_designer_that_fails_is_on_record(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=3))) as search:
        while not isinstance(step := search.next_step(), Done):
            failed = isinstance(step, Propose)
            search.record(step, Failed("timeout") if failed else driver.answer(step))
        assert {e.code for e in search.entries if e.operator == "seed"} == {"timeout"}


def test_wrong_outcomes_are_refused(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec()) as search:
        step = search.next_step()
        assert isinstance(step, Validate)
        with pytest.raises(UsageError, match="asks for Validation"):
            search.record(step, Reply("x", Usage()))
        search.record(step, Synthetic().answer(step))
        with pytest.raises(UsageError, match="not open"):
            search.record(step, Failed("again"))


def test_baselines_of_ones_own(tmp_path: Path) -> None:
    own = RecipeSpec(metric="expr: abs(W) * x_max", allocation="ramp:half_width=0.2")
    spec = make_spec(baselines=(RecipeSpec(metric="wanda"), own), budget=SearchBudget(candidates=0))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        assert [e.formula for e in search.entries] == ["abs(W) * x_norm", "abs(W) * x_max"]


def test_predictions_are_graded_by_measurements(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=40))) as search:
        drive(search, Synthetic())
        kinds = {edge.kind for edge in search.graph.edges}
        assert {"supports", "refutes", "tests", "derives_from", "duplicates"} <= kinds
        for edge in search.graph.edges:
            if edge.kind in ("supports", "refutes"):
                assert search.graph.nodes[edge.source].kind == "result"
                assert search.graph.nodes[edge.target].kind == "hypothesis"
