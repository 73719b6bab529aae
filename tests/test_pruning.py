"""One-shot pruning: Wanda bit by bit against a straight implementation, exact budgets, restore."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autoprune.allocation import ModelContext
from autoprune.candidate import Candidate
from autoprune.errors import UsageError
from autoprune.masking import budget_zeros, masks_digest
from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.pruning import DenseWeights, MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.statistics.statistics import collect_statistics
from tests.support.pruned import OwnScore
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model
from tests.support.whole_model import whole_model_inputs


def matrices_by_hand(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every matrix that is pruned, [o, i], as a reader of the family's source would list them."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, Conv1D):
            found[name] = module.weight.detach().t()
        elif isinstance(module, nn.Linear) and module is not model.get_output_embeddings():
            found[name] = module.weight.detach()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3:  # fused experts, [experts, o, i], in one family [experts, i, o]
            one = parameter.detach().mT if model.config.model_type == "gpt_oss" else parameter
            found |= {f"{name}[{expert}]": w.detach() for expert, w in enumerate(one)}
    # Mamba reads the weight of its step projection and never calls it.
    left = ("project_", "dt_proj", "conv1d")
    return {name: w for name, w in found.items() if not any(part in name for part in left)}


def wanda_by_hand(model: PreTrainedModel, windows: Tensor, share: float) -> dict[str, Tensor]:
    """Row-wise Wanda masks from plain passes of the whole model and a stable sort per row."""
    inputs = whole_model_inputs(model, windows)
    masks = {}
    for name, weight in matrices_by_hand(model).items():
        scores = weight.double().abs() * inputs[name].double().square().sum(0).sqrt()
        order = scores.argsort(dim=1, stable=True)
        keep = torch.ones_like(scores, dtype=torch.bool)
        keep.scatter_(1, order[:, : round(share * weight.shape[1])], False)
        masks[name] = keep
    return masks


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_wanda_equals_a_straight_implementation(family: str) -> None:
    # Text enough that every expert is reached.
    model, windows = tiny_model(family), random_windows(6, 24)
    # A quarter divides every row of the tiny models, so row quotas need no remainders.
    reference = wanda_by_hand(model, windows, 0.25)
    statistics = collect_statistics(model, windows)
    layers = prunable_linears(model)
    score = MetricScore(build_metric("wanda"))
    outcome = prune(model, score, PruningPlan.build(0.25), statistics=statistics)
    assert outcome.keep.keys() == reference.keys()
    for layer in layers:
        assert torch.equal(outcome.keep[layer.name], reference[layer.name]), layer.name
        assert not layer.read()[~reference[layer.name]].any()
    assert outcome.mask_digest == masks_digest(reference)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gpt_oss", "deepseek_v3"])
@pytest.mark.parametrize(
    ("group", "allocation"),
    [
        *product(["row", "matrix", "block"], ["uniform", "sdsa", "owl:level=projection", "ramp"]),
        ("global", "uniform"),
    ],
)
def test_the_budget_is_exact_to_one_weight(family: str, group: str, allocation: str) -> None:
    model = tiny_model(family)
    layers = prunable_linears(model)
    statistics = collect_statistics(model, random_windows(2, 12))
    plan = PruningPlan.build(0.637, group=group, allocation=allocation)  # type: ignore[arg-type]
    dense = sum(int((layer.read() == 0).sum()) for layer in layers)
    assert dense == 0
    score = MetricScore(build_metric("magnitude"))
    outcome = prune(model, score, plan, statistics=statistics)
    total = sum(layer.numel for layer in layers)
    zeros = sum(int((layer.read() == 0).sum()) for layer in layers)
    assert zeros == outcome.zeros == budget_zeros(0.637, total)
    assert outcome.prunable == total
    for layer in layers:
        share = int((layer.read() == 0).sum()) / layer.numel
        assert outcome.layer_sparsity[layer.name] == pytest.approx(share)


@pytest.mark.parametrize("repair", ["none", "mrp", "sparsegpt"])
def test_patterns_hold_in_the_model(repair: str) -> None:
    model = tiny_model("llama")
    layers = prunable_linears(model)
    statistics = collect_statistics(model, random_windows(4, 16), needs={"x_norm", "gram"})
    plan = PruningPlan.build(None, pattern="2:4", repair=repair)
    score = MetricScore(build_metric("wanda"))
    outcome = prune(model, score, plan, statistics=statistics)
    assert outcome.sparsity == 0.5
    for layer in layers:
        groups = (layer.read() == 0).reshape(-1, 4)
        assert bool((groups.sum(1) == 2).all())


def test_dense_weights_come_back_bit_by_bit_even_after_an_error() -> None:
    for family in ("llama", "gpt2", "mixtral"):
        model, windows = tiny_model(family), random_windows()
        layers = prunable_linears(model)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        logits = model(input_ids=windows).logits
        with pytest.raises(RuntimeError, match="measured"), DenseWeights(layers):
            prune(model, MetricScore(build_metric("magnitude")), PruningPlan(0.5))
            assert not torch.equal(model(input_ids=windows).logits, logits)
            raise RuntimeError("measured")
        after = model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_repair_lowers_the_output_error_of_every_layer() -> None:
    model = tiny_model("llama")
    layers = prunable_linears(model)
    statistics = collect_statistics(model, random_windows(8, 32), needs={"x_norm", "gram"})
    score = MetricScore(build_metric("wanda"))
    dense = {layer.name: layer.read().clone() for layer in layers}
    errors: dict[str, dict[str, float]] = {}
    for repair in ("none", "mrp"):
        with DenseWeights(layers):
            plan = PruningPlan.build(0.5, repair=repair)
            prune(model, score, plan, statistics=statistics)
            errors[repair] = {}
            for layer in layers:
                gap = layer.read() - dense[layer.name]
                gram = statistics.of(layer.name)["gram"]
                errors[repair][layer.name] = float(((gap @ gram) * gap).sum())
    assert all(errors["mrp"][name] < errors["none"][name] for name in errors["none"])


def test_a_context_remembers_what_is_costly() -> None:
    model = tiny_model("llama")
    layers = prunable_linears(model)
    context = ModelContext(layers)
    plan = PruningPlan.build(0.5, allocation="alpha")
    score = MetricScore(build_metric("magnitude"))
    digests = set()
    for _ in range(2):
        with DenseWeights(layers):
            digests.add(prune(model, score, plan, context=context).mask_digest)
    assert len(digests) == 1
    assert any(key.startswith("spectrum") for key in context._memory)


def test_a_recipe_becomes_a_plan() -> None:
    recipe = Recipe(Candidate("builtin", "wanda"), "matrix", "sdsa:strength=0.2", "sparsegpt")
    plan = PruningPlan.of_recipe(recipe, 0.6, seed=3)
    assert plan == PruningPlan.build(
        0.6, group="matrix", allocation="sdsa:strength=0.2", repair="sparsegpt", seed=3
    )
    assert plan.needs == {"gram"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "outside 0 ≤ s < 1"),
        ({"sparsity": 60}, "not a percentage"),
        ({"sparsity": None}, "no sparsity was given"),
        ({"sparsity": 0.6, "pattern": "2:4"}, "contradicts pattern 2:4"),
        ({"sparsity": None, "pattern": "2:4", "allocation": "sdsa"}, "can change nothing"),
        ({"sparsity": 0.5, "pattern": "4:2"}, "1 ≤ N < M"),
        ({"sparsity": 0.5, "group": "global", "allocation": "ramp"}, "'ramp' can change nothing"),
    ],
)
def test_impossible_plans_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PruningPlan.build(**arguments)  # type: ignore[arg-type]


def test_bad_scores_are_refused_before_a_weight_changes() -> None:
    model = tiny_model("llama")
    layers = prunable_linears(model)
    before = {layer.name: layer.read().clone() for layer in layers}
    plan = PruningPlan(0.5)
    with pytest.raises(UsageError, match=r"q_proj have shape \[16\], its weight has \[16, 16\]"):
        prune(model, OwnScore(lambda layer: torch.ones(layer.shape[0])), plan)
    with pytest.raises(UsageError, match=r"self_attn\.q_proj: 256 of 256 scores are NaN"):
        prune(model, OwnScore(lambda layer: layer.read() * float("nan")), plan)
    with pytest.raises(UsageError, match=r"not a multiple of 5"):
        nm = PruningPlan.build(None, pattern="2:5")
        prune(model, OwnScore(lambda layer: layer.read().abs()), nm)
    with pytest.raises(UsageError, match="one per block"):
        given = PruningPlan.build(0.5, allocation="given:0.5/0.5")
        prune(model, OwnScore(lambda layer: layer.read().abs()), given)
    assert all(torch.equal(layer.read(), before[layer.name]) for layer in layers)
