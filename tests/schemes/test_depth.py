"""Depth: each criterion against a plain recomputation, and the patch of a seam."""

import math
from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Llama4TextConfig, PreTrainedModel

from autoprune.design.scheme_moves import genes_of
from autoprune.errors import AutopruneError, UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.models.capture import BlockStream
from autoprune.models.structure import find_blocks
from autoprune.schemes import Depth, build_scheme, importance, shrink
from autoprune.schemes.exchange import exchange_blocks
from autoprune.schemes.importance import influences, losses_without, magnitudes, taylor
from autoprune.schemes.seam import Form, _Sums, patch_seams
from autoprune.schemes.spread import spread
from autoprune.schemes.surgery import remove_blocks, without_blocks, written
from tests.support.tiny_models import random_windows, tiny_model

BLOCKS = 6
WINDOWS = random_windows(8, 12)


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama", num_hidden_layers=BLOCKS)


def plan_of(model: PreTrainedModel, text: str, target: float) -> list[int]:
    plan = build_scheme(text).plan(model, WINDOWS, target)
    return list(plan.facts["depth"]["removed_in_order"])


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_losses_are_those_of_models_without_one_block(family: str) -> None:
    model = tiny_model(family)
    found = losses_without(model, WINDOWS, [0, 1, 2])
    for number, loss in found.items():
        with without_blocks(model, [number]):
            wanted = math.log(evaluate_windows(model, WINDOWS).perplexity)
        assert loss == pytest.approx(wanted, rel=1e-6)


