"""Rates by block: shapes exact to a neuron, one model masked, sliced and reopened by our loader."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks
from autoprune.models.widths import WIDTHS, open_causal, opened_by
from autoprune.schemes import build_scheme, shrink
from autoprune.schemes.card import scheme_card
from autoprune.schemes.units import unit_layout
from autoprune.streaming.shards import Checkpoint
from autoprune.streaming.skeleton import Skeleton
from tests.support.logits import TEXT, logits
from tests.support.tiny_models import random_windows, tiny_model

BLOCKS = 6
KINDS = ["sliding_attention", "full_attention"] * 3
MODELS = {
    "llama": {"head_dim": 6, "tie_word_embeddings": True},
    "qwen2": {"layer_types": ["full_attention"] * BLOCKS},
    "gemma3": {"layer_types": KINDS},
}
WINDOWS = random_windows(8, 12)
TEXTS = (
    "width:rates=ramp",
    "width:rates=(ramp:half_width=0.3,relax_last=1)",
    "width:parts=mlp,rates=given:0/0/1/0.5/0/0",
    "width:rates=formula:(0.2*first - 0.3*last + 0.1*tail)",
    "width:search=policy,steps=2,rates=ramp",
)


def model_of(family: str = "llama") -> PreTrainedModel:
    return tiny_model(family, num_hidden_layers=BLOCKS, **MODELS[family])


def widths(model: PreTrainedModel) -> list[int]:
    return [block.mlp.down_proj.in_features for block in find_blocks(model)]


@pytest.mark.parametrize(
    ("family", "text", "target"),
    [
        *(("llama", text, 0.25) for text in TEXTS),
        *((family, "depth+width:rates=ramp:half_width=0.3", 0.6) for family in MODELS),
    ],
)
def test_masked_sliced_and_reopened_are_one_model(
    family: str, text: str, target: float, tmp_path: Path
) -> None:
    model, scheme = model_of(family), build_scheme(text)
    dense, whole = logits(model), model.num_parameters()
    plan = scheme.plan(model, WINDOWS, target)
    # Half of one neuron in the whole model, where equal widths miss by half of one in each block.
    assert abs(plan.share - target) * plan.before <= 3 * model.config.hidden_size / 2
    with scheme.masked(model, plan):
        masked = logits(model)
    assert torch.equal(logits(model), dense)
    scheme.apply(model, plan)
    sliced, kept = logits(model), widths(model)
    torch.testing.assert_close(masked, sliced, rtol=1e-4, atol=1e-4)
    assert model.num_parameters() == whole - (plan.before - plan.after)
    assert len(set(kept)) > 1 and min(kept) >= 1
    assert kept == plan.to_json()["steps"][-1]["neurons_kept"] == plan.facts["width"]["neurons"][1]
    assert "autoprune opens the folder" in plan.notes[-1]

    folder = tmp_path / "out"
    save_model(model, None, folder, {})
    config = json.loads((folder / "config.json").read_text())
    assert config[WIDTHS] == kept and config["intermediate_size"] == max(kept)
    assert json.loads((folder / "autoprune.json").read_text())["opened_by"] == "autoprune"
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForCausalLM.from_pretrained(folder)
    opened = open_causal(folder, dtype=torch.float32).eval()
    assert type(opened) is type(model) and widths(opened) == kept
    assert torch.equal(logits(opened), sliced)
    asked = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    cached, uncached = (opened.generate(TEXT[:1], use_cache=on, **asked) for on in (True, False))
    assert torch.equal(cached, uncached) and cached.shape[1] == TEXT.shape[1] + 12


def test_what_holds_one_width_refuses_the_folder_and_what_we_do_with_it_works(
    tmp_path: Path,
) -> None:
    model, folder = model_of(), tmp_path / "out"
    made = shrink(model, build_scheme("width:rates=ramp"), 0.3, WINDOWS)
    save_model(model, None, folder, {})
    opened = open_causal(folder, dtype=torch.float32).eval()
    with pytest.raises(AutopruneError, match="differ in shape"):
        shrink(opened, build_scheme("width"), 0.3, WINDOWS)
    shrink(opened, build_scheme("depth:criterion=random"), 0.4, WINDOWS)
    save_model(opened, None, tmp_path / "twice", {})
    again = open_causal(tmp_path / "twice", dtype=torch.float32).eval()
    assert len(find_blocks(again)) == again.config.num_hidden_layers < BLOCKS
    assert torch.equal(logits(again), logits(opened))
    streamed = Skeleton(Checkpoint(folder), torch.float32, torch.device("cpu"))
    assert widths(streamed.model) == widths(model)
    record = {"model": "m", "model_digest": "d", "seed": 0, "notes": made.notes, **made.to_json()}
    card = scheme_card(record | {"opened_by": "autoprune"}, "")
    assert "library_name: autoprune" in card and "autoprune.load" in card
    assert "Stock transformers opens it" not in card and "of 24: " in card


def test_equal_widths_again_are_a_stock_model(tmp_path: Path) -> None:
    model = tiny_model("llama", num_hidden_layers=4)
    first = "width:score=random,fit=false,parts=mlp,rates=given:1/0/0/0"
    shrink(model, build_scheme(first), 0.1, WINDOWS)
    assert widths(model)[0] < widths(model)[1] == 24
    shrink(model, build_scheme("depth:criterion=random,protect=0-3,patch=none"), 0.25, WINDOWS)
    # Without the block that differed, stock transformers opens it.
    assert widths(model) == [24] * 3 and model.config.intermediate_size == 24
    assert not hasattr(model.config, WIDTHS) and opened_by(model.config) == {}
    made = shrink(model, build_scheme("width:parts=mlp"), 0.3, WINDOWS)
    assert made.notes == () and not hasattr(model.config, WIDTHS)
    save_model(model, None, tmp_path / "out", {})
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert torch.equal(logits(opened), logits(model))


@pytest.mark.parametrize("target", [0.05, 0.2, 0.35])
@pytest.mark.parametrize("text", ["ramp:half_width=0.5", "given:1/0/1/0/0.2/0.9"])
def test_projected_rates_stay_as_they_are(text: str, target: float) -> None:
    def kept(rates: str) -> list[int]:
        scheme = build_scheme(f"width:score=random,fit=false,parts=mlp,rates={rates}")
        plan = scheme.plan(model, None, target)
        return [len(numbers) for numbers in plan.steps[0].neurons]

    model = model_of()
    total = unit_layout(model, attention=False).neurons
    first = kept(text)
    projected = "given:" + "/".join(f"{1 - count / total:.12g}" for count in first)
    assert kept(projected) == first and min(first) >= 1


def test_uniform_rates_are_the_plan_without_rates() -> None:
    model = model_of()
    for text in ("width", "width:search=policy,steps=2"):
        more = "," if ":" in text else ":"
        one, other = (
            build_scheme(made).plan(model, WINDOWS, 0.3)
            for made in (text, f"{text}{more}rates=uniform")
        )
        assert one.to_json() == other.to_json() and "rates" not in str(one.to_json())
        assert (one.scheme, one.notes) == (text, ())
        assert one.steps[0].neurons == other.steps[0].neurons
        for name, value in one.steps[0].weights.items():
            assert torch.equal(value, other.steps[0].weights[name])


def test_texts_are_read_and_refused() -> None:
    for text in TEXTS:
        assert build_scheme(build_scheme(text).text) == build_scheme(text)
    assert build_scheme("width:rates=uniform").text == "width"
    for text, says in (
        ("width:rates=owl", "reads weights"),
        ("width:rates=lean", "unknown allocator"),
        ("width:rates=given:2", "outside 0"),
        ("width:rates=", "unknown allocator"),
    ):
        with pytest.raises(UsageError, match=says):
            build_scheme(text)
    with pytest.raises(UsageError, match=r"6 \(one per block"):
        build_scheme("width:rates=given:0.1/0.3").plan(model_of(), WINDOWS, 0.3)
