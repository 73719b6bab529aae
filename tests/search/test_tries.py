"""A designer that answers in files tries formulas on real layers before it commits."""

import re
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest
from autoprune.design.sections import bar
from autoprune.design.transports import ScriptedDesigner
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.steps import Done, Propose
from autoprune.search.tries import REPEATED_PROGRAM, quoted, tried_formulas
from autoprune.search_settings import Arm
from tests.support.synthetic import Synthetic, drive, make_spec, write_answer

TRIES = "try: abs(W) * x_max\n- **Try**: `W * 0`\ntry: abs(V)\ntry: W\n"
SPEC = make_spec(
    designer=DesignerSpec(kind="files", prompt_tokens=4000), budget=SearchBudget(candidates=8)
)


def test_what_tries_and_what_commits() -> None:
    assert tried_formulas(TRIES) == ["abs(W) * x_max", "W * 0", "abs(V)"]
    assert tried_formulas(f"{TRIES}metric: abs(W)\n") == []
    assert tried_formulas("try: W\n```python\ndef score\n```") == []
    assert tried_formulas("because: I try: hard\ntry:\n") == []
    assert tried_formulas(f"<think>metric: abs(W)</think>\n{TRIES}") == tried_formulas(TRIES)


def try_first(request: ChatRequest) -> str:
    """Try once, then commit; who is asked after an error has tried already."""
    if "you may once try" in request.messages[-1].content:
        return TRIES
    return write_answer(request)


def test_a_long_answer_is_repeated_with_a_mark_where_it_is_cut() -> None:
    spec = make_spec(language="program")
    whole = "a = 1\n" * (REPEATED_PROGRAM // 6)
    assert quoted(whole, spec) == whole
    shown = quoted(whole + "b = 2\nc = 3", spec)
    assert shown == whole.rstrip("\n") + "\n(cut here: 12 more characters)"


def test_tries_are_measured_charged_and_on_record_but_no_candidates(tmp_path: Path) -> None:
    designer = ScriptedDesigner(try_first)
    driver = Synthetic(designer=designer)
    with Search.open(tmp_path, SPEC) as search:
        drive(search, driver)
        nodes, spent, history = search.graph.nodes, search.spent, search.history()
        aliases = [entry.alias for entry in search.entries if not entry.is_baseline]
        digest = search.graph.digest
    trials = [e for e in history if e["step"]["step_id"].partition(".t")[2] in ("0", "1", "2")]
    tried = [e for e in history if e["step"]["step_id"].endswith(".tried")]
    assert tried and {e["step"]["kind"] for e in trials} == {"Validate"}
    # The third formula is none; it is measured nowhere and named all the same.
    assert len(trials) == 2 * len(tried) and spent.candidates == 8
    assert not any(".t" in alias for alias in aliases)
    seconds = [e["outcome"].get("waited") or e["outcome"]["seconds"] for e in history]
    assert spent.seconds == pytest.approx(sum(seconds))
    mask = driver.mask(Recipe(Candidate("expression", "abs(W) * x_max"), "row"), 0.5)
    assert mask is not None
    first = next(e for e in tried if "by row" in e["step"]["request"]["messages"][-1]["content"])
    reply = first["step"]["request"]["messages"][-1]["content"]
    assert f"abs(W) * x_max by row: error {driver.error(mask):.4g} on real layers" in reply
    assert "nan_scores" in reply and "abs(V): " in reply and "wanda has " in reply
    # What the error was worth by then: of masks of one allocation, those of the starts.
    assert re.search(
        r"no metric has a lower one than Wanda's in the .* so far it ranked \d+ masks", reply
    )
    name = first["step"]["step_id"].removesuffix(".tried") + ".t0"
    assert nodes[name].kind == "observation" and str(nodes[name].body["text"]) in f"tried {reply}"
    # What was tried is known to the next prompts.
    later = [r.messages[1].content for r in designer.requests[-3:]]
    assert any("tried abs(W) * x_max" in text for text in later)
    # Killed at every step it ends the same.
    done = None
    while done is None:
        search = Search.open(tmp_path / "killed", SPEC)
        done = drive(search, Synthetic(designer=designer), stop=lambda count: count == 1)
        search._log.close()
    with Search.open(tmp_path / "killed") as again:
        assert again.graph.digest == digest


def test_what_is_hidden_is_not_tried(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"hide": ("rank", "x_max")})
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(designer=ScriptedDesigner(try_first)))
        history, nodes = search.history(), search.graph.nodes
    tried = [e["step"] for e in history if e["step"]["step_id"].endswith(".tried")]
    assert tried and not any(e["step"]["step_id"].endswith(".t0") for e in history)
    assert not any("x_max" in str(node.body.get("tried")) for node in nodes.values())
    for step in tried:
        texts = [message["content"] for message in step["request"]["messages"]]
        assert not any("x_max" in text for text in texts)
        assert "abs(W) * (hidden): hidden: a part of it is hidden" in texts[-1]


@pytest.mark.parametrize("arm", ["graph", "best-of-n", "graph-permuted"])
def test_a_reply_to_a_try_knows_no_more_than_the_question(tmp_path: Path, arm: Arm) -> None:
    designer = DesignerSpec(kind="files", prompt_tokens=4000)
    spec = make_spec(
        arm=arm, designer=designer, budget=SearchBudget(evaluations=20), repair_calls=0
    )
    driver, named, real, true = Synthetic(designer=ScriptedDesigner(try_first)), [], [], []
    with Search.open(tmp_path, spec) as search:
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Propose) and step.step_id.endswith(".tried"):
                text = step.request.messages[-1].content
                named.append(re.findall(r"(\S+) has [0-9.]", text))
                shown, reference = search._loop._requests.graph, search.spec.reference
                # In the placebo an error would tell whose result a recipe is shown with.
                best_shown = bar(shown, reference)
                if arm == "graph-permuted" and not search.archive[best_shown].is_baseline:
                    best_shown = reference
                assert named[-1] == list(dict.fromkeys([reference, best_shown]))
                for alias, error in re.findall(r"(\S+) has ([0-9.e-]*[0-9])", text):
                    body = shown.newest_result(alias).body
                    assert error == f"{body['reconstruction_error']:.4g}"
                    found = search.archive[alias].validation
                    assert found is not None
                    true.append(error == f"{found.reconstruction_error:.4g}")
                assert ("so far it ranked" in text) == (arm == "graph")
                real.append(search.archive.best())
            search.record(step, driver.answer(step))
        starts = {entry.alias for entry in search.entries if entry.is_baseline}
    best = [entry.alias for entry in real if entry is not None]
    assert len(best) == len(named) > 4 and set(best) - starts
    assert true and all(true)
    if arm == "graph":
        assert [names[-1] for names in named] == best
    else:
        assert [names[-1] for names in named] != best
        assert {name for names in named for name in names} <= starts


def test_nobody_else_is_offered_a_try(tmp_path: Path) -> None:
    driver = Synthetic(designer=ScriptedDesigner(lambda request: TRIES))
    with Search.open(tmp_path, make_spec(budget=SearchBudget(candidates=4))) as search:
        drive(search, driver)
        asked = [e["step"] for e in search.history() if e["step"]["kind"] == "Propose"]
        assert asked and not any(step["step_id"].endswith("tried") for step in asked)
        assert "you may once try" not in str(asked)
        codes = {e.code for e in search.entries if e.operator in ("seed", "exploit", "repair")}
    assert "no_metric" in codes