def test_a_scan_reads_no_more_text_than_ranks_need(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [(16, 256), (8, 512), (16, 512), (3, 1000), (1, 8192)]
    read = [len(importance.scan_windows(torch.zeros(n, s, dtype=torch.long))) for n, s in shapes]
    assert read == [16, 8, 8, 3, 1]
    monkeypatch.setattr(importance, "SCAN_TOKENS", 2 * WINDOWS.shape[1])
    assert len(WINDOWS) > 2
    for text in ("depth", "depth:criterion=greedy", "depth:criterion=search", "depth:patch=none"):
        scheme = build_scheme(text)
        facts = scheme.plan(model, WINDOWS, 0.5).facts["depth"]
        short = scheme.plan(model, WINDOWS[:2], 0.5).facts["depth"]
        assert facts["removed_in_order"] == short["removed_in_order"]
        assert facts["scores"] == short["scores"]
        assert facts.get("loss") == short.get("loss")
        # A seam is fitted on all of the text.
        assert (facts.get("seam_errors") == short.get("seam_errors")) is ("patch=none" in text)


def test_influence_taylor_and_magnitude_are_the_plain_ones(model: PreTrainedModel) -> None:
    with torch.no_grad():
        states = model(WINDOWS, output_hidden_states=True).hidden_states
    # The last state of the tuple is normed already.
    for number in range(BLOCKS - 1):
        cosine = nn.functional.cosine_similarity(states[number], states[number + 1], dim=-1)
        assert influences(model, WINDOWS)[number] == pytest.approx(1 - float(cosine.mean()))
    summed = taylor(model, WINDOWS)
    sizes = magnitudes(model)
    assert all(p.grad is None for p in model.parameters())
    loss = sum(nn.functional.cross_entropy(model(w[None]).logits[0, :-1], w[1:]) for w in WINDOWS)
    loss.backward()
    for number, block in enumerate(find_blocks(model)):
        wanted = sum(float((p * p.grad).detach().abs().sum()) for p in block.parameters())
        assert summed[number] == pytest.approx(wanted, rel=1e-4)
        assert sizes[number] == pytest.approx(
            sum(float(p.detach().abs().sum()) for p in block.parameters())
        )


def test_greedy_removes_the_best_of_what_is_left_and_its_sets_are_nested(
    model: PreTrainedModel,
) -> None:
    order = plan_of(model, "depth:criterion=greedy,patch=none", 0.5)
    assert len(order) == 3
    assert plan_of(model, "depth:criterion=greedy,patch=none", 0.34) == order[:2]
    for step, chosen in enumerate(order):
        left = [n for n in range(BLOCKS) if n not in order[:step]]
        losses = {}
        for number in left:
            with without_blocks(model, [*order[:step], number]):
                losses[number] = evaluate_windows(model, WINDOWS).perplexity
        assert chosen == min(losses, key=losses.__getitem__)


class Added(nn.Module):
    """A block that adds a constant, with as many parameters as the block that it replaces."""

    def __init__(self, value: float, like: nn.Module) -> None:
        super().__init__()
        count = sum(p.numel() for p in like.parameters())
        # By its linear maps a block is known as one.
        self.unused = nn.Linear(1, 1, bias=False)
        self.added = nn.Parameter(torch.zeros(count - 1))
        with torch.no_grad():
            self.added[:8] = value

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return hidden + self.added[: hidden.shape[-1]]


def loss_without(
    model: PreTrainedModel, removed: Sequence[int], windows: torch.Tensor = WINDOWS
) -> float:
    with without_blocks(model, removed):
        return math.log(evaluate_windows(model, windows).perplexity)


@torch.no_grad()
def test_search_finds_the_set_that_single_removals_miss(model: PreTrainedModel) -> None:
    # Two blocks that undo each other: without both the model is as it was, without one it is not.
    blocks = find_blocks(model)
    blocks[1], blocks[2] = Added(2.0, blocks[1]), Added(-2.0, blocks[2])
    # Text of its own, which it therefore knows best as it is.
    model.get_output_embeddings().weight.mul_(50.0)
    torch.manual_seed(0)
    windows = model.generate(WINDOWS[:, :1], do_sample=True, top_k=0, use_cache=False,
                             min_new_tokens=24, max_new_tokens=24, pad_token_id=0)  # fmt: skip
    losses = {pair: loss_without(model, pair, windows) for pair in combinations(range(BLOCKS), 2)}
    best = min(losses, key=losses.__getitem__)
    alone = build_scheme("depth:patch=none").plan(model, windows, 1 / 3).steps[0].blocks
    assert best == (1, 2) != alone
    found = build_scheme("depth:criterion=search,patch=none").plan(model, windows, 1 / 3)
    facts = found.facts["depth"]
    assert found.steps[0].blocks == best and facts["tried"] == math.comb(BLOCKS, 2) - 1
    assert facts["loss"] == pytest.approx(losses[best])
    assert facts["loss_at_first"] == pytest.approx(losses[alone])


def test_search_is_never_worse_than_its_start_keeps_the_target_and_repeats(
    model: PreTrainedModel,
) -> None:
    for seed in range(3):
        found = build_scheme("depth:criterion=search,trials=3,protect=1-1,patch=none")
        first, again = (found.plan(model, WINDOWS, 0.5, seed=seed) for _ in range(2))
        facts = first.facts["depth"]
        assert first.steps[0].blocks == again.steps[0].blocks and facts == again.facts["depth"]
        assert len(first.steps[0].blocks) == 3 and set(first.steps[0].blocks) <= {1, 2, 3, 4}
        start = plan_of(model, "depth:protect=1-1,patch=none", 0.5)
        assert facts["loss"] <= facts["loss_at_first"] == pytest.approx(loss_without(model, start))
        assert facts["tried"] == 3
    assert found.stochastic and "search" not in genes_of("depth")["depth", "criterion"]
    # One block: the best one is known without a search.
    (one,) = plan_of(model, "depth:criterion=search,patch=none", 1 / 6)
    assert [one] == plan_of(model, "depth:patch=none", 1 / 6)


def test_search_exchanges_blocks_of_one_size_only(model: PreTrainedModel) -> None:
    sizes = [1, 1, 2, 2, 1, 2]
    found = exchange_blocks(model, WINDOWS, [0, 2], range(BLOCKS), sizes, trials=50, seed=0)
    assert sum(sizes[n] for n in found.removed) == 3 and found.tried == 8


@pytest.mark.parametrize("criterion", ["influence", "taylor", "magnitude"])
def test_a_block_that_does_nothing_goes_first(model: PreTrainedModel, criterion: str) -> None:
    with torch.no_grad():
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            find_blocks(model)[3].get_submodule(name).weight.zero_()
    assert plan_of(model, f"depth:criterion={criterion},patch=none,protect=none", 1 / 6) == [3]


def test_protected_blocks_stay(model: PreTrainedModel) -> None:
    for criterion in ("taylor", "magnitude", "random"):
        assert Depth(criterion=criterion).protected(30) == {0, 1, 2, 3, 29}
    assert Depth().protected(30) == set()
    # All that may go is 1/3 of the blocks, exactly.
    for share in (0.33, 1 / 3, 0.4):
        assert set(plan_of(model, "depth:protect=3-1,criterion=influence", share)) == {3, 4}
    with pytest.raises(UsageError, match="more than the 2 blocks of 6 that may go"):
        plan_of(model, "depth:protect=3-1,criterion=influence", 0.45)


class Turned(nn.Module):
    """A block that adds a linear map of the second half of its hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Linear(16, 16, bias=False)
        self.turn.weight[:, :8] = 0.0

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return hidden + self.turn(hidden)


@torch.no_grad()
def test_a_seam_whose_block_was_linear_is_closed(model: PreTrainedModel) -> None:
    # Only the last matrix before the seam writes the second half of the hidden state.
    blocks = find_blocks(model)
    model.get_input_embeddings().weight[:, 8:] = 0.0
    for number in range(3):
        blocks[number].self_attn.o_proj.weight[8:] = 0.0
        blocks[number].mlp.down_proj.weight[slice(8) if number == 2 else slice(8, None)] = 0.0
    blocks[3] = Turned()
    windows = random_windows(32, 16, seed=2)
    dense = model(windows).logits
    patches = patch_seams(model, windows, [3])
    with without_blocks(model, [3]):
        open_seam = model(windows).logits
        with written(model, patches.weights):
            closed = model(windows).logits
    assert set(patches.weights) == {"model.layers.2.mlp.down_proj.weight"}
    assert patches.errors[2] < 1e-3
    assert (closed - dense).abs().mean() < 0.05 * (open_seam - dense).abs().mean()
    wanted = blocks[2].mlp.down_proj.weight + blocks[3].turn.weight @ blocks[2].mlp.down_proj.weight
    torch.testing.assert_close(
        patches.weights["model.layers.2.mlp.down_proj.weight"], wanted, rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("family", ["llama", "falcon"])
def test_a_patch_is_fitted_to_what_its_matrix_gives(family: str) -> None:
    model, windows = tiny_model(family, num_hidden_layers=4), random_windows(48, 16, seed=3)
    for name, value in model.named_parameters():
        if name.endswith("self_attention.dense.weight"):
            # Falcon adds this attention to the output in place, and the map does not apply to it.
            value.detach().mul_(20.0)
    patches = patch_seams(model, windows, [2])

    def after(number: int) -> Tensor:
        stream = BlockStream(model, windows, batch=len(windows))
        for _ in range(number):
            stream.advance()
        return stream.output(0).detach()

    def error(found: Tensor) -> float:
        # Relative to the token, as the fit weighs it.
        return float(((found - target).square().sum(-1) / weights).mean())

    target, open_seam = after(2), after(1)
    weights = target.square().sum(-1)
    with written(model, patches.weights):
        closed = after(1)
    assert patches.errors[1] < 0.95
    assert error(closed) / error(open_seam) == pytest.approx(patches.errors[1], abs=0.1)


@pytest.mark.parametrize("width", [1, 2, 8, 6, 36, 7])
def test_the_rotated_space_spreads_every_channel(width: int) -> None:
    basis = spread(width)
    torch.testing.assert_close(basis.T @ basis, torch.eye(width, dtype=torch.float64))
    # Hadamard's, for powers of two, spreads a channel evenly over all.
    odd = width // (width & -width)
    assert float(basis.square().max()) * width <= (2 if odd > 1 else 1) + 1e-9


def test_scales_are_the_least_squares_of_their_form() -> None:
    generator = torch.Generator().manual_seed(0)
    output, missing = torch.randn(2, 400, 12, generator=generator, dtype=torch.float64)
    hidden = torch.zeros_like(output)
    basis = spread(12)
    # A patch of this form is found again, to the bit of the ridge.
    scales = torch.linspace(-0.5, 0.5, 12, dtype=torch.float64)
    wanted = basis @ torch.diag(scales) @ basis.T
    found = _Sums.of(output, hidden, output @ wanted).solve_scales(1e-12)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    # Any other: brute force over the twelve numbers, with the ridge.
    sums = _Sums.of(output, hidden, missing)
    change = sums.solve_scales(0.1)
    rows = (missing.square().mean(-1, keepdim=True).rsqrt() * output @ basis).T
    goal = (missing.square().mean(-1, keepdim=True).rsqrt() * missing @ basis).T
    ridge = 0.1 * sums.gram.diagonal().mean()
    each = [float(row @ aim / (row @ row + ridge)) for row, aim in zip(rows, goal, strict=True)]
    brute = basis @ torch.diag(torch.tensor(each, dtype=torch.float64)) @ basis.T
    torch.testing.assert_close(change, brute)


def test_patched_seams_come_nearer_to_the_dense_model(model: PreTrainedModel) -> None:
    # Small blocks, as in a trained model: what one adds is small beside the hidden state.
    with torch.no_grad():
        for block in find_blocks(model):
            for name in ("self_attn.o_proj", "mlp.down_proj"):
                block.get_submodule(name).weight.mul_(0.3)
    windows = random_windows(48, 16, seed=2)
    forms: tuple[Form, ...] = ("linear", "scale")
    for form in forms:
        patches = patch_seams(model, windows, [1, 2, 4], form=form)
        assert set(patches.errors) == {0, 3} and max(patches.errors.values()) <= 1.0
        for number, left in patches.errors.items():
            changed = f"model.layers.{number}.mlp.down_proj.weight" in patches.weights
            assert changed == (left < 1.0)
    assert "single window" in patch_seams(model, windows[:1], [1]).notes[0]
    assert "stays open" in patch_seams(model, windows, [0]).notes[0]


def test_a_refused_family_is_left_as_it_was() -> None:
    model = tiny_model("gpt2", n_layer=6, scale_attn_by_inverse_layer_idx=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(AutopruneError):
        shrink(model, build_scheme("depth"), 0.3, windows=WINDOWS)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_windows_beyond_learned_positions_are_refused_in_words() -> None:
    for family in ("gpt2", "opt"):
        model = tiny_model(family)
        limit = model.config.max_position_embeddings
        says = f"longer than the {limit} positions that this model has learned; take --seqlen"
        fits, too_long = random_windows(2, limit), random_windows(2, limit + 1)
        for text in ("depth", "width"):
            with pytest.raises(UsageError, match=says):
                shrink(tiny_model(family), build_scheme(text), 0.34, windows=too_long)
        with pytest.raises(UsageError, match=says):
            BlockStream(model, too_long)
        with pytest.raises(UsageError, match=says):
            evaluate_windows(model, too_long)
        assert math.isfinite(evaluate_windows(model, fits).perplexity)
    # Rotary positions have no end.
    llama = tiny_model("llama", max_position_embeddings=16)
    assert math.isfinite(evaluate_windows(llama, random_windows(1, 20)).perplexity)


def test_a_list_of_blocks_with_experts_is_renumbered() -> None:
    config = Llama4TextConfig(
        hidden_size=32, intermediate_size=48, intermediate_size_mlp=64, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size=64,
        num_local_experts=2, interleave_moe_layer_step=2, use_cache=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    assert config.moe_layers == [1, 3, 5]
    remove_blocks(model, [1, 4])
    assert model.config.moe_layers == [2, 3] and len(find_blocks(model)) == 4


def test_a_smaller_model_s_plan_holds_no_second_set_of_weights(model: PreTrainedModel) -> None:
    made = shrink(model, build_scheme("depth+width"), 0.5, windows=WINDOWS)
    values = [value for step in made.plan.steps for value in step.weights.values()]
    assert values and sum(value.numel() for value in values) == 0


def test_a_block_with_a_constant_made_from_its_number_stays() -> None:
    model = tiny_model("gpt2", scale_attn_by_inverse_layer_idx=True)
    with torch.no_grad():
        dense = model(WINDOWS).logits
    first = "depth:criterion=random,protect=0-2,patch=none"
    says = r"h\.0\.attn\.scaling .* is 0\.25 here and 0\.5 where .* cannot be removed"
    with pytest.raises(AutopruneError, match=says):
        shrink(model, build_scheme(first), 0.34)
    with torch.no_grad():
        assert torch.equal(model(WINDOWS).logits, dense)
    # The last ones keep their numbers.
    shrink(model, build_scheme("depth:criterion=random,protect=2-0,patch=none"), 0.34)
    assert len(find_blocks(model)) == 2
