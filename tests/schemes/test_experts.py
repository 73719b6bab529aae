"""Fewer experts: masked, sliced and reloaded are one model in every family; exact criteria."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks
from autoprune.schemes import Experts, build_scheme, shrink
from autoprune.schemes.expert_parts import expert_parts, slice_experts
from tests.support.logits import TEXT, logits
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model
from tests.support.upcycled import upcycled

WINDOWS = random_windows(4, 12)
SMALL = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
LATENT = {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}
DEEP = LATENT | {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
DEEP |= {"num_key_value_heads": 4, "n_shared_experts": 1, "first_k_dense_replace": 1}
SHAPE = {"vocab_size": 96, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
SHAPE |= {"num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0}
# Dense blocks among others, shared experts, weights that do not sum to 1, groups, biases.
MIXTURES = {
    "mixtral": ("MixtralConfig", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "qwen2_moe": ("Qwen2MoeConfig", SMALL | {"shared_expert_intermediate_size": 8}),
    "qwen3_moe": ("Qwen3MoeConfig", SMALL | {"head_dim": 4, "mlp_only_layers": [0]}),
    "olmoe": ("OlmoeConfig", {"num_experts": 8, "num_experts_per_tok": 2}),
    "deepseek_v2": ("DeepseekV2Config", DEEP | {"q_lora_rank": 8}),
    "deepseek_v3": ("DeepseekV3Config", DEEP | {"q_lora_rank": 8, "n_group": 2, "topk_group": 1}),
    "gpt_oss": ("GptOssConfig", SMALL | {"num_local_experts": 8, "head_dim": 4}),
}


def mixture(family: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> PreTrainedModel:
    name, values = MIXTURES[family]
    given = SHAPE | {"num_key_value_heads": 2, "eos_token_id": None} | values | changes
    monkeypatch.setitem(FAMILIES, family, lambda: getattr(transformers, name)(**given))
    model = tiny_model(family)
    for module in model.modules():
        # Zero in a new model, and it decides among experts in a trained one.
        bias = getattr(module, "e_score_correction_bias", None)
        if bias is not None:
            bias.copy_(torch.linspace(-0.2, 0.2, len(bias)).flip(0))
    return model


@pytest.mark.parametrize("family", MIXTURES)
def test_masked_sliced_and_reloaded_are_one_model(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scheme = mixture(family, monkeypatch), Experts()
    dense, state = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    part = next(part for part in expert_parts(model) if part is not None)
    layers = sum(part is not None for part in expert_parts(model))
    own = part.experts.gate_up_proj[0].numel() + part.experts.down_proj[0].numel() + 16
    own += 48 + 16 + 1 if family == "gpt_oss" else 0
    plan = scheme.plan(model, WINDOWS, 0.5)
    with scheme.masked(model, plan):
        masked = logits(model)
    assert torch.equal(logits(model), dense)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    whole = model.num_parameters()
    scheme.apply(model, plan)
    sliced = logits(model)
    torch.testing.assert_close(masked, sliced, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(sliced, dense, atol=1e-2)
    assert whole - model.num_parameters() == plan.before - plan.after == layers * 4 * own
    save_model(model, None, tmp_path / "out", {})
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert all(torch.equal(v, opened.state_dict()[k]) for k, v in model.state_dict().items())
    # Equal weights that lie elsewhere in memory may be summed in another order.
    torch.testing.assert_close(logits(opened), sliced, rtol=1e-5, atol=1e-6)
    assert expert_parts(opened)[-1].count == 4
    asked = {"max_new_tokens": 8, "do_sample": False}
    cached, uncached = (opened.generate(TEXT[:1], use_cache=on, **asked) for on in (True, False))
    assert torch.equal(cached, uncached) and cached.shape[1] == TEXT.shape[1] + 8


@pytest.mark.parametrize("text", ["experts", "depth:patch=none+experts:criterion=reap"])
def test_a_share_of_nothing_changes_no_bit(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture("mixtral", monkeypatch)
    dense = logits(model)
    assert shrink(model, build_scheme(text), 0.0, WINDOWS).plan.steps == ()
    assert torch.equal(logits(model), dense)


@torch.no_grad()
def errors_by_slicing(make: Callable[[], PreTrainedModel], kept: int) -> list[dict[tuple, float]]:
    """Squared change of each block's output, by subset, from really smaller blocks."""
    model = make()
    seen: list[list[torch.Tensor]] = [[] for _ in find_blocks(model)]
    for number, block in enumerate(find_blocks(model)):
        block.mlp.register_forward_hook(
            lambda _, args, out, n=number: seen[n].extend((args[0].clone(), out.clone()))
        )
    model(WINDOWS, use_cache=False)
    found: list[dict[tuple, float]] = [{} for _ in seen]
    for subset in itertools.combinations(range(6), kept):
        smaller = make()
        slice_experts(smaller, (subset,) * len(seen))
        for number, (x, dense) in enumerate(seen):
            change = find_blocks(smaller)[number].mlp(x).double() - dense.double()
            found[number][subset] = float(change.square().sum())
    return found


