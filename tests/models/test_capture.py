"""Replaying blocks one by one gives what the whole model computes."""

import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import AutopruneError
from autoprune.models.capture import BlockStream
from autoprune.models.structure import find_blocks
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model


def _outputs_of_whole_model(model: nn.Module, windows: Tensor) -> list[Tensor]:
    outputs: list[Tensor] = []
    for block in find_blocks(model):
        block.register_forward_hook(
            lambda _, __, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        model(input_ids=windows, use_cache=False)
    for block in find_blocks(model):
        block._forward_hooks.clear()
    return outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_replay_equals_the_whole_model(family: str) -> None:
    model, windows = tiny_model(family), random_windows(5, 12)
    expected = _outputs_of_whole_model(model, windows)
    stream = BlockStream(model, windows, batch=2)
    for index, output in enumerate(expected):
        assert stream.position == index
        stream.advance()
        torch.testing.assert_close(torch.cat(stream.hidden), output, rtol=1e-4, atol=1e-4)


def test_capture_leaves_the_model_as_it_was() -> None:
    model, windows = tiny_model("gemma3"), random_windows()
    before = model(input_ids=windows).logits
    BlockStream(model, windows)
    assert torch.equal(model(input_ids=windows).logits, before)
    assert all("forward" not in vars(block) for block in find_blocks(model))
    assert all(not block._forward_hooks for block in find_blocks(model))


def test_sliding_and_full_blocks_keep_their_own_masks() -> None:
    model = tiny_model("gemma3")
    stream = BlockStream(model, random_windows(1, 20))
    masks = [calls[0].kwargs["attention_mask"] for calls in stream._calls]
    assert masks[0] is masks[2]
    assert masks[0] is not None
    assert masks[1] is None or not torch.equal(masks[0], masks[1])


def test_equal_masks_are_kept_once() -> None:
    stream = BlockStream(tiny_model("llama"), random_windows(6, 8), batch=2)
    tables = {
        id(call.kwargs["position_embeddings"][0]) for calls in stream._calls for call in calls
    }
    assert len(tables) == 1


def test_a_block_that_returns_something_else_is_refused() -> None:
    model = tiny_model("llama")

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 16)

        def forward(self, hidden_states: Tensor, **_: object) -> Tensor:
            return hidden_states[..., :4]

    stream = BlockStream(model, random_windows())
    stream.blocks[0] = Odd()
    with pytest.raises(AutopruneError, match="Odd returned"):
        stream.run()
