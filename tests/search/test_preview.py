"""The next prompts can be seen without asking anyone, with ours or other templates."""

import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from autoprune.allocation import build_allocator
from autoprune.allocation.formula import DESCRIPTORS
from autoprune.design.parts import drawn_terms
from autoprune.design.prompts import Prompts
from autoprune.errors import UnknownNameError
from autoprune.search import DesignerSpec, RecipeSpec, Search, SearchBudget, SearchSpec
from autoprune.search.events import EventLog
from autoprune.search.operators import Plan
from autoprune.search.requests import Requests
from autoprune.search.search import LOG_FILE
from autoprune.search.steps import Done, Measure, Propose
from tests.support.synthetic import Synthetic, drive, make_spec


def test_preview_is_what_is_asked_next(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec()) as search:
        assert search.preview() == []
        shown = None
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Measure) and step.role == "candidate":
                break
            if isinstance(step, Propose) and shown is None:
                shown = search.preview()
                asked = [s.request for s in search.open_steps() if isinstance(s, Propose)]
                assert [preview.request for preview in shown] == asked
            search.record(step, driver.answer(step))
        before = (search.graph.digest, len(driver.asked), search.looks)
        coming = search.preview()
        assert coming == search.preview() and coming
        assert (search.graph.digest, len(driver.asked), search.looks) == before


def test_an_exploit_asks_for_one_part_and_fixes_the_rest(tmp_path: Path) -> None:
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=4))) as search:
        drive(search, Synthetic())
        found = {p.request.grammar.partition("\n")[0]: p for p in search.preview("exploit")}  # type: ignore[union-attr]
        lines = ("metric", "group", "allocation", "repair")
        for line in lines:
            roots = [root for root in found if f"{line}: " in root]
            assert len(roots) == 1
            assert not any(f"{other}: " in roots[0] for other in lines if other != line)
        metric = next(p for root, p in found.items() if "metric: " in root)
        assert "____" in metric.request.messages[-1].content
        with pytest.raises(UnknownNameError, match="exploit"):
            search.preview("exploid")


def system_prompt(folder: Path, seed: int) -> str:
    """What never changes in a search's prompts."""
    spec = make_spec(seed=seed, budget=SearchBudget(candidates=0))
    with Search.open(folder, spec) as search:
        drive(search, Synthetic())
        return search.preview("explore")[0].request.messages[0].content


def test_the_example_of_an_allocation_formula_is_drawn_by_the_seed(tmp_path: Path) -> None:
    texts = [system_prompt(tmp_path / str(seed), seed) for seed in range(6)]
    found = [re.findall(r"formula:[^()]+(?= \()", text) for text in texts]
    assert all(len(forms) == 1 for forms in found)
    assert len({forms[0] for forms in found}) >= 5
    assert system_prompt(tmp_path / "again", 0) == texts[0]


def test_a_value_that_is_asked_for_is_offered_and_may_be_read(tmp_path: Path) -> None:
    assert "values" not in make_spec().to_json()
    spec = make_spec(budget=SearchBudget(candidates=0), values=("hessian_diag",))
    assert SearchSpec.recorded(spec.to_json()) == spec
    assert spec.choices.statistics[-1] == "hessian_diag"
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        request = search.preview("explore")[0].request
    assert "hessian_diag: OBS curvature of each input" in request.messages[0].content
    assert request.grammar is not None and '"hessian_diag"' in request.grammar


def test_an_example_favours_no_word_and_no_sign() -> None:
    words = tuple(DESCRIPTORS)
    forms = [f"formula:{drawn_terms(Random(s), words, (0.1, 0.05))}" for s in range(4000)]
    assert all(build_allocator(form).text == form for form in set(forms))
    terms = Counter(
        (sign.strip() or "+", word)
        for form in forms
        for sign, word in re.findall(r"(?:formula:|\s)([-+]?\s?)0\.[0-9]+ \* ([a-z_]+)", form)
    )
    assert terms.keys() == {(sign, word) for sign in "+-" for word in DESCRIPTORS}
    # 8,000 terms of 32 kinds: 250 each, give or take five deviations of 16.
    assert max(abs(count - 250) for count in terms.values()) < 80


