"""A search of schemes: what is proposed, who varies it, and that the same loop holds it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest, Reply, Usage
from autoprune.design.parsing import AnswerForm, Proposal, Unreadable, read_answer
from autoprune.design.parts import Choices
from autoprune.design.scheme_moves import (
    SPREADS,
    all_schemes,
    crossed_schemes,
    family_of,
    genes_of,
    mutated_scheme,
    random_scheme,
    scheme_from,
    values_of,
)
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import UsageError
from autoprune.recipe import Recipe
from autoprune.schemes import build_scheme
from autoprune.search import DesignerSpec, RecipeSpec, Search, SearchBudget, SearchSpec
from autoprune.search.starts import given_start
from autoprune.search.steps import Done, Validation
from autoprune.search_settings import Arm
from tests.support.synthetic import drive, make_spec
from tests.support.synthetic_schemes import Shapes

FAMILIES = ("depth", "width", "depth+width")
CHOICES = Choices(("row",), ("uniform",), ("none",), schemes=FAMILIES)
# Share of the blocks' parameters by which each family reaches a budget.
SHARES = {"depth": 0.3, "width": 0.4, "depth+width": 0.5}


def answer(request: ChatRequest) -> str:
    rng = random.Random(request.digest)
    scheme = random_scheme(rng, CHOICES).source
    wrong = rng.choice(["", "scheme: experts\n", "scheme: width:steps=7\n", "no idea"])
    return wrong if rng.random() < 0.2 else f"because: a try\nscheme: {scheme}\n"


def scheme_spec(**changes: object) -> SearchSpec:
    return make_spec(schemes=FAMILIES, **changes)


@pytest.mark.parametrize(
    "arm", ["whole", "none", "graph", "list", "tuned", "genetic", "random", "grid"]
)
def test_every_arm_varies_schemes_and_resumes(tmp_path: Path, arm: Arm) -> None:
    asks = arm in ("whole", "graph", "list")
    designer = DesignerSpec(kind="scripted") if asks else DesignerSpec()
    spec = scheme_spec(arm=arm, designer=designer, repair_choices=("none", "recover:steps=2"))
    driver = Shapes(designer=ScriptedDesigner(answer))
    with Search.open(tmp_path, spec) as search:
        assert drive(search, driver) == Done("candidates")
        starts = [e.alias for e in search.entries if e.is_baseline]
        made = [e.recipe for e in search.entries if e.recipe and not e.is_baseline]
        best, best_start = search.best, min(e.score for e in search.entries if e.is_baseline)
        assert starts == list(FAMILIES) and search.spec.reference == "depth"
        assert best is not None and best.score <= best_start
        text = "\n".join(str(h["step"].get("request")) for h in search.history())
    assert {r.metric.kind for r in made} == {"scheme"} and len({r.digest for r in made}) > 8
    assert all(family_of(build_scheme(r.metric.source)) in FAMILIES for r in made)
    assert {(r.group, r.allocation) for r in made} == {("row", "uniform")}
    assert ("depth:criterion=perplexity|taylor" in text) == asks and "x_norm" not in text
    with Search.open(tmp_path) as again:
        assert again.graph.digest == search.graph.digest


class Timed(Shapes):
    """The same, where each family takes another share; without its attention none is as fast."""

    def validate(self, recipe: Recipe) -> Validation:
        text = recipe.metric.source
        if values_of(build_scheme(text)).get(("width", "parts")) == "mlp":
            return Validation(False, "invalid", f"{text!r} makes the model at most 1.02 times")
        share = SHARES[family_of(build_scheme(text))]
        return Validation(True, seconds=0.1, budget={"share": share, "faster": 1.31})


def test_a_speed_is_timed_once_for_all_of_the_same_shapes(tmp_path: Path) -> None:
    spec = scheme_spec(arm="genetic", designer=DesignerSpec(), faster=1.3)
    driver = Timed()
    with Search.open(tmp_path, spec) as search:
        assert drive(search, driver) == Done("candidates")
        steps = [body["step"] for body in search.history()]
        entries = [e for e in search.entries if e.recipe is not None]
        shapes = {build_scheme(e.known_recipe.metric.source).shapes_only().text for e in entries}
        timed = [step for step in steps if step["kind"] == "Validate"]
        assert len(entries) > len(shapes) == len(timed)
        for step in steps:
            if step["kind"] == "Measure" and step["recipe"] is not None:
                family = family_of(build_scheme(step["recipe"]["metric"]["source"]))
                assert step["sparsity"] == SHARES[family]
        sealed = next(step for step in steps if step["kind"] == "Seal")["sparsity"]
        assert sealed == {alias: search.share_of(alias) for alias in sealed} and len(sealed) >= 3
        refused = [e for e in entries if e.code == "invalid"]
        assert refused and all(repr(e.known_recipe.metric.source) in e.detail for e in refused)
        digest, count = search.graph.digest, len(driver.asked)
    with Search.open(tmp_path) as after:
        assert after.graph.digest == digest and len(driver.asked) == count
        assert after.share_of("depth+width") == 0.5


def test_a_budget_of_schemes_is_on_record_and_no_share_beside_it() -> None:
    for unit, value, goal in (("bytes", 0.2, "20 % fewer bytes"), ("faster", 1.3, "1.3 times")):
        spec = scheme_spec(**{unit: value})
        body = spec.to_json()
        assert body[unit] == value and "sparsity" not in body and spec.size == {unit: value}
        assert SearchSpec.recorded(body) == spec and goal in spec.target.goal
        with pytest.raises(ValueError, match="zeros bring neither"):
            make_spec(**{unit: value})
        with pytest.raises(ValueError, match="not such a share"):
            scheme_spec(**{unit: value}, also_sparsities=(0.5,))
    assert not {"bytes", "faster"} & scheme_spec().to_json().keys()
    with pytest.raises(ValueError, match="two budgets"):
        scheme_spec(bytes=0.2, faster=1.3)


def test_a_scheme_that_is_only_measured_is_refused_before_a_search() -> None:
    with pytest.raises(UsageError, match="'skip' acts while a model runs"):
        make_spec(schemes=("depth", "skip"))


def test_a_small_space_ends_the_search_and_is_seen_whole(tmp_path: Path) -> None:
    spec = make_spec(schemes=("experts",), arm="random", designer=DesignerSpec())
    with Search.open(tmp_path, spec) as search:
        assert drive(search, Shapes()) == Done("exhausted")
        texts = {e.recipe.metric.source for e in search.entries if e.recipe}
    assert texts == {found.source for found in all_schemes(["experts"])} and len(texts) == 6


def test_changes_stay_in_the_space_and_crossing_takes_from_both() -> None:
    rng = random.Random(1)
    scheme, seen = random_scheme(rng, CHOICES), set[str]()
    for _ in range(60):
        before, scheme = scheme, mutated_scheme(scheme, rng, CHOICES)
        old, new = (build_scheme(one.source) for one in (before, scheme))
        changed = [g for g, v in values_of(new).items() if values_of(old).get(g, v) != v]
        assert len(changed) == (family_of(old) == family_of(new))
        assert all(v in genes_of(family_of(new))[g] for g, v in values_of(new).items())
        seen.add(family_of(new))
    assert seen == set(FAMILIES)
    both = [random_scheme(rng, replace(CHOICES, schemes=(f,))) for f in ("depth+width", "depth")]
    ones, others = (values_of(build_scheme(one.source)) for one in both)
    for _ in range(20):
        child = values_of(build_scheme(crossed_schemes(*both, rng).source))
        assert all(v in (ones[g], others.get(g)) for g, v in child.items())


def test_rates_are_a_family_of_their_own_that_moves_stay_in() -> None:
    spec = make_spec(schemes=("width", "width:rates=ramp"))
    assert spec.choices.schemes == ("width", "width:rates")
    assert ("width", "rates") not in genes_of("width")
    own = replace(spec.choices, schemes=("width:rates",))
    rng = random.Random(2)
    scheme, seen = Candidate("scheme", "width:rates=ramp"), set[str]()
    for _ in range(60):
        scheme = mutated_scheme(scheme, rng, own)
        assert family_of(build_scheme(scheme.source)) == "width:rates"
        seen.add(values_of(build_scheme(scheme.source))["width", "rates"])
    assert len(seen) > 10 and {text.strip("(").partition(":")[0] for text in seen} > {"formula"}
    # A list of shares keeps its sum: some of one block's goes to another.
    given = Candidate("scheme", "width:rates=given:0.1/0.2/0.3")
    for _ in range(30):
        given = mutated_scheme(given, rng, own)
        shares = values_of(build_scheme(given.source))["width", "rates"].partition(":")[2]
        found = [float(share) for share in shares.split("/")]
        assert abs(sum(found) - 0.6) < 1e-9 and min(found) >= 0.0
    # Chance reaches what mutation does, not a list of texts alone.
    drawn = [random_scheme(rng, own).source for _ in range(60)]
    rates = {values_of(build_scheme(text))["width", "rates"] for text in drawn}
    assert len(rates) > 30
    assert {text.strip("(").partition(":")[0] for text in rates} == {"ramp", "sdsa", "formula"}
    # From one family to the other, and back to one without rates.
    there = {mutated_scheme(given, rng, spec.choices).source for _ in range(60)}
    assert {family_of(build_scheme(text)) for text in there} == {"width", "width:rates"}
    both = crossed_schemes(Candidate("scheme", "width:rates=sdsa"), given, rng)
    assert values_of(build_scheme(both.source))["width", "rates"][:4] in ("sdsa", "give")
    texts = [found.source for found in all_schemes(["width:rates"])]
    assert texts[0] == "width:rates=ramp" and len(texts) == len(set(texts)) == 20 * len(SPREADS)


def test_the_prompt_is_right_about_usual_values_of_schemes(tmp_path: Path) -> None:
    for family in ("depth", "width:rates", "experts"):
        usual = values_of(scheme_from(family, {}))
        assert [known[0] for known in genes_of(family).values()] == list(usual.values())
    spec = make_spec(schemes=("width:rates=ramp",), arm="list")
    with Search.open(tmp_path / "list", spec) as search:
        drive(search, Shapes(designer=ScriptedDesigner(lambda _: "no idea")))
        step = next(h["step"] for h in search.history() if h["step"]["kind"] == "Propose")
    system = step["request"]["messages"][0]["content"]
    # A plain ramp is this one, and of a list only the differences count.
    assert build_scheme("width:rates=ramp:half_width=0.1").text == "width:rates=ramp"
    assert "half_width above it, 0.1 unless set" in system
    assert "raised or lowered by the same number so that the mean is right, none below 0" in system


def rated(request: ChatRequest) -> str:
    rng = random.Random(request.digest)
    good = ["given:0.1/0.2/0.3", f"(formula:{rng.random():.2f}*depth + 0.1*first)", "ramp", "sdsa"]
    garbage = ["owl", "given:1e9/x", "__import__('os')", "formula:0.1*dep", "(" * 50, "0.1/0.2", ""]
    return f"because: a try\nscheme: width:rates={rng.choice(good + garbage)}\n"


@pytest.mark.parametrize("arm", ["whole", "genetic", "tuned", "random", "grid"])
def test_every_arm_varies_rates_and_garbage_is_a_coded_rejection(tmp_path: Path, arm: Arm) -> None:
    designer = DesignerSpec(kind="scripted") if arm == "whole" else DesignerSpec()
    spec = make_spec(schemes=("width:rates=ramp",), arm=arm, designer=designer)
    with Search.open(tmp_path, spec) as search:
        driver = Shapes(designer=ScriptedDesigner(rated))
        assert drive(search, driver) in (Done("candidates"), Done("exhausted"))
        entries = list(search.entries)
        text = "\n".join(str(h["step"].get("request")) for h in search.history())
        assert search.best is not None and search.best.score <= entries[0].score
    made = [e.recipe for e in entries if e.recipe is not None]
    rates = {values_of(build_scheme(r.metric.source)).get(("width", "rates")) for r in made}
    assert len(rates) > 2 and None not in rates
    codes = {e.code for e in entries if e.recipe is None}
    assert ("added to the share" in text) == (arm == "whole") and codes <= {"bad_choice"}
    assert bool(codes) == (arm == "whole")
    with Search.open(tmp_path) as again:
        assert again.graph.digest == search.graph.digest


def asked(search: Search, operator: str) -> str:
    """The question of one operator, as things stand."""
    (preview,) = search.preview(operator)
    return preview.request.messages[-1].content


def test_no_two_questions_of_a_generation_are_one(tmp_path: Path) -> None:
    spec = make_spec(
        schemes=("width:rates=ramp",), arm="list", slots=3, budget=SearchBudget(candidates=9)
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, Shapes(designer=ScriptedDesigner(rated)))
        steps = [h["step"] for h in search.history() if h["step"]["kind"] == "Propose"]
        first = [s for s in steps if len(s["request"]["messages"]) == 2]
    questions = [s["request"]["messages"][-1]["content"] for s in first]
    assert len(questions) > 3 and len(set(questions)) == len(questions)


def test_a_scheme_that_does_not_fit_the_model_is_asked_for_again(tmp_path: Path) -> None:
    words = "3 rates were given; this model takes 30"

    class Fitting(Shapes):
        def validate(self, recipe: Recipe) -> Validation:
            if "0.1/0.2/0.3" in recipe.metric.source:
                return Validation(False, "invalid", words)
            return super().validate(recipe)

    def write(request: ChatRequest) -> str:
        again = any(words in message.content for message in request.messages)
        rates = f"(formula:0.0{random.Random(request.digest).randrange(1, 10)}*depth)"
        return f"because: a try\nscheme: width:rates={rates if again else 'given:0.1/0.2/0.3'}\n"

    spec = make_spec(
        schemes=("width:rates=ramp",), arm="list", slots=1, budget=SearchBudget(candidates=2)
    )
    with Search.open(tmp_path, spec) as search:
        drive(search, Fitting(designer=ScriptedDesigner(write)))
        made = [entry for entry in search.entries if not entry.is_baseline]
    assert [entry.code for entry in made if "0.1/0.2/0.3" in entry.formula] == ["invalid"]
    assert any("formula" in entry.formula and entry.results for entry in made)


def test_a_designer_is_asked_to_evolve_rates_by_naming_their_parents(tmp_path: Path) -> None:
    listed = tuple(f"width:rates=given:{shares}" for shares in ("0.1/0.2/0.3", "0.3/0.2/0.1"))
    cases = {
        listed: ("the shares of some blocks from one", "move some of one block's share"),
        ("width:rates=ramp", "width:rates=sdsa"): ("terms, numbers or blocks", "or add a term"),
        ("width", "width:rates=ramp"): ("", ""),
    }
    for number, (schemes, (cross, mutate)) in enumerate(cases.items()):
        # Nothing beyond the starts, so that these are the parents.
        spec = make_spec(schemes=schemes, budget=SearchBudget(candidates=1), arm="whole")
        with Search.open(tmp_path / str(number), spec) as search:
            drive(search, Shapes(designer=ScriptedDesigner(lambda _: "no idea")))
            both, one, none = (asked(search, name) for name in ("combine", "exploit", "explore"))
        mixed = number == 2
        assert ("Cross their rates" in both) != mixed and cross in both
        parents = both.partition("Parents:")[2].partition("Cross")[0]
        assert mixed or all(f"{text}: " in parents for text in schemes)
        # Of the two starts, the one with rates is the better one.
        assert "Mutate its rates" in one and mutate in one
        assert ("Generate rates" in none) != mixed
        assert ("other values, or another family" in none) == mixed
    # Asked for a whole scheme, it selects by itself.
    spec = make_spec(schemes=listed, budget=SearchBudget(candidates=1), arm="list")
    with Search.open(tmp_path / "list", spec) as search:
        drive(search, Shapes(designer=ScriptedDesigner(lambda _: "no idea")))
        step = next(h["step"] for h in search.history() if h["step"]["kind"] == "Propose")
    assert "Select two parents" in step["request"]["messages"][-1]["content"]


def test_answers_are_read_and_what_a_search_leaves_alone_is_refused() -> None:
    form = AnswerForm("scheme", ("row",), ("uniform",), ("depth",), schemes=("depth", "width"))

    def read(line: str) -> Proposal | Unreadable:
        return read_answer(Reply(f"because: so\n{line}\n", "stop", Usage(1, 1)), form)

    found = read("scheme: `width:fit=false,score=flap`")
    assert isinstance(found, Proposal)
    assert found.recipe.metric.text == "scheme:width:score=flap,fit=false"
    assert Recipe.from_json(found.recipe.to_json()) == found.recipe
    for line, says in (
        ("scheme: depth+width", "one of: depth, width"),
        ("scheme: width:search=policy", "that may change"),
        ("scheme: depth:criterion=none", "is not understood"),
        ("metric: abs(W)", "is missing"),
    ):
        wrong = read(line)
        assert isinstance(wrong, Unreadable) and says in wrong.detail


def test_schemes_are_not_mixed_with_what_leaves_zeros() -> None:
    start = given_start("depth:criterion=influence+recover:steps=3")
    assert start == RecipeSpec(metric="scheme:depth:criterion=influence", repair="recover:steps=3")
    spec = scheme_spec(starts=(start,), repair_choices=("none",))
    assert spec.choices.schemes == FAMILIES and "recover:steps=3" in spec.choices.repairs
    assert SearchSpec.recorded(spec.to_json()) == spec
    assert "schemes" not in make_spec().to_json()
    for changes, says in (
        ({"starts": (RecipeSpec(metric="wanda"),)}, "starts of the one kind"),
        ({"pattern": "2:4"}, "pattern 2:4, groups row; leave both out"),
    ):
        with pytest.raises(ValueError, match=says):
            scheme_spec(**changes)
    with pytest.raises(ValueError, match="starts of the one kind"):
        make_spec(starts=(start,), budget=SearchBudget(candidates=1))
    tuned = scheme_spec(
        starts=(given_start("depth+ebft:epochs=1+recover"),), repair_choices=("ebft",)
    )
    assert {"ebft", "ebft:epochs=1+recover"} <= set(tuned.choices.repairs)
    for repair, says in (("mrp", "mrp works around zeros"),):
        with pytest.raises(UsageError, match=says):
            make_spec(schemes=("depth",), repair_choices=("none", repair))