def test_the_exhaustive_choice_is_the_best_of_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    # Weights that do not sum to 1: what a token gets depends on the experts that it does not take.
    def make() -> PreTrainedModel:
        return mixture("qwen2_moe", monkeypatch, num_experts=6, num_hidden_layers=2)

    by_hand = errors_by_slicing(make, 4)
    model = make()
    best = Experts("exhaustive").plan(model, WINDOWS, 1 / 3)
    greedy = Experts("greedy").plan(model, WINDOWS, 1 / 3)
    others = [Experts(name).plan(model, WINDOWS, 1 / 3) for name in ("reap", "frequency", "random")]
    for number, errors in enumerate(by_hand):
        kept = best.steps[0].experts[number]
        assert kept == min(errors, key=errors.__getitem__)
        shares = [plan.facts["experts"]["errors"][str(number)] for plan in (best, greedy)]
        ratio = errors[kept] / errors[greedy.steps[0].experts[number]]
        assert shares[0] / shares[1] == pytest.approx(ratio, rel=1e-3) and ratio <= 1.0
        assert all(errors[plan.steps[0].experts[number]] >= errors[kept] for plan in others)
    # Each step of the greedy one is the best single removal.
    first = Experts("greedy").plan(model, WINDOWS, 1 / 6)
    assert first.steps == Experts("exhaustive").plan(model, WINDOWS, 1 / 6).steps


def test_permuted_experts_permute_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    order = [3, 7, 0, 5, 1, 6, 2, 4]
    for criterion in ("exhaustive", "greedy", "reap", "frequency"):
        model = mixture("mixtral", monkeypatch, num_hidden_layers=1)
        chosen = Experts(criterion).plan(model, WINDOWS, 0.25).steps[0].experts[0]
        with torch.no_grad():
            mlp = find_blocks(model)[0].mlp
            for weight in (mlp.gate.weight, mlp.experts.gate_up_proj, mlp.experts.down_proj):
                weight.copy_(weight[order].clone())
        again = Experts(criterion).plan(model, WINDOWS, 0.25).steps[0].experts[0]
        assert {order[new] for new in again} == set(chosen), criterion


def test_reap_and_frequency_are_the_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture("mixtral", monkeypatch, num_hidden_layers=1)
    found = [Experts(c).plan(model, WINDOWS, 0.25).facts for c in ("reap", "frequency")]
    mlp, seen = find_blocks(model)[0].mlp, []
    mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, 1)))
    with torch.no_grad():
        model(WINDOWS, use_cache=False)
        x = seen[0]
        top, numbers = torch.softmax(x @ mlp.gate.weight.T, -1).topk(2)
        top = top / top.sum(-1, keepdim=True)
        reap, counts = torch.zeros(8), torch.zeros(8)
        for token, weights, taken in zip(x, top, numbers, strict=True):
            for w, e in zip(weights, taken, strict=True):
                gate, up = (mlp.experts.gate_up_proj[e] @ token).chunk(2)
                out = mlp.experts.down_proj[e] @ (torch.nn.functional.silu(gate) * up)
                reap[e] += w * out.norm()
                counts[e] += 1
    scores = [torch.tensor(f["experts"]["scores"]["0"], dtype=torch.float32) for f in found]
    torch.testing.assert_close(scores[0], reap / counts.clamp_min(1), rtol=1e-4, atol=1e-6)
    assert torch.equal(scores[1], counts)


def test_groups_keep_as_many_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture("deepseek_v3", monkeypatch)
    plan = Experts().plan(model, WINDOWS, 0.4)
    assert plan.steps[0].experts[0] == ()
    for kept in plan.steps[0].experts[1:]:
        assert [sum(e // 4 == group for e in kept) for group in (0, 1)] == [2, 2]
    with pytest.raises(UsageError, match=r"4 must stay, a share of at most 0\.5"):
        Experts().plan(model, WINDOWS, 0.75)
    with pytest.raises(UsageError, match="must stay equal"):
        Experts("greedy").plan(model, WINDOWS, 0.5)


def test_what_cannot_be_done_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture("mixtral", monkeypatch)
    dense = logits(model)
    with pytest.raises(UsageError, match="leaves 1 of 8 experts, and each token takes 2"):
        shrink(model, Experts(), 0.9, WINDOWS)
    with pytest.raises(UsageError, match="too small"):
        shrink(model, Experts(), 0.05, WINDOWS)
    assert torch.equal(logits(model), dense)
    with pytest.raises(AutopruneError, match=r"has none.*--scheme depth"):
        shrink(tiny_model("llama"), Experts(), 0.5, WINDOWS)
    many = mixture("mixtral", monkeypatch, num_local_experts=20, num_hidden_layers=1)
    with pytest.raises(UsageError, match="184,756 ways"):
        Experts("exhaustive").plan(many, WINDOWS, 0.5)
    assert Experts().plan(many, WINDOWS, 0.5).facts["experts"]["criterion"] == "reap"


def test_blocks_and_experts_make_up_a_share_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture("qwen3_moe", monkeypatch, num_hidden_layers=6)
    made = shrink(model, build_scheme("depth:protect=1-0+experts:criterion=random"), 0.5, WINDOWS)
    expert = next(part for part in expert_parts(model) if part is not None).parameters
    blocks = find_blocks(model)
    assert len(blocks) < 6
    assert abs(made.plan.share - 0.5) * made.plan.before <= len(blocks) * expert / 2


def test_an_upcycled_model_is_the_dense_one_and_loses_nothing_with_its_copies() -> None:
    dense = tiny_model("llama")
    model = upcycled(dense, 4)
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
    made = shrink(model, Experts("exhaustive"), 0.5, WINDOWS)
    torch.testing.assert_close(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
    assert all(error < 1e-8 for error in made.plan.facts["experts"]["errors"].values())
    apart = upcycled(dense, 4, noise=0.5)
    assert not torch.allclose(logits(apart), logits(dense), atol=1e-2)
