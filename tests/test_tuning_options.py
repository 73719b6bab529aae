"""More ways to tune a block: norms, halves, a look uphill, an exchange of weights."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import autoprune
from autoprune import Bench
from autoprune.candidate import Group
from autoprune.design.repairs import meaning
from autoprune.errors import UsageError
from autoprune.masking import NM, masks_digest, parse_pattern, select_masks
from autoprune.metrics import build_metric
from autoprune.models.capture import BlockStream
from autoprune.models.structure import prunable_linears
from autoprune.pruning import MetricScore, PruneOutcome, PruningPlan, prune, tuning, vectors_of
from autoprune.pruning.halves import Halves
from autoprune.pruning.masters import Master
from autoprune.pruning.regrow import Regrowth, exchanged
from autoprune.pruning.sharpness import uphill
from autoprune.repair import Repair
from tests.support.tiny_models import random_windows, tiny_model
from tests.support.tiny_subject import save_subject, tiny_subject

WINDOWS = random_windows(6, 24)


def pruned(
    repair: str, family: str = "llama", **plan: object
) -> tuple[PreTrainedModel, PruneOutcome]:
    """A tiny model, half of it gone by magnitude, with exactly the zeros that its masks have."""
    model = tiny_model(family)
    made = PruningPlan.build(repair=repair, **{"sparsity": 0.5, **plan})  # type: ignore[arg-type]
    outcome = prune(model, MetricScore(build_metric("magnitude")), made, windows=WINDOWS)
    for layer in prunable_linears(model):
        zeros = layer.read()[~outcome.keep[layer.name]].contiguous()
        assert not zeros.view(torch.uint8).any()  # no negative zero either
    return model, outcome


def state(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def lost(model: PreTrainedModel, family: str = "llama") -> float:
    """Distance of the last hidden state to the dense model's, on the text of the tuning."""
    with torch.no_grad():
        found = model.base_model(WINDOWS).last_hidden_state
        wanted = tiny_model(family).base_model(WINDOWS).last_hidden_state
    return float((found - wanted).square().mean())


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    folder, text = save_subject(tiny_subject(), tmp_path / "tiny"), tmp_path / "text.txt"
    rng = random.Random(0)
    letters = ["".join(rng.choices("abcdefghij ", k=300)) for _ in range(40)]
    text.write_text("\n\n".join(letters), encoding="utf-8")
    return folder, text


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_norms_and_biases_of_blocks_are_tuned_as_well(family: str) -> None:
    dense = state(tiny_model(family))
    model, outcome = pruned("ebft:epochs=8,norms=true", family)
    plain, same = pruned("ebft:epochs=8", family)
    assert outcome.mask_digest == same.mask_digest
    matrices = {layer.parameter for layer in prunable_linears(model)}
    inside = model.base_model.get_submodule("h" if family == "gpt2" else "layers")
    inside_names = {name for name, value in model.named_parameters() if value.ndim == 1} - {
        name for name in vectors_of(model) if name.partition(".")[2].startswith(("norm", "ln_f"))
    }
    assert len(inside_names) == len(vectors_of(inside)) > 0
    assert changed(dense, state(model)) == matrices | inside_names
    assert lost(model, family) < lost(plain, family)


def test_a_bench_remembers_tuned_norms_and_takes_them_off(place: tuple[Path, Path]) -> None:
    sizes = {"calibration_windows": 2, "selection_windows": 3, "sealed_windows": 2}
    with Bench.open(place[0], corpus=place[1], seqlen=32, **sizes) as bench:
        dense = state(bench.loaded.model)
        made = []
        for _ in range(2):
            with bench.pruned("wanda+ebft:epochs=2,norms=true", 0.5):
                made.append(state(bench.loaded.model))
            assert not changed(dense, state(bench.loaded.model))
        assert changed(dense, made[0]) & set(vectors_of(bench.loaded.model))
        assert not changed(*made)


