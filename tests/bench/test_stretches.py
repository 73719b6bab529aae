"""Blocks of a smaller dense model tuned until each gives what the dense one has behind it."""

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from autoprune.bench.smaller import Shrinking
from autoprune.errors import UsageError
from autoprune.models.capture import BlockStream
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks, prunable_linears
from autoprune.pruning import sharing, tune_stretches
from autoprune.pruning.stretches import Stretches
from autoprune.pruning.tuning import relative_error
from autoprune.repair import BlockTuning
from autoprune.schemes import build_scheme, shrink
from tests.support.tiny_models import random_windows, tiny_model

BLOCKS = 6
WINDOWS, TEXT = random_windows(8, 16), random_windows(3, 10, seed=5)
PLAIN = "depth:criterion=random,protect=none,patch=none"
TUNING = "ebft:epochs=6"


KINDS = {
    "qwen2": ["full_attention"] * BLOCKS,
    "qwen3": ["full_attention"] * BLOCKS,
    "gemma3": ["sliding_attention", "full_attention"] * 3,
}


def model_of(family: str = "llama") -> PreTrainedModel:
    kinds = {"layer_types": KINDS[family]} if family in KINDS else {}
    return tiny_model(family, num_hidden_layers=BLOCKS, **kinds)


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    return model(input_ids=TEXT, use_cache=False).logits


@torch.no_grad()
def states(model: PreTrainedModel) -> list[Tensor]:
    """Hidden states of all windows before each block, and those behind the last."""
    stream = BlockStream(model, WINDOWS)
    found = [torch.cat(list(stream.hidden))]
    for _ in stream.blocks:
        stream.advance()
        found.append(torch.cat(list(stream.hidden)))
    return found


def errors(smaller: PreTrainedModel, dense: list[Tensor], kept: list[int]) -> list[float]:
    """Distance to the dense model's own states behind each block of the smaller one."""
    ends = [*kept[1:], len(dense) - 1]
    pairs = zip(states(smaller)[1:], ends, strict=True)
    return [float(relative_error(own, dense[end])) for own, end in pairs]


@torch.no_grad()
@pytest.mark.parametrize("kept", [[0, 1, 4], [2, 3], [1, 5]])
def test_a_stretch_goes_from_a_kept_block_to_the_next(kept: list[int]) -> None:
    model = model_of()
    dense, stretches = states(model), Stretches(model, WINDOWS, kept, batch=4)
    for start, end in pairwise([*kept, BLOCKS]):
        assert stretches.position == start
        stretches.advance()
        torch.testing.assert_close(torch.cat(list(stretches.hidden)), dense[end])


@pytest.mark.parametrize("patch", ["none", "linear"])
def test_a_model_that_shares_weights_stays_dense_where_the_other_shrinks(patch: str) -> None:
    model = model_of()
    dense, twin = logits(model), sharing(model)
    held = {value.data_ptr() for value in model.parameters()}
    assert {value.data_ptr() for value in twin.parameters()} == held
    text = f"depth:criterion=influence,patch={patch}+width"
    shrink(model, build_scheme(text), 0.6, WINDOWS)
    assert torch.equal(logits(twin), dense) and len(find_blocks(model)) < BLOCKS


@pytest.mark.parametrize(
    ("family", "text", "target"),
    [
        *((family, PLAIN, 0.5) for family in ("llama", "qwen2", "gemma3", "gpt2")),
        ("llama", "depth:criterion=influence", 0.34),
        ("llama", "width:score=magnitude", 0.4),
        ("qwen3", "depth:criterion=influence+width:rates=ramp", 0.6),
        ("mixtral", "experts:criterion=frequency", 0.5),
    ],
)
def test_every_blocks_error_falls_and_the_shape_stays(
    family: str, text: str, target: float, tmp_path: Path
) -> None:
    model = model_of(family) if family != "mixtral" else tiny_model(family)
    plain, dense = copy.deepcopy(model), states(model)
    bare = Shrinking.parse(text).apply(plain, target, WINDOWS)
    made = Shrinking.parse(f"{text}+{TUNING}").apply(model, target, WINDOWS, precision="float32")
    assert made.plan.units == bare.plan.units and made.parameters == bare.parameters
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    assert {name: value.shape for name, value in model.state_dict().items()} == shapes
    kept = made.plan.kept_blocks(len(dense) - 1)
    assert len(kept) == len(find_blocks(model))
    before, after = errors(plain, dense, kept), errors(model, dense, kept)
    assert after[-1] < 0.9 * before[-1]
    assert all(new <= 1.02 * old for new, old in zip(after, before, strict=True))
    if "rates" not in text:
        save_model(model, None, tmp_path / "out", {})
        opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        assert torch.equal(logits(opened), logits(model))


