"""Models whose units look as if they could go alone, and what width says to them."""

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError, UnsupportedModelError
from autoprune.models.structure import find_blocks
from autoprune.schemes import build_scheme, shrink, surgery
from tests.support.logits import logits
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model

WINDOWS = random_windows(4, 12)
SHAPE = {"vocab_size": 96, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}


def odd_model(name: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> PreTrainedModel:
    given = SHAPE | {"max_position_embeddings": 64} | changes
    monkeypatch.setitem(FAMILIES, name, lambda: getattr(transformers, name)(**given))
    return tiny_model(name)


def test_blocks_with_settings_of_their_own_are_not_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    changes = {"layer_types": kinds, "head_dim": 4, "hidden_size_per_layer_input": 0}
    apart = odd_model("Gemma4TextConfig", monkeypatch, **changes, global_head_dim=8)
    with pytest.raises(UnsupportedModelError, match=r"settings of single blocks \(head_dim\)"):
        shrink(apart, build_scheme("depth"), 0.34, WINDOWS)
    assert len(find_blocks(apart)) == 3
    alike = odd_model("Gemma4TextConfig", monkeypatch, **changes, global_head_dim=4)
    shrink(alike, build_scheme("depth"), 0.34, WINDOWS)
    assert len(find_blocks(alike)) == 2


# As published models have it, one number for both widths, and as they may.
@pytest.mark.parametrize("shared", [24, 12])
def test_an_expert_that_all_tokens_share_is_no_mlp_to_cut(
    shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
    more = experts | {"shared_expert_intermediate_size": shared}
    model = odd_model("Qwen2MoeConfig", monkeypatch, **more)
    dense = logits(model, WINDOWS)
    for text in ("width", "width:parts=mlp"):
        with pytest.raises(AutopruneError, match=r"mlp\.shared_expert .* --scheme depth"):
            build_scheme(text).plan(model, WINDOWS, 0.05)
        with pytest.raises(AutopruneError, match="--scheme depth"):
            shrink(model, build_scheme(text), 0.05, WINDOWS)
    assert torch.equal(logits(model, WINDOWS), dense)


def test_an_mlp_of_another_width_than_the_configurations_stays() -> None:
    model = tiny_model("llama")
    for block in find_blocks(model):
        model.config.intermediate_size = 32
        assert block.mlp.down_proj.in_features == 24
    with pytest.raises(AutopruneError, match=r"24 neurons.* intermediate_size \(32\)"):
        build_scheme("width").plan(model, WINDOWS, 0.3)


def test_an_interruption_brings_removed_blocks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: PreTrainedModel) -> None:
        raise KeyboardInterrupt

    model = tiny_model("llama")
    dense = logits(model, WINDOWS)
    monkeypatch.setattr(surgery, "require_reopens", interrupted)
    with pytest.raises(KeyboardInterrupt):
        surgery.remove_blocks(model, [1])
    assert model.config.num_hidden_layers == 3 and torch.equal(logits(model, WINDOWS), dense)


def test_heads_that_are_subtracted_in_pairs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = odd_model("DiffLlamaConfig", monkeypatch)
    dense = logits(model, WINDOWS)
    with pytest.raises(AutopruneError, match=r"lambda_q1 \(4,\).* --scheme width:parts=mlp"):
        shrink(model, build_scheme("width"), 0.3, WINDOWS)
    assert torch.equal(logits(model, WINDOWS), dense)
    shrink(model, build_scheme("width:parts=mlp"), 0.3, WINDOWS)
    assert find_blocks(model)[0].mlp.down_proj.in_features < 24


def test_a_shape_that_no_configuration_can_say_is_refused_before_anything_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The size of its heads follows from their number, so that none can go.
    model = odd_model("StableLmConfig", monkeypatch, num_key_value_heads=4)
    dense = logits(model)
    with pytest.raises(AutopruneError, match=r"refuses this shape|cannot say this shape"):
        shrink(model, build_scheme("width:score=magnitude,fit=false"), 0.3)
    assert torch.equal(logits(model), dense)
