"""What holds for every scheme, on tiny models: shapes, counts, stock loading, masked and sliced."""

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from autoprune.errors import AutopruneError, UnknownNameError, UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks
from autoprune.names import SERVED_BY
from autoprune.schemes import SCHEMES, SchemePlan, Step, build_scheme, shrink
from tests.support.logits import TEXT, logits
from tests.support.tiny_models import random_windows, tiny_model

BLOCKS = 6
KINDS = ["sliding_attention", "full_attention"] * 3
# Grouped queries and heads of their own size; biases of q, k and v; tied embeddings and two kinds
# of attention by block; grouped queries whose keys are normed.
MODELS = {
    "llama": {"head_dim": 6, "tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True, "layer_types": ["full_attention"] * BLOCKS},
    "gemma3": {"layer_types": KINDS},
    "qwen3": {"layer_types": ["full_attention"] * BLOCKS},
}
WINDOWS = random_windows(8, 12)
SCHEME_TEXTS = [
    "depth",
    "depth:criterion=influence,patch=none",
    "depth:patch=scale",
    "width",
    "width:score=magnitude,fit=false",
    "depth:criterion=taylor+width:score=flap",
]


def model_of(family: str, seed: int = 0) -> PreTrainedModel:
    return tiny_model(family, seed, num_hidden_layers=BLOCKS, **MODELS[family])


@pytest.mark.parametrize(
    ("family", "text"),
    [*(("llama", text) for text in SCHEME_TEXTS), *((name, "depth+width") for name in MODELS)],
)
def test_masked_sliced_and_reloaded_are_one_model(family: str, text: str, tmp_path: Path) -> None:
    model, scheme = model_of(family), build_scheme(text)
    dense, state = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    # Beyond a half, so that one of two groups goes too.
    target = 0.4 if "width" not in text else 0.7 if "depth" in text else 0.6
    plan = scheme.plan(model, WINDOWS, target)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with scheme.masked(model, plan):
        masked = logits(model)
    assert torch.equal(logits(model), dense)
    whole = model.num_parameters()
    scheme.apply(model, plan)
    sliced = logits(model)
    # Blocks that are gone change no sum; products of fewer columns are summed in another order.
    if "width" not in text:
        assert torch.equal(masked, sliced)
    torch.testing.assert_close(masked, sliced, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(sliced, dense, atol=1e-2)
    assert model.num_parameters() == whole - (plan.before - plan.after)
    # The budget: half a block, or half of a neuron in each block.
    blocks = find_blocks(model)
    step = len(blocks) * 3 * model.config.hidden_size if "width" in text else plan.before / BLOCKS
    assert abs(plan.share - target) * plan.before <= step / 2
    save_model(model, None, tmp_path / "out", {})
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(opened), sliced)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["num_key_value_heads"] == 1) == ("width" in text)
    assert config["num_hidden_layers"] == len(blocks) == len(find_blocks(opened))
    asked = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    cached, uncached = (opened.generate(TEXT[:1], use_cache=on, **asked) for on in (True, False))
    assert torch.equal(cached, uncached) and cached.shape[1] == TEXT.shape[1] + 12


@pytest.mark.parametrize("text", ["depth", "width", "depth+width"])
def test_a_target_of_nothing_changes_no_bit(text: str) -> None:
    model = model_of("llama")
    dense, state = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    made = shrink(model, build_scheme(text), 0.0, WINDOWS)
    assert made.parameters == made.parameters_before and made.plan.steps == ()
    assert torch.equal(logits(model), dense)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_masked_model_is_the_one_that_bypasses_its_blocks() -> None:
    model = model_of("gemma3")
    scheme = build_scheme("depth:criterion=random,patch=none")
    plan = scheme.plan(model, None, 0.5, seed=3)
    with ExitStack() as stack:
        for number in plan.steps[0].blocks:
            block = find_blocks(model)[number]
            block.__dict__["forward"] = lambda hidden, *_, **__: hidden
            stack.callback(block.__dict__.pop, "forward")
        bypassed = logits(model)
    with scheme.masked(model, plan):
        assert torch.equal(logits(model), bypassed)
    scheme.apply(model, plan)
    kept = [kind for n, kind in enumerate(KINDS) if n not in plan.steps[0].blocks]
    assert model.config.layer_types == kept
    assert [block.self_attn.layer_idx for block in find_blocks(model)] == [0, 1, 2]