def test_a_block_is_tuned_on_what_the_tuned_ones_before_it_give() -> None:
    """Its error, as tuning sees it, falls, unless no block is gone by then."""
    model = model_of()
    dense = sharing(model)
    made = shrink(model, build_scheme(PLAIN), 0.5, seed=1)
    kept = made.plan.kept_blocks(BLOCKS)
    assert kept == [0, 1, 4]
    goals, how = states(dense), BlockTuning(epochs=6, anchor=1.0)
    plain = copy.deepcopy(model)
    matrices, vectors = (
        {name: p.clone() for name, p in model.named_parameters() if (p.ndim > 1) is own}
        for own in (True, False)
    )
    assert tune_stretches(model, dense, kept, WINDOWS, how, precision="float32") == []
    # The untuned block in the tuned model's place has the error that tuning began with.
    for number, end in enumerate([*kept[1:], BLOCKS]):
        both = []
        for block in (find_blocks(plain)[number], find_blocks(model)[number]):
            mixed = copy.deepcopy(model)
            find_blocks(mixed)[number] = block
            own = states(mixed)[number + 1]
            both.append(float(relative_error(own, goals[end])))
        assert both[1] < both[0] or number == 0 == both[0]
    now = dict(model.named_parameters())
    inside = {layer.parameter for layer in prunable_linears(model) if layer.block > 0}
    for name, value in matrices.items():
        assert bool((now[name] != value).all()) == (name in inside), name
    assert all(torch.equal(now[name], value) for name, value in vectors.items())


def test_nothing_removed_and_nothing_gained_leave_every_bit() -> None:
    model = model_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = Shrinking.parse(f"depth+width+{TUNING}").apply(model, 0.0, WINDOWS)
    assert made.notes == ()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    plain = copy.deepcopy(model)
    shrink(plain, build_scheme(PLAIN), 0.5)
    # Steps as large as the weights themselves only throw a block about.
    made = Shrinking.parse(f"{PLAIN}+ebft:rate=0.99,epochs=1").apply(model, 0.5, WINDOWS)
    assert len(made.notes) == 3 and all("left as it was" in note for note in made.notes)
    states_of = plain.state_dict()
    assert all(torch.equal(value, states_of[name]) for name, value in model.state_dict().items())


def test_equal_seeds_give_equal_bits_and_others_another_order() -> None:
    found = []
    for seed in (0, 0, 1):
        model = model_of()
        dense = sharing(model)
        plan = shrink(model, build_scheme(PLAIN), 0.5).plan
        kept = plan.kept_blocks(BLOCKS)
        tune_stretches(model, dense, kept, WINDOWS, BlockTuning(epochs=2), seed=seed)
        found.append(logits(model))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_passes_in_bfloat16_are_noted() -> None:
    how = Shrinking.parse(f"{PLAIN}+ebft:passes=bfloat16,batch=2,epochs=1")
    made = how.apply(model_of(), 0.5, WINDOWS, precision="float32")
    assert made.notes[-1] == "ebft: passes of blocks computed in float32"


def test_a_recovery_comes_after_it() -> None:
    how = Shrinking.parse(f"{PLAIN}+{TUNING}+recover:steps=2,batch=1")
    assert how.fresh_windows == 6 and how.reads_text and how.stochastic
    made = how.apply(model_of(), 0.5, WINDOWS[:4], fresh=WINDOWS[4:])
    assert made.notes[-1].startswith("recovery: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("depth+mrp", r"mrp works around zeros.*depth\+ebft\+recover"),
        ("depth+sparsegpt:select=own+ebft", "sparsegpt works around zeros"),
        ("depth+walk:mrp", "mrp works around zeros"),
        ("skip+ebft", "skip acts while .* stands alone"),
        ("depth+ebft+width", "width removes parts.*all schemes before"),
        ("depth+recover+ebft", "stands last"),
        ("depth+ebft+ebft", "ebft twice"),
        ("ebft+depth", "names no scheme"),
        ("depth+ebft:epochs=0", "epochs must be 1 or above"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Shrinking.parse(text)