def test_the_front_door_saves_tuned_norms(place: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = "wanda+ebft:epochs=2,norms=true"
    sizes = {"calibration_windows": 2, "seqlen": 32}
    made = autoprune.prune(place[0], recipe, 0.5, out=tmp_path / "out", corpus=place[1], **sizes)  # type: ignore[arg-type]
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not changed(state(made.model.model), state(opened))


def cells(keep: Tensor, group: Group, pattern: NM | None) -> Tensor:
    """A mask with a row for each group of weights that compete."""
    columns = pattern.of if pattern else keep.shape[1] if group == "row" else keep.numel()
    return keep.reshape(-1, columns)


@pytest.mark.parametrize("pattern", [None, NM(2, 4), NM(1, 8)])
@pytest.mark.parametrize("group", ["row", "matrix"])
def test_the_smallest_go_and_the_largest_gradients_come(group: Group, pattern: NM | None) -> None:
    generator = torch.Generator().manual_seed(2)
    weight, gradient, scores = (torch.randn(6, 16, generator=generator) for _ in range(3))
    keep = select_masks({"w": scores}, {"w": {2: 48, 1: 12}[pattern.zeros] if pattern else 40},
                        group, pattern)["w"]  # fmt: skip
    found = exchanged(weight, gradient, keep, 0.25, group, pattern)
    wanted = keep.clone()
    places = cells(torch.arange(96).view(6, 16), group, pattern)
    smallest = sorted(
        places[cells(keep, group, pattern)].tolist(), key=lambda n: abs(weight.view(-1)[n])
    )
    leaving = set(smallest[: round(0.25 * len(smallest))])
    for row in places.tolist():
        kept = sorted((n for n in row if keep.view(-1)[n]), key=lambda n: abs(weight.view(-1)[n]))
        others = sorted(
            (n for n in row if not keep.view(-1)[n]), key=lambda n: -abs(gradient.view(-1)[n])
        )
        number = len(leaving & set(row)) if pattern else round(0.25 * len(kept))
        for gone, new in zip(kept[:number], others, strict=False):
            wanted.view(-1)[gone], wanted.view(-1)[new] = False, True
    assert torch.equal(found, wanted) and not torch.equal(found, keep)
    # What no gradient reached, an expert of other tokens, is left alone.
    assert torch.equal(exchanged(weight, torch.zeros(6, 16), keep, 0.25, group, pattern), keep)


@pytest.mark.parametrize(
    ("family", "plan"),
    [
        ("llama", {}),
        ("gpt2", {"group": "matrix"}),
        ("mixtral", {"allocation": "ramp"}),
        ("llama", {"group": "global"}),
        ("gpt2", {"sparsity": None, "pattern": "2:4"}),
        ("gemma2", {"scoring": "sequential"}),
    ],
)
def test_weights_are_exchanged_within_their_groups_and_the_budget_is_exact_at_every_step(
    family: str, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[Regrowth, set[int]] = {}

    def see(self: Regrowth, step: int, *rest: Any) -> None:
        own(self, step, *rest)
        counts.setdefault(self, set()).add(sum(int(part.pruned.sum()) for part in self._parts))

    own = Regrowth.see
    monkeypatch.setattr(Regrowth, "see", see)
    _, outcome = pruned("ebft:epochs=4,regrow=0.08", family, **plan)
    _, before = pruned("none", family, **plan)
    assert len(counts) == 3 and all(len(found) == 1 for found in counts.values())
    assert outcome.zeros == before.zeros and outcome.mask_digest != before.mask_digest
    assert outcome.mask_digest == masks_digest(outcome.keep)
    for name, keep in outcome.keep.items():
        old = before.keep[name]
        pattern = parse_pattern(plan.get("pattern", "unstructured"))
        group = "row" if plan.get("group", "row") == "row" else "matrix"
        if plan.get("scoring", "dense") == "dense":
            sums = [cells(mask, group, pattern).sum(dim=1) for mask in (keep, old)]
            assert torch.equal(*sums)
        assert keep.device.type == "cpu"


def test_an_exchange_helps_and_a_tuning_that_is_taken_back_keeps_the_masks() -> None:
    model, outcome = pruned("ebft:epochs=1,rate=0.99,regrow=0.5")
    bare, before = pruned("none")
    better, _ = pruned("ebft:epochs=8,regrow=0.05")
    assert lost(better) < 0.8 * lost(bare)
    assert outcome.notes and not changed(state(bare), state(model))
    assert outcome.mask_digest == before.mask_digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_uphill_has_its_length_in_units_of_the_weights_and_is_taken_back(
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(4, 6, generator=generator) * size for size in (3.0, 0.1)]
    gone = torch.rand(4, 6, generator=generator) < 0.5
    parameters = [torch.nn.Parameter(value.masked_fill(gone, 0.0).to(dtype)) for value in values]
    parts = [Master.of(parameter, gone.clone()) for parameter in parameters]
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = [torch.randn(4, 6, generator=generator) for _ in parts]
    sizes = [float(part.master[~gone].square().mean().sqrt()) for part in parts]
    length = sum(
        float((part.master / size).square().sum()) for part, size in zip(parts, sizes, strict=True)
    )
    with uphill(parts, [gradients[0], None], sizes, 0.01):
        moved = parts[0].master - before[0].float()
        assert not moved[gone].any() and torch.equal(parts[1].master, before[1].float())
        assert float(moved.norm() / sizes[0]) == pytest.approx(0.01 * length**0.5, rel=1e-3)
        along = torch.nn.functional.cosine_similarity(moved[~gone], gradients[0][~gone], dim=0)
        assert float(along) == pytest.approx(1.0, abs=1e-4)
        assert not torch.equal(parameters[0], before[0])
    for parameter, value in zip(parameters, before, strict=True):
        assert torch.equal(parameter, value)
    with uphill(parts, [torch.zeros(4, 6), None], sizes, 0.01):
        assert torch.equal(parts[0].master, before[0].float())


def test_gradients_are_taken_uphill() -> None:
    model, outcome = pruned("ebft:epochs=4,sharpness=0.02")
    plain, same = pruned("ebft:epochs=4")
    bare, _ = pruned("none")
    assert outcome.mask_digest == same.mask_digest and changed(state(plain), state(model))
    assert lost(model) < 0.9 * lost(bare)


@torch.no_grad()
@pytest.mark.parametrize(
    "family", ["llama", "phi3", "gemma2", "opt", "opt-350m", "gpt2", "mixtral"]
)
def test_a_block_is_cut_between_attention_and_mlp(family: str) -> None:
    model = tiny_model(family)
    stream = BlockStream(model, WINDOWS, batch=3)
    half, block = Halves.of_next(stream), stream.blocks[0]
    before, middle = stream.output(1).clone(), half.middle(1)
    vectors = {id(value): value for value in block.parameters()}
    assert half.first < set(vectors)
    # The MLP's half is what the state is not made of, and the output of nothing else beside it.
    for layer in prunable_linears(model):
        if layer.block == 0 and id(getattr(layer.owner, layer.attribute)) not in half.first:
            assert layer.projection not in {"q_proj", "qkv_proj", "c_attn", "o_proj", "out_proj"}
            layer.write(torch.zeros(layer.shape))
    assert torch.equal(half.middle(1), middle) and not torch.equal(stream.output(1), before)


@pytest.mark.parametrize("family", ["gpt_neox", "falcon", "bloom", "mamba"])
def test_a_block_without_halves_is_refused_by_name_before_anything_moves(family: str) -> None:
    model = tiny_model(family)
    plan = PruningPlan.build(0.5, repair="ebft:halves=true")
    name = model.config.model_type
    with pytest.raises(UsageError, match=f"block 0 of a {name}; leave out halves"):
        prune(model, MetricScore(build_metric("magnitude")), plan, windows=WINDOWS)
    assert not changed(state(tiny_model(family)), state(model))


@pytest.mark.parametrize("anchor", [0.0, 0.5, 1.0])
def test_each_half_is_tuned_towards_its_own_dense_output(
    anchor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def descend(descent: tuning.Descent, *rest: Any) -> None:
        own(descent, *rest)
        # The goals are overwritten at the next block.
        found.append(replace(descent, goals=list(descent.goals)))

    own = tuning._descend
    monkeypatch.setattr(tuning, "_descend", descend)
    model, _ = pruned(f"ebft:epochs=6,halves=true,norms=true,anchor={anchor}")
    bare, _ = pruned("none")
    assert lost(model) < 0.9 * lost(bare) and len(found) == 6
    layer = model.model.layers[0]
    first = {*layer.self_attn.parameters(), *layer.input_layernorm.parameters()}
    assert {part.parameter for part in found[0].parts} == first
    assert {part.parameter for part in found[1].parts} == set(layer.parameters()) - first
    with torch.no_grad():
        dense = BlockStream(tiny_model("llama"), WINDOWS, batch=1)
        # Before the first block both models have the same state.
        half = Halves.of_next(dense)
        torch.testing.assert_close(found[0].goals, [half.middle(n) for n in range(6)])
        torch.testing.assert_close(found[1].goals, list(dense.outputs()))


def test_texts_round_trip() -> None:
    tuned = meaning("ebft:norms=true,regrow=0.1")
    assert tuned.endswith("minutes, norms and biases with them, exchanging some for removed ones")
    for text in ("ebft:norms=true,halves=true", "mrp+ebft:regrow=0.1,sharpness=0.01"):
        assert Repair.parse(text).text == text
    assert Repair.parse("ebft:norms=false,regrow=0").text == "ebft"
    with pytest.raises(UsageError, match="regrow must be from 0 to below 1"):
        Repair.parse("ebft:regrow=1")
