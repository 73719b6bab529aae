"""The recount of what a program gave back: exact budgets, small misses put right, or a refusal."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from autoprune.bench.programs import ByProgram
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import UsageError
from autoprune.masking.pattern import NM
from autoprune.models.structure import prunable_linears
from autoprune.program_files import (
    declared_constants,
    program_source,
    whole_constants,
    with_constants,
)
from autoprune.programs import LayerBudget, Settled, settle
from autoprune.pruning import PruningPlan, prune
from autoprune.recipe import Recipe
from sandbox.worker.toolbox import parts, topk
from tests.support.given_runner import GivenRunner
from tests.support.tiny_models import random_windows, tiny_model

SHAPE = (40, 100)
ROW, MATRIX = LayerBudget("row", 2010), LayerBudget("matrix", 2010)
PAIRS = LayerBudget("row", 2000, NM(2, 4))
BUDGETS = [ROW, MATRIX, PAIRS]


def dense() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def handed(budget: LayerBudget) -> dict[str, object]:
    own = budget.to_json()
    return own | ({"rows": budget.quotas(SHAPE)} if own["group"] == "row" else {})


def exact(budget: LayerBudget) -> Tensor:
    """Moved weights that keep the budget."""
    weight = dense()
    return weight * 1.5 * topk(weight.abs(), handed(budget))


def check(made: Settled, budget: LayerBudget) -> None:
    zeros = budget.grouped(~made.keep).sum(dim=1)
    assert torch.equal(zeros, budget.quotas(SHAPE))
    gone = made.weight[~made.keep]
    assert not gone.any() and not torch.signbit(gone).any()


@pytest.mark.parametrize("budget", BUDGETS, ids=["row", "matrix", "2:4"])
def test_what_keeps_the_budget_stays_as_it_is_but_for_the_sign_of_zeros(
    budget: LayerBudget,
) -> None:
    own = exact(budget)
    made = settle(own, dense(), budget, torch.float32)
    assert made.projected == 0
    assert torch.equal(made.weight, own)
    assert bool(torch.signbit(own[own == 0]).any())
    check(made, budget)
    assert LayerBudget.from_json(budget.to_json()).quotas(SHAPE).equal(budget.quotas(SHAPE))


@pytest.mark.parametrize("budget", BUDGETS, ids=["row", "matrix", "2:4"])
def test_too_few_zeros_by_a_thousandth_the_smallest_of_the_program_s_go(
    budget: LayerBudget,
) -> None:
    own = exact(budget)
    place = (own == 0).nonzero()[0]
    own[tuple(place)] = 1e-6
    made = settle(own, dense(), budget, torch.float32)
    assert made.projected == 1
    assert not made.keep[tuple(place)]
    check(made, budget)


@pytest.mark.parametrize("budget", BUDGETS, ids=["row", "matrix", "2:4"])
def test_too_many_zeros_by_a_thousandth_the_largest_dense_ones_come_back(
    budget: LayerBudget,
) -> None:
    own, weight = exact(budget), dense()
    place = tuple((own == own.max()).nonzero()[0])
    own[place] = 0.0
    made = settle(own, weight, budget, torch.float32)
    assert made.projected == 1
    assert made.weight[place] == weight[place]
    check(made, budget)


@pytest.mark.parametrize("budget", BUDGETS, ids=["row", "matrix", "2:4"])
def test_zeros_of_the_dense_layer_do_not_count_against_a_program(budget: LayerBudget) -> None:
    weight = dense()
    weight[:, :6] = 0.0
    own = weight * 1.5 * topk(weight.abs() + torch.arange(100) * 1e-9, handed(budget))
    made = settle(own, weight, budget, torch.float32)
    assert made.projected == 0
    assert torch.equal(made.weight, own)
    check(made, budget)


def _scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda own: own * factor


def _filled(value: float) -> Callable[[Tensor], Tensor]:
    return lambda own: torch.where(own == 0, value, own)


# What a program may give back, and what the recount says.
BROKEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "dense": (lambda own: dense(), "wrong_budget"),
    "all zeros": (torch.zeros_like, "wrong_budget"),
    "zeros of another row": (lambda own: own.flip(0), "wrong_budget"),
    "denormals for zeros": (_filled(1e-41), "wrong_budget"),
    "tiny numbers for zeros": (_filled(1e-38), "wrong_budget"),
    "one NaN": (lambda own: own.index_fill(0, torch.tensor([3]), torch.nan), "nan_weights"),
    "infinite": (_scaled(1e39), "nan_weights"),
    "double": (lambda own: own.double(), "wrong_dtype"),
    "half": (lambda own: own.half(), "wrong_dtype"),
    "integers": (lambda own: own.long(), "wrong_dtype"),
    "transposed": (lambda own: own.T, "wrong_shape"),
    "a row short": (lambda own: own[1:], "wrong_shape"),
    "one more axis": (lambda own: own[None], "wrong_shape"),
    "one row for all": (lambda own: own[:1].expand(SHAPE), "wrong_budget"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_contract_is_refused_by_its_code(name: str) -> None:
    change, code = BROKEN[name]
    # Rows differ in what they owe, so that exchanging them is seen.
    with pytest.raises(CandidateRejectedError) as refused:
        settle(change(exact(ROW)), dense(), ROW, torch.float32, "q_proj")
    assert refused.value.code == code
    assert "q_proj" in refused.value.detail and len(refused.value.detail) <= 400


def test_giants_are_refused_by_the_type_they_are_saved_in_and_the_small_count_as_zeros() -> None:
    own = exact(ROW)
    assert settle(own * 1e5, dense(), ROW, torch.bfloat16).projected == 0
    with pytest.raises(CandidateRejectedError, match="nan_weights"):
        settle(own * 1e5, dense(), ROW, torch.float16)
    with pytest.raises(CandidateRejectedError, match="wrong_budget"):
        settle(own * 1e-9, dense(), ROW, torch.float16)


def test_a_view_of_the_inputs_is_copied_and_the_numbers_say_what_is_wrong() -> None:
    weight = dense()
    own = exact(ROW).T.contiguous().T
    made = settle(own, weight, ROW, torch.float32)
    own.zero_()
    assert int(made.keep.sum()) == int((made.weight != 0).sum()) == 4000 - 2010
    with pytest.raises(CandidateRejectedError) as refused:
        settle(weight, weight, MATRIX, torch.float32)
    assert "2010 of 4000" in refused.value.detail
    assert "4 may be" in refused.value.detail
    assert "has 0 zeros and owes 2010" in refused.value.detail


@pytest.mark.parametrize("budget", BUDGETS, ids=["row", "matrix", "2:4"])
def test_budgets_of_column_blocks_add_up(budget: LayerBudget) -> None:
    widths = [48, 48, 4]
    cut = parts(handed(budget), widths)
    assert len(cut) == 3
    assert sum(part["zeros"] for part in cut) == handed(budget)["zeros"]
    if budget is ROW:
        assert torch.equal(sum(part["rows"] for part in cut), ROW.quotas(SHAPE))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"group": "global"}, "budget for each matrix"),
        ({"repair": "mrp"}, "moves the weights that stay by itself"),
        ({"scoring": "dense"}, "really has"),
    ],
)
def test_plans_that_are_not_for_programs_are_refused(plan: dict[str, str], words: str) -> None:
    model = tiny_model("llama")
    built = PruningPlan.build(0.5, **{"scoring": "sequential", **plan})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        prune(
            model, ByProgram(Candidate.parse("program:wanda"), GivenRunner()), built,
            windows=random_windows(), layers=prunable_linears(model),
        )  # fmt: skip
    with pytest.raises(UsageError, match="only in the sandbox"):
        prune(
            model, ByProgram(Candidate.parse("program:wanda"), None),
            PruningPlan.build(0.5, scoring="sequential"),
            windows=random_windows(), layers=prunable_linears(model),
        )  # fmt: skip


def test_constants_and_files_are_read_and_never_run(tmp_path: object) -> None:
    assert declared_constants('PARAMS = {"a": 1, "b": -2.5}\nraise SystemExit') == {
        "a": 1.0,
        "b": -2.5,
    }
    for text in ('{"a": 1 / 0}', "{'a': float('nan')}", "[1]", "{'a': 1e999}", "{'a': 'b'}"):
        with pytest.raises(UsageError, match="finite numbers by name"):
            declared_constants(f"PARAMS = {text}\n")
    for text in ("{'a': 1e13}", "{'a': -1e13}", "{'\\ud800': 1}"):
        with pytest.raises(UsageError, match=r"at most 1e\+12 in size"):
            declared_constants(f"PARAMS = {text}\n")
    assert declared_constants("def (") == {} == declared_constants("PARAMS: dict")
    annotated = 'PARAMS: dict\nPARAMS: dict = {"axis": -1, "damp": 0.01, "shift": -2.0}\n'
    declared = {"axis": -1.0, "damp": 0.01, "shift": -2.0}
    assert declared_constants(annotated) == declared
    assert whole_constants(annotated) == {"axis"}
    assert '"axis": -3, "damp": 0.5' in with_constants(annotated, {"axis": -3.0, "damp": 0.5})
    with pytest.raises(UsageError, match="did you mean wanda"):
        program_source("wnda")
    with pytest.raises(UsageError, match="cannot be read"):
        program_source(f"{tmp_path}/absent.py")
    recipe = Recipe.parse("program:mrp+ramp+ebft")
    assert recipe.scoring == "sequential" and recipe.metric.params == {"damp": 0.01}
    assert Recipe.from_json(recipe.to_json()) == recipe
