"""Several models of one designer: who is asked, what each earns, what a resume asks."""

from pathlib import Path

import pytest

from autoprune.design.chat import ChatRequest
from autoprune.design.transports import ScriptedDesigner
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.archive import Archive
from autoprune.search.arms import CONTROLS, DESIGN_OPERATORS, PROPOSE, arm_of, sources_of
from autoprune.search.planning import plan_generation
from autoprune.search.randomness import stream
from autoprune.search.state import SearchState
from autoprune.search.steps import Propose
from autoprune.search_settings import Arm
from tests.support.synthetic import Synthetic, drive, make_spec, plan_without_entries, write_answer

BOTH = DesignerSpec(kind="scripted", model="wise", also_models=("mute",))


def answered(request: ChatRequest) -> str:
    return "" if request.model == "mute" else write_answer(request)


def test_a_single_model_is_no_choice_and_leaves_requests_as_they_were() -> None:
    plain, named = make_spec(), make_spec(designer=DesignerSpec(kind="scripted", model="wise"))
    assert sources_of(plain) == sources_of(named)
    assert set(sources_of(plain).values()) == {"designer", "free"}
    request = ChatRequest((), 8, 0.0, 1)
    assert "model" not in request.to_json()
    asked = ChatRequest((), 8, 0.0, 1, model="wise")
    assert asked.digest != request.digest
    assert ChatRequest.from_json(asked.to_json()) == asked


def test_each_model_has_arms_of_its_own_and_moves_without_one_have_one() -> None:
    sources = sources_of(make_spec(designer=BOTH))
    assert {sources[arm_of("seed", name)] for name in ("wise", "mute")} == {
        "designer by wise",
        "designer by mute",
    }
    assert sources["tune"] == "free" and "seed" not in sources
    assert len(sources) == 2 * len(DESIGN_OPERATORS) + 6


@pytest.mark.parametrize("arm", ["whole", "list", "best-of-n"])
@pytest.mark.parametrize("seed", range(4))
def test_slots_go_to_the_model_that_gains(
    monkeypatch: pytest.MonkeyPatch, seed: int, arm: Arm
) -> None:
    plan_without_entries(monkeypatch)
    state = SearchState(
        make_spec(designer=BOTH, budget=SearchBudget(candidates=200), arm=arm), Archive("wanda")
    )
    rng, asked = stream(seed, 0, 0, "gains"), {"wise": 0, "mute": 0}
    for generation in range(1, 17):
        for plan in plan_generation(state, generation, 4, [], set()):
            rate = 0.3 if plan.model == "wise" else 0.02
            gain = 0.02 * (rng.random() < rate)
            state.bandit.update(arm_of(plan.operator, plan.model), gain, 10.0, tokens=500)
            if plan.model is not None:
                asked[plan.model] += 1
            asks = plan.operator in (*DESIGN_OPERATORS, PROPOSE)
            assert (plan.model is not None) == asks and (asks or arm == "whole")
    if arm in CONTROLS:
        # Real results decide nothing where none is shown.
        assert asked["wise"] == asked["mute"] == 32
    else:
        assert asked["wise"] > 1.5 * asked["mute"] > 0


def test_a_model_that_costs_more_tokens_gets_fewer_slots_where_tokens_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan_without_entries(monkeypatch)
    budget = SearchBudget(candidates=200, tokens=40_000)
    state, asked = SearchState(make_spec(designer=BOTH, budget=budget), Archive("w")), [0, 0]
    for generation in range(1, 17):
        for plan in plan_generation(state, generation, 4, [], set()):
            dear = plan.model == "wise"
            tokens = 0 if plan.model is None else 4000 if dear else 300
            state.bandit.update(arm_of(plan.operator, plan.model), 0.01, 5.0, tokens=tokens)
            if plan.model is not None:
                asked[dear] += 1
    assert asked[False] > 1.5 * asked[True] > 0


def test_a_search_asks_both_repairs_with_the_one_that_erred_and_resumes_to_the_same(
    tmp_path: Path,
) -> None:
    spec = make_spec(designer=BOTH, budget=SearchBudget(candidates=24))
    driver = Synthetic(ScriptedDesigner(answered))
    with Search.open(tmp_path / "whole", spec) as search:
        drive(search, driver)
        digest, entries = search.graph.digest, list(search.entries)
        history = search.history()
    asked = {
        event["step"]["step_id"]: event["step"]["request"].get("model")
        for event in history
        if event["step"]["kind"] == "Propose"
    }
    assert {"wise", "mute"} <= set(asked.values())
    by_place = {}
    for step_id, model in asked.items():
        if ".s" in step_id:
            by_place.setdefault(step_id.rpartition(".a")[0], set()).add(model)
    assert all(len(models) == 1 for models in by_place.values())
    assert any(step_id.endswith(".a1") for step_id in asked)
    designed = [e for e in entries if e.operator in DESIGN_OPERATORS]
    assert {e.model for e in designed} == {"wise", "mute"}
    assert all(e.code == "empty" for e in designed if e.model == "mute")
    assert all(e.model is None for e in entries if e not in designed)
    for entry in designed:
        if entry.recipe is not None:
            assert search.graph.nodes[entry.alias].body["model"] == entry.model

    again, stops = Synthetic(ScriptedDesigner(answered)), 0
    while True:
        with Search.open(tmp_path / "cut", spec) as search:
            limit = 3 + stops % 5
            done = drive(search, again, lambda count, limit=limit: count == limit)
            if done is not None:
                assert search.graph.digest == digest
                break
        stops += 1
    assert stops > 5 and sorted(again.asked) == sorted(driver.asked)


@pytest.mark.parametrize("arm", ["list", "whole"])
def test_lessons_ask_the_first_model_and_lists_of_results_ask_both(
    tmp_path: Path, arm: Arm
) -> None:
    asked: dict[str, set[str | None]] = {}

    class Heard(Synthetic):
        def answer(self, step):  # type: ignore[no-untyped-def]
            if isinstance(step, Propose):
                asked.setdefault(step.operator, set()).add(step.request.model)
            return super().answer(step)

    spec = make_spec(designer=BOTH, arm=arm, budget=SearchBudget(candidates=24))
    with Search.open(tmp_path, spec) as search:
        drive(search, Heard(ScriptedDesigner(answered)))
    if arm == "list":
        assert asked[PROPOSE] == {"wise", "mute"} and "reflect" not in asked
    else:
        assert asked["reflect"] == {None}


@pytest.mark.parametrize(("model", "also"), [(None, ("a",)), ("a", ("a",)), ("a", ("b", "b"))])
def test_models_without_a_first_one_or_named_twice_are_refused(
    model: str | None, also: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=f"also_models {', '.join(also)} need a first model"):
        DesignerSpec(kind="openai", model=model, also_models=also)
