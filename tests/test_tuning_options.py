"""More ways to tune a block: norms, halves, a look uphill, an exchange of weights."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import autoprune
from autoprune import Bench
from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.pruning import MetricScore, PruneOutcome, PruningPlan, prune, vectors_of
from autoprune.repair import Repair
from tests.support.tiny_models import random_windows, tiny_model
from tests.support.tiny_subject import save_subject, tiny_subject

WINDOWS = random_windows(6, 24)


def pruned(
    solver: str, family: str = "llama", **plan: object
) -> tuple[PreTrainedModel, PruneOutcome]:
    """A tiny model, half of it gone by magnitude, with exactly the zeros that its masks have."""
    model = tiny_model(family)
    made = PruningPlan.build(solver=solver, **{"sparsity": 0.5, **plan})  # type: ignore[arg-type]
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
    sizes = {"windows": 2, "selection": 3, "sealed": 2}
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
    recipe, sizes = "wanda+ebft:epochs=2,norms=true", {"windows": 2, "seqlen": 32}
    made = autoprune.prune(place[0], recipe, 0.5, out=tmp_path / "out", corpus=place[1], **sizes)  # type: ignore[arg-type]
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not changed(state(made.model.model), state(opened))


def test_texts_round_trip() -> None:
    for text in ("ebft:norms=true", "mrp+ebft:epochs=2,norms=true"):
        assert Repair.parse(text).text == text
    assert Repair.parse("ebft:norms=false").text == "ebft"