@pytest.mark.parametrize("arm", ["whole", "list"])
def test_without_hints_no_question_holds_one(tmp_path: Path, arm: str) -> None:
    written = [line for line in Prompts().render("hints").splitlines() if line]
    assert len(written) == 12
    shown = {}
    for hints in (True, False):
        driver = Synthetic()
        designer = DesignerSpec(kind="scripted", hints=hints)
        asked = []
        with Search.open(tmp_path / str(hints), make_spec(designer=designer, arm=arm)) as search:
            while not isinstance(step := search.next_step(), Done):
                if isinstance(step, Propose):
                    asked.append(step.request.messages[-1].content)
                search.record(step, driver.answer(step))
            if arm == "whole":
                for operator in ("explore", "exploit", "paradigm"):
                    previews = search.preview(operator)
                    asked += [p.request.messages[-1].content for p in previews]
        shown[hints] = "\n".join(asked)
    assert any(hint in shown[True] for hint in written)
    assert not any(hint in shown[False] for hint in written)
    assert "Idea to try" in shown[True] and "Idea to try" not in shown[False]
    assert "principle:" not in shown[False] and "  " not in shown[False].replace("\n", "")


def test_an_idea_for_another_group_is_not_shown_where_the_metric_alone_is_read(
    tmp_path: Path,
) -> None:
    made = tuple(RecipeSpec(metric="wanda", group=group) for group in ("row", "matrix"))
    spec = make_spec(baselines=made, budget=SearchBudget(candidates=0))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        requests = Requests(search._loop.state, Prompts())
        (idea, *_) = (hint for hint in requests.hints if "group matrix" in hint)
        row, matrix = (entry.alias for entry in search.entries)
        plans = [Plan(0, "explore", (alias,), idea, part="metric") for alias in (row, matrix)]
        plans.append(Plan(0, "paradigm", (), idea))
        asked = [requests.proposal(1, plan).request.messages[1].content for plan in plans]
    assert [idea in question for question in asked] == [False, True, True]


def test_no_designer_no_prompts(tmp_path: Path) -> None:
    spec = make_spec(designer=DesignerSpec(kind="genetic"), budget=SearchBudget(candidates=2))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic())
        assert search.preview() == []


def test_own_templates_stay_with_the_search(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "operators").mkdir(parents=True)
    (own / "operators" / "seed.j2").write_text("Beat {{ reference }} now!")
    (own / "notes.txt").write_text("not a template")
    spec = make_spec(budget=SearchBudget(candidates=2))
    with Search.open(tmp_path / "run", spec, prompts=own) as search:
        digest = search.prompts.digest
        (own / "operators" / "seed.j2").write_text("changed")
        assert search.prompts.digest == digest
    with Search.open(tmp_path / "run") as again:
        assert again.prompts.digest == digest != Prompts().digest
        drive(again, Synthetic())
        asked = [h["step"] for h in again.history() if h["step"]["kind"] == "Propose"]
        assert any("Beat wanda now!" in s["request"]["messages"][1]["content"] for s in asked)
    assert not (tmp_path / "run" / "prompts" / "notes.txt").exists()


def test_a_start_that_was_killed_copies_again(tmp_path: Path) -> None:
    own, kept = tmp_path / "own", tmp_path / "run" / "prompts"
    for folder, name in ((own, "user.j2"), (kept, "system.j2")):
        folder.mkdir(parents=True)
        (folder / name).write_text("{{ instruction }}")
    # Killed between the copy and the first event.
    EventLog(tmp_path / "run" / LOG_FILE).close()
    with Search.open(tmp_path / "run", make_spec(), prompts=own) as search:
        digest = search.prompts.digest
    assert [path.name for path in kept.iterdir()] == ["user.j2"]
    with Search.open(tmp_path / "run") as again:
        assert again.prompts.digest == digest
