"""Width: scores, shapes and the fit of the matrix behind the units."""

import pytest
import torch
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError
from autoprune.schemes import Width, build_scheme, shrink
from autoprune.schemes.surgery import require_reopens
from autoprune.schemes.units import unit_layout
from autoprune.schemes.width import narrowed
from tests.support.tiny_models import random_windows, tiny_model

WINDOWS = random_windows(8, 12)
DEAD = {0: [1, 5, 9, 20], 1: [0, 2, 3, 23], 2: [4, 5, 6, 7]}


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama", head_dim=6)


def test_a_unit_has_its_closed_form(model: PreTrainedModel) -> None:
    layout = unit_layout(model)
    assert (layout.neurons, layout.groups, layout.heads, layout.head_dim) == (24, 2, 2, 6)
    assert layout.neuron_parameters == 3 * 16
    assert layout.group_parameters == 2 * 6 * 16 * 2 + 2 * 6 * 16
    biased = unit_layout(tiny_model("qwen2"))
    assert biased.group_parameters == 2 * 4 * 17 + 2 * 4 * 17 + 2 * 4 * 16
    assert unit_layout(tiny_model("olmo2"), attention=False).groups == 0


@pytest.mark.parametrize("score", ["wanda", "flap", "magnitude", "taylor"])
def test_neurons_that_do_nothing_go_first(model: PreTrainedModel, score: str) -> None:
    with torch.no_grad():
        for number, dead in DEAD.items():
            mlp = model.model.layers[number].mlp
            for rows in (mlp.gate_proj.weight, mlp.up_proj.weight):
                rows[dead] = 0.0
            mlp.down_proj.weight[:, dead] = 0.0
    dense = model(WINDOWS).logits
    scheme = build_scheme(f"width:score={score},parts=mlp")
    layout = unit_layout(model, attention=False)
    share = (
        3 * 4 * layout.neuron_parameters / sum(p.numel() for p in model.model.layers.parameters())
    )
    plan = scheme.plan(model, WINDOWS, share)
    for number, kept in enumerate(plan.steps[0].neurons):
        assert sorted(set(range(24)) - set(kept)) == DEAD[number]
    with scheme.masked(model, plan):
        torch.testing.assert_close(model(WINDOWS).logits, dense, rtol=1e-4, atol=1e-4)