def test_a_repair_gets_the_smaller_model_its_dense_teacher_and_the_plan() -> None:
    model = model_of("llama")
    dense, seen = logits(model), []

    def repair(
        teacher: PreTrainedModel, plan: SchemePlan
    ) -> Callable[[PreTrainedModel], list[str]]:
        taught, kept = logits(teacher), plan.kept_blocks(BLOCKS)

        def finish(smaller: PreTrainedModel) -> list[str]:
            seen.append((len(find_blocks(smaller)), torch.equal(taught, dense), len(kept)))
            return ["recovered"]

        return finish

    made = shrink(model, build_scheme("depth"), 0.34, WINDOWS, repair=repair)
    assert seen == [(BLOCKS - 2, True, BLOCKS - 2)] and made.notes[-1] == "recovered"
    both = SchemePlan("depth", 0.5, (Step(blocks=(0, 3)), Step(blocks=(1,))), 0, 0)
    assert both.kept_blocks(BLOCKS) == [1, 4, 5]
    assert made.parameters == model.num_parameters() < made.parameters_before


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("depth", 0.01, r"too small .* \(a block is 0\.167 of"),
        ("depth", 0.99, "more than the 5 blocks of 6"),
        ("depth:protect=4-2", 0.3, "more than the 0 blocks of 6"),
        ("width", 0.99, "leaves no neuron"),
        ("depth", 1.0, "below 1"),
    ],
)
def test_a_target_out_of_reach_is_refused(text: str, target: float, says: str) -> None:
    model = model_of("llama")
    dense = logits(model)
    with pytest.raises(UsageError, match=says):
        shrink(model, build_scheme(text), target, WINDOWS)
    assert torch.equal(logits(model), dense)
    with pytest.raises(UsageError, match="none is given"):
        shrink(model, build_scheme(text), 0.3)


def test_texts_are_read_and_refused() -> None:
    text = "depth:criterion=greedy+width:parts=mlp"
    assert build_scheme(text).text == text
    assert build_scheme("depth:criterion=perplexity").text == "depth"
    with pytest.raises(UsageError, match="depth goes first"):
        build_scheme("width+depth")
    with pytest.raises(UsageError, match="twice"):
        build_scheme("depth+depth:patch=none")
    with pytest.raises(UsageError, match="FIRST-LAST"):
        build_scheme("depth:protect=3")
    with pytest.raises(UnknownNameError, match="did you mean depth"):
        build_scheme("dept")
    for name, served in SERVED_BY.items():
        assert build_scheme(served).text.startswith(served.partition(":")[0]), name


def test_the_manuals_example_of_a_new_scheme_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "schemes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    try:
        exec(example, {"__name__": "example"})
        model = model_of("llama")
        made = shrink(model, build_scheme("first"), 0.1, WINDOWS)
        assert made.plan.steps[0].blocks == (1,) and len(find_blocks(model)) == BLOCKS - 1
    finally:
        SCHEMES._entries.pop("first", None)


@pytest.mark.parametrize("family", ["gpt2", "mixtral", "olmo2"])
def test_a_family_without_such_units_is_refused_by_name(family: str) -> None:
    with pytest.raises(AutopruneError, match=r"--scheme (depth|width:parts=mlp)"):
        shrink(tiny_model(family), build_scheme("width"), 0.3, WINDOWS)


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "mixtral", "qwen3_moe", "deepseek_v3"])
def test_depth_serves_other_families(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    shrink(model, build_scheme("depth:protect=1-0"), 0.34, WINDOWS)
    save_model(model, None, tmp_path / "out", {})
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(opened), logits(model))
    assert evaluate_windows(opened, TEXT).perplexity > 1.0
