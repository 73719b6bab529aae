"""A smaller hidden size: rotated, masked, sliced and reloaded are one model; what it costs."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks
from autoprune.schemes import Rotate, build_scheme, shrink
from autoprune.schemes.card import removed, scheme_card, share_is_of
from autoprune.schemes.hidden import hidden_parts, hidden_sizes, projected, slice_hidden
from tests.support.logits import TEXT, logits
from tests.support.tiny_models import VOCABULARY, random_windows, tiny_model

WINDOWS = random_windows(8, 12)
HIDDEN, TARGET = 32, 0.4
# Biases of all matrices and heads of their own size; an untied head; biases of q, k and v; normed
# keys. An epsilon beside which no mean square is large.
MODELS = {
    "llama": {"head_dim": 6, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": {"tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": True},
}


def model_of(family: str, *, gains: bool = True, **changes: object) -> PreTrainedModel:
    size = {"hidden_size": HIDDEN, "rms_norm_eps": 0.05}
    model = tiny_model(family, **size | MODELS[family] | changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and (gains or name.endswith("bias")):
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    return model


def directions_of(size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randn(HIDDEN, size, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q


@pytest.mark.parametrize("family", MODELS)
def test_a_rotation_that_deletes_nothing_is_the_dense_model(family: str) -> None:
    model = model_of(family)
    dense, tied = logits(model), model.config.tie_word_embeddings
    whole = model.num_parameters()
    slice_hidden(model, directions_of(HIDDEN))
    torch.testing.assert_close(logits(model), dense, rtol=1e-4, atol=1e-4)
    assert not model.config.tie_word_embeddings
    assert model.num_parameters() == whole + VOCABULARY * HIDDEN * tied


@pytest.mark.parametrize("family", MODELS)
def test_masked_sliced_and_reloaded_are_one_model(family: str, tmp_path: Path) -> None:
    model, scheme = model_of(family), Rotate(multiple=4)
    dense, state = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    plan = scheme.plan(model, WINDOWS, TARGET)
    shapes = scheme.shapes_only()
    quick = shapes.plan(model, None, TARGET)
    assert not shapes.reads_text and (quick.after, quick.outside) == (plan.after, plan.outside)
    with scheme.masked(model, plan):
        masked = logits(model)
    assert torch.equal(logits(model), dense)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    made = shrink(model, scheme, TARGET, WINDOWS)
    sliced, size = logits(model), model.config.hidden_size
    torch.testing.assert_close(masked, sliced, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(sliced, dense, atol=1e-2)
    # The closed form: every matrix has a side of the hidden size.
    kept = sum(v.numel() for n, v in model.named_parameters() if v.ndim == 2)
    assert kept % size == 0 and size < HIDDEN and size % 4 == 0
    parts = hidden_parts(model_of(family))
    lost = made.parameters_before - model.num_parameters()
    assert lost == parts.lost(size) == plan.before - plan.after + plan.outside
    nearer = [abs(parts.lost(n) - TARGET * plan.before) for n in (size, size - 4, size + 4)]
    assert nearer[0] == min(nearer)
    save_model(model, None, tmp_path / "out", {})
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert opened.num_parameters() == made.parameters
    assert all(torch.equal(v, opened.state_dict()[k]) for k, v in model.state_dict().items())
    # Equal weights that lie elsewhere in memory may be summed in another order.
    torch.testing.assert_close(logits(opened), sliced, rtol=1e-5, atol=1e-5)
    asked = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    cached, uncached = (opened.generate(TEXT[:1], use_cache=on, **asked) for on in (True, False))
    assert torch.equal(cached, uncached) and cached.shape[1] == TEXT.shape[1] + 12


def test_directions_that_no_hidden_state_has_go_without_a_loss() -> None:
    model = model_of("llama")
    used = directions_of(16)
    # What writes to hidden states writes into these directions alone.
    with projected(model, used):
        written = {n: p.clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(written[name])
        model.get_input_embeddings().weight.copy_(
            written["model.embed_tokens.weight"] @ (used @ used.T).float()
        )
    dense = logits(model)
    parts, before = hidden_parts(model), sum(p.numel() for p in model.model.layers.parameters())
    made = shrink(model, Rotate(), parts.lost(16) / before, WINDOWS)
    assert made.plan.facts["rotate"]["hidden"] == [HIDDEN, 16]
    assert made.plan.facts["rotate"]["variance_kept"] == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(logits(model), dense, rtol=1e-4, atol=1e-4)
    assert ("hidden size", "16 of 32") in removed(made.to_json() | {"scheme": "rotate"})


def test_a_tied_head_stays_one_where_gains_do_not_differ(tmp_path: Path) -> None:
    model = model_of("qwen3", gains=False)
    with torch.no_grad():
        model.model.norm.weight.fill_(1.7)
    plan = Rotate().plan(model, WINDOWS, TARGET)
    with Rotate().masked(model, plan):
        masked = logits(model)
    shrink(model, Rotate(), TARGET, WINDOWS)
    assert plan.notes == () and model.config.tie_word_embeddings
    torch.testing.assert_close(masked, logits(model), rtol=1e-4, atol=1e-4)
    save_model(model, None, tmp_path / "out", {})
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits(opened), logits(model), rtol=1e-5, atol=1e-5)
    # Where they differ the table is there twice, and hidden states lose more for the same share.
    other = Rotate().plan(model_of("qwen3"), WINDOWS, TARGET)
    size = other.facts["rotate"]["hidden"][1]
    assert size < plan.facts["rotate"]["hidden"][1]
    assert other.facts["rotate"]["untied"] == size * VOCABULARY and "no longer" in other.notes[0]


def test_blocks_go_first_and_both_make_up_the_share() -> None:
    model = model_of("mistral", num_hidden_layers=6)
    whole = model.num_parameters()
    made = shrink(model, build_scheme("depth:patch=none+rotate:multiple=1"), 0.5, WINDOWS)
    assert len(find_blocks(model)) < 6 and model.config.hidden_size < HIDDEN
    assert whole - model.num_parameters() == round(made.plan.share * made.plan.before)
    assert abs(made.plan.share - 0.5) < 0.02


@pytest.mark.parametrize(
    ("scheme", "of"),
    [
        ("experts", " of the experts"),
        ("experts:criterion=reap+recover:steps=1", " of the experts"),
        ("depth+experts", ""),
        ("experts+ebft+recover", " of the experts"),
        ("depth+recover", ""),
    ],
)
def test_what_a_share_refers_to(scheme: str, of: str) -> None:
    assert share_is_of(scheme) == of


@pytest.mark.parametrize(
    ("scheme", "says"),
    [("rotate", "parameters worth {} of its blocks' removed"),
     ("depth", "{} of its blocks' parameters removed")],
)  # fmt: skip
def test_a_cards_title_says_what_the_share_counts(scheme: str, says: str) -> None:
    made = shrink(model_of("llama"), build_scheme(scheme), TARGET, WINDOWS)
    record = {"model": "m", "model_digest": "d", "seed": 0, "notes": [], **made.to_json()}
    title = f"# `m`, {says.format(f'{made.plan.share:.1%}')}\n"
    assert title in scheme_card(record, "")
    card = scheme_card(record, "")
    assert ("depends on the runtime's kernels" in card) == (scheme == "rotate")


def test_what_cannot_be_done_is_refused() -> None:
    for family in ("gpt2", "gemma3", "olmo2", "mixtral"):
        with pytest.raises(AutopruneError, match=rf"\({family}\w*\) cannot be rotated: .* qwen3"):
            shrink(tiny_model(family), Rotate(), 0.3, WINDOWS)
    model = model_of("llama")
    dense = logits(model)
    for share, multiple, says in (
        (0.01, 4, "a larger one$"),
        (0.99, 8, "a hidden size of 8 saves"),
    ):
        with pytest.raises(UsageError, match=says):
            shrink(model, Rotate(multiple=multiple), share, WINDOWS)
    with pytest.raises(UsageError, match="depth goes first"):
        build_scheme("rotate+depth")
    with pytest.raises(UsageError, match="1 or above"):
        build_scheme("rotate:multiple=0")
    assert torch.equal(logits(model), dense)
    # Llama's configuration wants multiples of the four heads; Qwen's takes all.
    assert hidden_sizes(model) == [28, 24, 20, 16, 12, 8, 4]
    assert hidden_sizes(model, 3) == [24, 12] and hidden_sizes(model_of("qwen3")) == [24, 16, 8]
    chance = [Rotate("random").plan(model, None, TARGET, seed=seed) for seed in (0, 0, 1)]
    same, again, other = (plan.steps[0].directions for plan in chance)
    assert torch.equal(same, again) and not torch.equal(same, other)