def test_wanda_scores_are_the_plain_ones(model: PreTrainedModel) -> None:
    plan = Width(score="wanda", fit=False).plan(model, WINDOWS, 0.5)
    first = model.model.layers[0]
    seen: dict[str, torch.Tensor] = {}
    for name, module in (("o", first.self_attn.o_proj), ("down", first.mlp.down_proj)):
        module.register_forward_pre_hook(
            lambda _, args, name=name: seen.__setitem__(name, args[0].flatten(0, -2))
        )
    with torch.no_grad():
        model(WINDOWS)
        columns = first.self_attn.o_proj.weight.abs().mean(0) * seen["o"].square().mean(0).sqrt()
        (group,) = plan.steps[0].groups[0]
        assert group == int(columns.reshape(2, -1).sum(1).argmax())
        gone = [n for n in range(24) if n // 12 != group]
        first.self_attn.o_proj.weight[:, gone] = 0.0
        model(WINDOWS)
        neurons = first.mlp.down_proj.weight.abs().mean(0) * seen["down"].square().mean(0).sqrt()
    kept = plan.steps[0].neurons[0]
    assert kept == tuple(neurons.topk(len(kept)).indices.sort().values.tolist())


def test_the_share_is_met_with_whole_groups_and_neurons(model: PreTrainedModel) -> None:
    layout, scheme = unit_layout(model), Width()
    parameters = 3 * (24 * 48 + 2 * layout.group_parameters + 32)
    assert scheme.shape(layout, parameters, 0.0) == (24, 2)
    assert scheme.shape(layout, parameters, 0.3)[1] == 2
    assert scheme.shape(layout, parameters, 0.5)[1] == 1
    for target in (0.1, 0.3, 0.5, 0.7):
        neurons, groups = scheme.shape(layout, parameters, target)
        lost = (24 - neurons) * 48 + (2 - groups) * layout.group_parameters
        assert abs(lost - target * parameters / 3) <= 24


def test_heads_that_a_configuration_cannot_say_stay() -> None:
    # Llama wants heads that divide the hidden size, 16 here.
    model = tiny_model("llama", num_attention_heads=8, num_key_value_heads=8, head_dim=2)
    assert unit_layout(model).group_counts == (8, 4, 2, 1)
    made = shrink(model, Width(), 0.4, WINDOWS)
    assert model.config.num_attention_heads == 8 and abs(made.plan.share - 0.4) < 0.02
    require_reopens(model)
    model.config.num_attention_heads = 3
    with pytest.raises(AutopruneError, match="LlamaConfig refuses this shape"):
        require_reopens(model)


def test_the_fit_is_the_least_squares_one() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    x = torch.randn(200, 8, generator=generator, dtype=torch.float64)
    x[:, 6] = x[:, :3].sum(1) + 0.1 * x[:, 6]
    keep = torch.tensor([0, 1, 2, 3, 5])
    fitted = narrowed(weight, keep, x.T @ x / 200)
    assert not fitted[:, [4, 6, 7]].any()
    best = torch.linalg.lstsq(x[:, keep], x @ weight.T).solution.T
    errors = [
        float((x @ (w - weight).T).square().sum())
        for w in (narrowed(weight, keep, None), fitted, narrowed(best_of(best, keep), keep, None))
    ]
    assert errors[2] <= errors[1] < 1.01 * errors[2] < errors[0]


def best_of(values: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    whole = torch.zeros(len(values), 8, dtype=values.dtype)
    whole[:, keep] = values
    return whole


@pytest.mark.parametrize("rates", ["uniform", "ramp:half_width=0.3"])
def test_neurons_are_kept_in_multiples(rates: str) -> None:
    model = tiny_model("llama", intermediate_size=96)
    dense = shape_of(model)
    scheme = build_scheme(f"width:parts=mlp,multiple=16,rates={rates}")
    plan = scheme.plan(model, WINDOWS, 0.3)
    kept = [len(numbers) for numbers in plan.steps[0].neurons]
    assert all(count % 16 == 0 and 0 < count <= 96 for count in kept)
    assert (len(set(kept)) == 1) is (rates == "uniform")
    # The nearest: half of a pack in each block for one number, of one pack in all for rates.
    packs = len(kept) if rates == "uniform" else 1
    pack = 16 * unit_layout(model, attention=False).neuron_parameters
    assert abs(plan.share - 0.3) * plan.before <= packs * pack / 2
    with scheme.masked(model, plan):
        masked = model(WINDOWS).logits
    scheme.apply(model, plan)
    torch.testing.assert_close(model(WINDOWS).logits, masked, rtol=1e-4, atol=1e-4)
    assert [mlp[0] for mlp in shape_of(model)] == kept != [mlp[0] for mlp in dense]


def shape_of(model: PreTrainedModel) -> list[torch.Size]:
    return [layer.mlp.gate_proj.weight.shape for layer in model.model.layers]


def test_a_number_that_runtimes_do_not_pack_is_noted() -> None:
    model = tiny_model("llama", intermediate_size=64)
    odd, even = (
        build_scheme(f"width:parts=mlp,multiple={number}").plan(model, WINDOWS, 0.3)
        for number in (1, 32)
    )
    assert any("width:multiple=32" in note for note in odd.notes) and even.notes == ()
    # Its own number is no multiple of 32 either: nothing is lost.
    assert build_scheme("width").plan(tiny_model("llama"), WINDOWS, 0.3).notes == ()


@pytest.mark.parametrize(
    ("multiple", "message"), [(7, "does not divide the 24"), (0, "1 or above")]
)
def test_a_multiple_that_cannot_be_met_is_refused(
    model: PreTrainedModel, multiple: int, message: str
) -> None:
    with pytest.raises(AutopruneError, match=message):
        Width(multiple=multiple).plan(model, WINDOWS, 0.3)
