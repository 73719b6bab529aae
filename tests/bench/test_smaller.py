"""A scheme with a recovery: the line that says it, and what the dense model teaches."""

import copy

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.bench.smaller import Shrinking
from autoprune.errors import UsageError
from autoprune.models.structure import find_blocks
from tests.support.tiny_models import tiny_model

TOKENS = torch.randint(0, 64, (20, 16), generator=torch.Generator().manual_seed(3))
USED, FRESH = TOKENS[:4], TOKENS[4:]
PLAIN = "depth:criterion=magnitude,protect=none,patch=none"


def predictions(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=FRESH).logits).log_softmax(-1)


def distance(dense: Tensor, model: PreTrainedModel) -> float:
    return float((dense.exp() * (dense - predictions(model))).sum(-1).mean())


def test_a_recovery_brings_the_smaller_model_nearer_and_keeps_its_shape() -> None:
    dense = tiny_model("llama", 0)
    taught, alone = predictions(dense), copy.deepcopy(dense)
    again, other = copy.deepcopy(dense), copy.deepcopy(dense)
    plain = Shrinking.parse(PLAIN).apply(alone, 0.3)
    how = Shrinking.parse(f"{PLAIN}+recover:steps=12,batch=1,rate=0.01,top=64")
    assert how.fresh_windows == 16 and how.reads_text and how.stochastic
    made = how.apply(dense, 0.3, USED, fresh=FRESH, precision="float32")
    assert made.parameters == plain.parameters and len(find_blocks(dense)) == len(
        find_blocks(alone)
    )
    assert distance(taught, dense) < 0.95 * distance(taught, alone)
    assert any(note.startswith("recovery: ") for note in made.notes)
    # Same seed, same bits; another one takes nothing else away.
    how.apply(again, 0.3, USED, fresh=FRESH, precision="float32")
    states = dense.state_dict()
    assert all(torch.equal(states[name], value) for name, value in again.state_dict().items())
    how.apply(other, 0.3, USED, fresh=FRESH, seed=1, precision="float32")
    assert len(find_blocks(other)) == len(find_blocks(dense))


@pytest.mark.parametrize(
    "text",
    ["depth", "depth+width", "depth:protect=1-0+recover:steps=3", "width+ebft:epochs=2+recover"],
)
def test_a_line_reads_back(text: str) -> None:
    assert Shrinking.names(text) and Shrinking.parse(text).text == text


def test_a_line_that_makes_no_sense_is_named() -> None:
    assert not Shrinking.names("wanda+recover")
    for text, says in (
        ("recover:steps=3", "names no scheme"),
        ("depth+recover:steps=0", "steps"),
        ("recover+depth", "scheme"),
        ("skip+recover:steps=3", "skip acts while .* stands alone"),
    ):
        with pytest.raises(UsageError, match=says):
            Shrinking.parse(text)
    with pytest.raises(UsageError, match="reads calibration text"):
        Shrinking.parse("depth+recover").apply(tiny_model("llama", 0), 0.3)
