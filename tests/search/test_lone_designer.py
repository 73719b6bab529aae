"""Arms in which the designer proposes alone, as `list`, the default of a named designer, does."""

import re
from pathlib import Path

import pytest

from autoprune.design.chat import ChatRequest
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import UnknownNameError
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.archive import Archive
from autoprune.search.state import SearchState
from autoprune.search.steps import Done, Propose
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer

MASKS = (
    "because: x\nexpect: better than wanda\nmetric: {}\ngroup: row\nallocation: {}\nrepair: {}\n"
)


def answers(*texts: str) -> ScriptedDesigner:
    """Answer each first question with the next text, the last one again and again."""
    left = list(texts)
    return ScriptedDesigner(lambda _: left.pop(0) if len(left) > 1 else left[0])


@pytest.mark.parametrize("repair", ["sparsegpt", "sparsegpt:select=own"])
def test_another_repair_of_known_masks_is_measured_whole(tmp_path: Path, repair: str) -> None:
    spec = make_spec(
        arm="list", budget=SearchBudget(candidates=1), slots=1, repair_calls=0,
        repair_choices=("none", "mrp", "sparsegpt", "sparsegpt:select=own"),
    )  # fmt: skip
    driver = Synthetic(answers(MASKS.format("abs(W) * x_norm", "uniform", repair)))
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
        (entry,) = [e for e in search.entries if not e.is_baseline]
    # Masks alone would have called it equal to Wanda.
    assert set(entry.results) == {2} and entry.status == "measured" and entry.score < -0.2


def test_each_new_chain_of_repairs_is_measured_whole_once(tmp_path: Path) -> None:
    # Masks that are worse than any start's, so that their score promotes nothing.
    bad = [MASKS.format(f"W * {n}.5 + x_max", "uniform", "mrp") for n in (1, 2)]
    spec = make_spec(
        arm="list", budget=SearchBudget(candidates=2), slots=2, repair_calls=0,
        repair_choices=("none", "mrp"), seed=5,
    )  # fmt: skip
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(answers(*bad)))
        whole = [2 in e.results for e in search.entries if not e.is_baseline]
    assert sorted(whole) == [False, True]


def asked(folder: Path, who: ScriptedDesigner, **changes: object) -> list[ChatRequest]:
    driver, found = Synthetic(who), []
    with Search.open(folder, make_spec(**{"arm": "list", "repair_calls": 0, **changes})) as search:
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Propose):
                found.append(step.request)
            search.record(step, driver.answer(step))
    return found


def test_the_best_code_is_shown_as_code(tmp_path: Path) -> None:
    code = "def score(W, stats, params):\n    return W.abs() * stats['x_norm'] ** 0.9"
    text = (
        "because: x\nexpect: -5 % against wanda\ngroup: row\nallocation: ramp\nrepair: mrp\n"
        f"```python\n{code}\n```\n"
    )
    spec = DesignerSpec(kind="scripted", prompt_tokens=4000, answer_tokens=800)
    found = asked(
        tmp_path, answers(text), designer=spec, language="python", slots=1,
        budget=SearchBudget(evaluations=2, candidates=3),
    )  # fmt: skip
    assert "The best so far" not in found[0].messages[-1].content
    assert code in found[-1].messages[-1].content


@pytest.mark.parametrize("hints", [True, False])
def test_questions_of_a_generation_differ(tmp_path: Path, hints: bool) -> None:
    spec = DesignerSpec(kind="scripted", prompt_tokens=4000, hints=hints)
    found = asked(tmp_path, ScriptedDesigner(write_answer), designer=spec)
    first = [request.messages[-1].content for request in found[:4]]
    assert len(set(first)) == 4
    assert [f"question {n} of 4" in text for n, text in enumerate(first, 1)] == 4 * [not hints]


def test_the_preview_knows_the_only_operator(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(arm="list")) as search:
        drive(search, Synthetic())
        (shown,) = search.preview("propose")
        assert re.search("Write a whole recipe", shown.request.messages[-1].content)
        with pytest.raises(UnknownNameError, match="of the arm list 'exploit'; known: propose"):
            search.preview("exploit")


def test_tokens_of_a_cheap_model_count_less_under_a_limit_in_money() -> None:
    designer = DesignerSpec(kind="scripted", model="small", also_models=("large",))
    prices = {"small": (0.1, 0.4), "large": (1.0, 4.0)}
    budget = SearchBudget(candidates=9, money=1.0, price=(1.0, 4.0), prices=prices)
    state = SearchState(make_spec(designer=designer, budget=budget), Archive("wanda"))
    assert state.price_of("large") == 1.0
    assert state.price_of("small") == pytest.approx(0.1) == state.price_of(None)
    free = SearchState(make_spec(designer=designer), Archive("wanda"))
    assert free.price_of("small") == 1.0
